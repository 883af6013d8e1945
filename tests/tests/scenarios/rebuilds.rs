//! Readers do not notice what happens to tables: they are rebuilt, their versions are raised, one of them cannot be written,
//! and messages are erased. One reader asks the same questions all the while. No answer is empty, older than one before it,
//! or an error; where nothing changed, each is the same as before.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use store::{Page, Projector, Store};
use tests::{
    capture,
    folder::Folder,
    graphql::Graph,
    patience::{LONG, until},
    program::{Program, succeed},
    tables::Database,
    world::{announced, start_serve},
};
use tokio_util::sync::CancellationToken;

/// Lists, with what is shown of each node.
const LISTS: [(&str, &str); 7] = [
    ("envelopes", "digest kind size topic { name } erased"),
    ("topics", "name kind envelopeCount byteCount firstSeenAt lastSeenAt"),
    ("accounts", "address firstSeenAt lastSeenAt contactBundle { version publishedAt }"),
    ("contactBundles", "account { address } version verification current publishedAt"),
    ("invites", "sender { address } recipient { address } createdAt envelopes { digest }"),
    ("conversations", "topic { name } messageCount firstMessageAt lastMessageAt"),
    ("messages", "generation sentAt conversation { topic { name } } envelopes { digest }"),
];

/// Orders of the lists that have one.
const ORDERS: [(&str, &[&str]); 7] = [
    ("envelopes", &["field: INDEXED, direction: DESC", "field: TIMESTAMP, direction: ASC"]),
    ("topics", &["field: LAST_SEEN, direction: DESC", "field: ENVELOPE_COUNT, direction: DESC"]),
    ("accounts", &["field: FIRST_SEEN, direction: ASC", "field: LAST_SEEN, direction: DESC"]),
    ("contactBundles", &["direction: ASC", "direction: DESC"]),
    ("invites", &["direction: ASC", "direction: DESC"]),
    (
        "conversations",
        &["field: LAST_MESSAGE, direction: DESC", "field: MESSAGE_COUNT, direction: DESC"],
    ),
    ("messages", &["direction: ASC", "direction: DESC"]),
];

/// Forty questions, each of which has an answer that is not empty. Each asks how far the index is, too.
fn questions() -> Vec<String> {
    let mut questions = Vec::new();
    for ((list, node), (_, orders)) in LISTS.iter().zip(ORDERS) {
        questions.push(format!("{list}(first: 20) {{ totalCount nodes {{ {node} }} }}"));
        questions.push(format!("{list}(last: 7) {{ nodes {{ {node} }} }}"));
        for order in orders {
            questions
                .push(format!("{list}(first: 9, orderBy: {{ {order} }}) {{ nodes {{ {node} }} }}"));
        }
        questions.push(format!("{list}(first: 0) {{ totalCount }}"));
    }
    let by_kind = "volume(from: \"2000-01-01T00:00:00Z\", to: \"2030-01-01T00:00:00Z\", interval: WEEK, by: KIND)
                   { key points { at envelopes bytes } }";
    questions.push("analytics { totals { envelopes bytes topics accounts contactBundles invites conversations } }".to_owned());
    questions.push(format!("analytics {{ {by_kind} }}"));
    questions.push(
        "envelopes(first: 9, filter: { kinds: [MESSAGE_V2] }) { totalCount nodes { message } }"
            .to_owned(),
    );
    questions.push(
        "conversations(first: 5) { nodes { messages(first: 3) { totalCount nodes { sentAt } } } }"
            .to_owned(),
    );
    questions.push(
        "invites(first: 5) { nodes { sender { contactBundles(first: 2) { totalCount } } } }"
            .to_owned(),
    );
    questions
        .into_iter()
        .map(|question| format!("{{ status {{ envelopeCount }} {question} }}"))
        .collect()
}

/// How an answer may differ from the one before it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Expect {
    /// Not at all.
    Same,
    /// It may tell more, or less of what was erased.
    Later,
}

/// What the reader found wrong, and how often it asked all of the questions.
#[derive(Default)]
struct Found {
    wrong: Vec<String>,
    rounds: u64,
}

struct Reader {
    graph: Graph,
    questions: Vec<String>,
    known: Vec<Value>,
    expect: Arc<Mutex<Expect>>,
    found: Arc<Mutex<Found>>,
}

