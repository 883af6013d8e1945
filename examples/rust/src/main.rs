//! Five questions and a subscription that resumes: `cargo run`. The first argument names another server; the second is
//! how many invitations to follow before it ends.

use std::{error::Error, time::Duration};

use futures::StreamExt as _;
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// An indexer.
struct Indexer {
    http: reqwest::Client,
    url: String,
}

impl Indexer {
    /// Asks; the data of the answer.
    async fn ask(&self, query: &str, variables: Value) -> Result<Value> {
        let body = json!({ "query": query, "variables": variables });
        let mut answer: Value = self.http.post(&self.url).json(&body).send().await?.json().await?;
        // Each error has `extensions.code`, which programs can rely on.
        match answer.get("errors") {
            Some(errors) => Err(errors.to_string().into()),
            None => Ok(answer["data"].take()),
        }
    }

    /// Everything of some kinds in the order of indexing, each envelope once, page by page.
    async fn count(&self, kinds: &[&str]) -> Result<usize> {
        let query = "query ($kinds: [PayloadKind!], $after: String) {
            envelopes(first: 500, filter: { kinds: $kinds }, after: $after) {
                nodes { timestamp kind topic { name } }
                pageInfo { endCursor hasNextPage }
            }
        }";
        let (mut count, mut after) = (0, Value::Null);
        loop {
            let mut data = self.ask(query, json!({ "kinds": kinds, "after": after })).await?;
            count += data["envelopes"]["nodes"].as_array().map_or(0, Vec::len);
            let page = &mut data["envelopes"]["pageInfo"];
            if page["hasNextPage"] != json!(true) {
                return Ok(count);
            }
            after = page["endCursor"].take();
        }
    }

    /// New invitations from a cursor on, as they come. Whatever ends the connection, it goes on behind the last one that
    /// was seen. Keep the cursor, and it does so after a restart of this program, too.
    async fn follow(&self, mut after: Value, mut seen: impl FnMut(&Value) -> bool) {
        let mut pause = Duration::from_millis(100);
        loop {
            match self.events(&mut after, &mut seen).await {
                Ok(true) => return,
                Ok(false) => pause = Duration::from_millis(100),
                Err(error) => {
                    eprintln!("again in {pause:?}: {error}");
                    pause = (pause * 2).min(Duration::from_secs(10));
                }
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// One connection. Whether enough was seen.
    async fn events(
        &self,
        after: &mut Value,
        seen: &mut impl FnMut(&Value) -> bool,
    ) -> Result<bool> {
        let query = "subscription ($after: String) {
            invites(after: $after) { cursor node { createdAt sender { address } recipient { address } } }
        }";
        let body = json!({ "query": query, "variables": { "after": after } });
        let asked = self.http.post(&self.url).header("accept", "text/event-stream").json(&body);
        let mut bytes = asked.send().await?.error_for_status()?.bytes_stream();
        let mut text = Vec::new();
        while let Some(part) = bytes.next().await {
            text.extend_from_slice(&part?);
            // An event ends with an empty line.
            while let Some(end) = text.windows(2).position(|two| two == b"\n\n") {
                let event: Vec<u8> = text.drain(..end + 2).collect();
                let event = String::from_utf8(event)?;
                let data = event.lines().find_map(|line| line.strip_prefix("data: "));
                let Some(data) = data.filter(|data| !data.is_empty()) else { continue };
                let mut answer: Value = serde_json::from_str(data)?;
                if let Some(errors) = answer.get("errors") {
                    return Err(errors.to_string().into());
                }
                let mut edge = answer["data"]["invites"].take();
                *after = edge["cursor"].take();
                if seen(&edge["node"]) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    // An error only says that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| "http://127.0.0.1:8080/graphql".to_owned());
    let enough: Option<usize> = arguments.next().map(|text| text.parse()).transpose()?;
    let indexer = Indexer { http: reqwest::Client::new(), url };

    // 1. How far is the index?
    let query = "{ status { network envelopeCount head projections { name lag } } }";
    let mut status = indexer.ask(query, json!({})).await?["status"].take();
    println!("{}: {} envelopes", status["network"], status["envelopeCount"]);

    // 2. One wallet: its keys, its invitations, its conversations.
    let address = "0xF0AaB66E6c64557D426d80F0067042067ac2df8B";
    let query = "query ($address: Address!) {
        account(address: $address) {
            contactBundle { version verification publishedAt }
            invites(first: 3) { totalCount nodes { sender { address } recipient { address } createdAt } }
            conversations(first: 3) { nodes { topic { name } messageCount lastMessageAt } }
        }
    }";
    let data = indexer.ask(query, json!({ "address": address })).await?;
    println!("{address} has {} invitations", data["account"]["invites"]["totalCount"]);

    // 3. Who can be written to? At most 500 addresses at once.
    let query = "query ($who: [Address!]!) { reachability(addresses: $who) { address reachable generations } }";
    let who = json!([address, "0x1111111111111111111111111111111111111111"]);
    let data = indexer.ask(query, json!({ "who": who })).await?;
    for one in data["reachability"].as_array().into_iter().flatten() {
        println!("{} can be written to: {}", one["address"], one["reachable"]);
    }

    // 4. Everything in the order of indexing, each envelope once.
    let count = indexer.count(&["INVITE", "CONTACT_BUNDLE"]).await?;
    println!("{count} envelopes hold an invitation or a contact bundle");

    // 5. How much a day, by what envelopes hold?
    let query = r#"{
        analytics {
            totals { envelopes topics accounts invites }
            volume(from: "2024-10-01T00:00:00Z", to: "2024-10-08T00:00:00Z", interval: DAY, by: KIND) {
                key points { at envelopes }
            }
        }
    }"#;
    let data = indexer.ask(query, json!({})).await?;
    let totals = &data["analytics"]["totals"];
    println!("{} accounts on {} topics", totals["accounts"], totals["topics"]);

    // And: new invitations, as they come.
    let mut count = 0;
    let print = |invite: &Value| {
        count += 1;
        let (from, to) = (&invite["sender"]["address"], &invite["recipient"]["address"]);
        println!("{} {from} invites {to}", invite["createdAt"]);
        enough.is_some_and(|enough| count >= enough)
    };
    indexer.follow(status["head"].take(), print).await;
    Ok(())
}