impl Reader {
    /// Asks all questions again and again.
    async fn ask(mut self, stop: CancellationToken) {
        let mut head = 0;
        while !stop.is_cancelled() {
            for nth in 0..self.questions.len() {
                let expect = *self.expect.lock().unwrap();
                let answer = self.graph.try_ask(&self.questions[nth], Value::Null).await;
                // It may have changed while the question was under way.
                let expect = match *self.expect.lock().unwrap() {
                    now if now == expect => expect,
                    _ => Expect::Later,
                };
                if let Some(wrong) = self.judge(nth, answer, expect, &mut head) {
                    let wrong = format!("{}\n  {wrong}", self.questions[nth]);
                    self.found.lock().unwrap().wrong.push(wrong);
                }
            }
            self.found.lock().unwrap().rounds += 1;
        }
    }

    fn judge(
        &mut self,
        nth: usize,
        answer: Result<Value, String>,
        expect: Expect,
        head: &mut u64,
    ) -> Option<String> {
        let data = match answer {
            Ok(mut answer) => answer["data"].take(),
            Err(error) => return Some(error),
        };
        let now: u64 = data["status"]["envelopeCount"].as_str().unwrap().parse().unwrap();
        if now < *head {
            return Some(format!("it speaks of {now}, after {head}"));
        }
        *head = now;
        if is_empty(&data) {
            return Some(format!("it is empty: {data}"));
        }
        let known = std::mem::replace(&mut self.known[nth], data);
        (expect == Expect::Same && known != Value::Null && known != self.known[nth])
            .then(|| format!("{}\n  after {known}", self.known[nth]))
    }
}

/// Does an answer hold a list without a row, or nothing?
fn is_empty(data: &Value) -> bool {
    data.as_object().unwrap().iter().any(|(field, value)| {
        field != "status"
            && (value.is_null()
                || value["nodes"].as_array().is_some_and(Vec::is_empty)
                || value["totalCount"] == json!("0")
                || value["totals"]["envelopes"] == json!("0")
                || value["volume"].as_array().is_some_and(Vec::is_empty))
    })
}

struct Scene {
    folder: Folder,
    store: Store,
    database: Database,
    graph: Graph,
    expect: Arc<Mutex<Expect>>,
    found: Arc<Mutex<Found>>,
    // Last: they are stopped before the services.
    serve: Program,
    services: Program,
}

impl Scene {
    async fn set() -> Scene {
        let folder = Folder::new();
        let data = folder.data();
        let data = data.to_str().unwrap();
        let services = ["services", "--no-rabbitmq", "--data-dir", data];
        let mut services = Program::start(folder.path(), &services, &[]);
        let running = announced(&folder, &mut services).await;
        succeed(folder.path(), &["migrate", "--data-dir", data], &[]);
        let url = running.database_url.clone().unwrap();
        let store = Store::connect(store::Options::new(&url)).await.unwrap();
        append(&store, &capture::envelopes("legacy-a/envelopes.ndjson.gz")).await;
        let config = store::projector::Config::default();
        Projector::new(store.clone(), Arc::default(), config).catch_up().await.unwrap();
        let (serve, graph, _) = start_serve(&folder, &[]).await;
        let database = Database::connect(running.database_url.as_deref().unwrap()).await;
        Scene {
            folder,
            store,
            database,
            graph,
            expect: Arc::new(Mutex::new(Expect::Same)),
            found: Arc::default(),
            serve,
            services,
        }
    }

    fn reader(&self) -> Reader {
        let questions = questions();
        Reader {
            graph: self.graph.clone(),
            known: vec![Value::Null; questions.len()],
            questions,
            expect: self.expect.clone(),
            found: self.found.clone(),
        }
    }

    fn project(&self) -> Program {
        let data = self.folder.data();
        Program::start(self.folder.path(), &["project", "--data-dir", data.to_str().unwrap()], &[])
    }

    fn command(&self, arguments: &[&str]) -> String {
        let data = self.folder.data();
        let arguments = [arguments, &["--data-dir", data.to_str().unwrap()]].concat();
        succeed(self.folder.path(), &arguments, &[])
    }

    /// Waits until no projection is being built again, and the reader has asked all of its questions twice after that.
    async fn is_still(&mut self, what: &str, projector: &mut Program) {
        let (serve, services, store) = (&mut self.serve, &mut self.services, &self.store);
        until(what, LONG, async || {
            projector.must_run();
            serve.must_run();
            services.must_run();
            let marks = store.watermarks().await.unwrap();
            marks.iter().all(|mark| mark.rebuild.is_none() && !mark.stale).then_some(())
        })
        .await;
        self.reads_on(what).await;
    }

    async fn reads_on(&self, what: &str) {
        let before = self.found.lock().unwrap().rounds;
        until("the reader has asked everything twice", LONG, async || {
            (self.found.lock().unwrap().rounds >= before + 2).then_some(())
        })
        .await;
        let found = self.found.lock().unwrap();
        assert!(
            found.wrong.is_empty(),
            "{what}, after {} rounds:\n{}",
            found.rounds,
            found.wrong[0]
        );
    }
}

async fn append(store: &Store, envelopes: &[wire::Envelope]) {
    for part in envelopes.chunks(500) {
        let records = part.iter().cloned().map(Into::into).collect();
        let page = Page { source: "capture".into(), progress: Vec::new(), records };
        store.append(&[page]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_do_not_notice_what_happens_to_tables() {
    let mut scene = Scene::set().await;
    let stop = CancellationToken::new();
    let reading = tokio::spawn(scene.reader().ask(stop.clone()));
    let mut projector = scene.project();
    scene.is_still("nothing happens", &mut projector).await;

    scene.command(&["rebuild", "--all"]);
    scene.is_still("everything is rebuilt", &mut projector).await;

    let names: Vec<String> =
        scene.store.watermarks().await.unwrap().into_iter().map(|mark| mark.name).collect();
    for name in names {
        assert!(projector.stop().success());
        // To the next start, the program has a higher version than what is there.
        scene
            .database
            .execute(&format!("update derived.watermarks set version = 0 where name = '{name}'"))
            .await;
        projector = scene.project();
        scene.is_still(&format!("{name} has a new version"), &mut projector).await;
    }

    // One projection cannot write its rows, while the log goes on.
    *scene.expect.lock().unwrap() = Expect::Later;
    let broken =
        "alter table derived.accounts add constraint broken check (last_seen_ns is null) not valid";
    scene.database.execute(broken).await;
    let mut envelopes = capture::envelopes("legacy-a/envelopes.ndjson.gz");
    envelopes.iter_mut().for_each(|envelope| envelope.timestamp_ns += 1);
    append(&scene.store, &envelopes).await;
    let head = scene.store.head().await.unwrap();
    until("the others go on", LONG, async || {
        let marks = scene.store.watermarks().await.unwrap();
        let others = marks.iter().all(|mark| mark.name == "accounts" || mark.position == head);
        let stale = marks.iter().any(|mark| mark.name == "accounts" && mark.stale);
        (others && stale).then_some(())
    })
    .await;
    scene.reads_on("one projection is held back").await;
    let status = "{ status { projections { name stale lag error } } }";
    let status = scene.graph.ask(status, Value::Null).await;
    let accounts = status["status"]["projections"].as_array().unwrap();
    let accounts = accounts.iter().find(|one| one["name"] == "accounts").unwrap();
    assert_eq!(accounts["stale"], json!(true), "{accounts}");
    assert!(
        accounts["error"].as_str().is_some_and(|error| error.contains("cannot be written")),
        "{accounts}"
    );
    scene.database.execute("alter table derived.accounts drop constraint broken").await;
    scene.is_still("it comes back by itself", &mut projector).await;

    // The busiest conversation is erased.
    let busiest = "{ conversations(first: 1, orderBy: { field: MESSAGE_COUNT, direction: DESC })
                     { nodes { topic { name envelopeCount } } } }";
    let busiest = scene.graph.ask(busiest, Value::Null).await;
    let topic = busiest["conversations"]["nodes"][0]["topic"].clone();
    let said = scene.command(&["erase", "--topic", topic["name"].as_str().unwrap()]);
    assert!(said.contains(topic["envelopeCount"].as_str().unwrap()), "{said}");
    scene.reads_on("a topic is erased").await;
    // From here on nothing changes any more.
    *scene.expect.lock().unwrap() = Expect::Same;
    scene.is_still("a topic was erased", &mut projector).await;
    let query = "query($name: String!) { topic(name: $name) { envelopeCount
                   envelopes(first: 3) { nodes { erased message payload { __typename } kind } } } }";
    let erased = scene.graph.ask(query, json!({ "name": topic["name"] })).await;
    assert_eq!(erased["topic"]["envelopeCount"], topic["envelopeCount"]);
    for node in erased["topic"]["envelopes"]["nodes"].as_array().unwrap() {
        assert_eq!(
            (&node["erased"], &node["message"], &node["payload"]),
            (&json!(true), &Value::Null, &Value::Null)
        );
    }

    stop.cancel();
    reading.await.unwrap();
    let wrong = std::mem::take(&mut scene.found.lock().unwrap().wrong);
    assert!(wrong.is_empty(), "{} wrong: {}", wrong.len(), wrong[0]);
    assert_eq!(questions().len(), 40);
    assert_eq!(scene.database.contradictions().await, [""; 0]);
    assert!(projector.stop().success());
}
