//! Each layer of the configuration, and the errors about wrong ones.

use super::*;

fn load(file: &str, variables: &[(&str, &str)], flags: &[&str]) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.toml");
    fs::write(&path, file).unwrap();
    let pairs = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    let mut overrides = Overrides::default();
    for flag in flags {
        overrides.set_pair(flag).map_err(|error| error.to_string())?;
    }
    Config::load(Some(&path), &Variables::new(pairs), &overrides).map_err(|e| e.to_string())
}

#[test]
fn each_layer_wins_over_the_one_before() {
    let file = "[queue]\nprefetch = 7\nlinger_ms = 8\npage_envelopes = 9\n";
    let variables =
        [("XMTP_INDEXER__QUEUE__PREFETCH", "70"), ("XMTP_INDEXER__QUEUE__LINGER_MS", "80")];
    let config = load(file, &variables, &["queue.prefetch=700"]).unwrap();
    assert_eq!(config.queue.prefetch, 700);
    assert_eq!(config.queue.linger_ms, 80);
    assert_eq!(config.queue.page_envelopes, 9);
    assert_eq!(config.queue.page_bytes, Config::defaults().unwrap().queue.page_bytes);
}

#[test]
fn well_known_variables_are_weaker_than_ours() {
    let known = ("DATABASE_URL", "postgres://a");
    let config = load("[database]\nurl = \"postgres://file\"", &[known], &[]).unwrap();
    assert_eq!(config.database.url.unwrap().expose(), "postgres://a");
    let ours = ("XMTP_INDEXER__DATABASE__URL", "postgres://b");
    let config = load("", &[known, ours], &[]).unwrap();
    assert_eq!(config.database.url.unwrap().expose(), "postgres://b");
}

#[test]
fn empty_variables_are_not_set() {
    let empty = ["DATABASE_URL", "XMTP_INDEXER__QUEUE__PREFETCH", "XMTP_INDEXER__HTTP__LISTEN"];
    let variables = empty.map(|name| (name, " "));
    assert_eq!(load("", &variables, &[]).unwrap(), Config::defaults().unwrap());
}

#[test]
fn secrets_are_read_from_the_files_that_variables_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let database = path("database", "\u{feff}postgres://me:hunter2@h/d\n");
    let reader = path("reader", "postgres://reader@h/d");
    let config = load(
        "",
        &[
            ("DATABASE_URL_FILE", &database),
            ("XMTP_INDEXER__DATABASE__READER_URL_FILE", &reader),
            ("AMQP_URL_FILE", ""),
        ],
        &[],
    );
    let config = config.unwrap();
    assert_eq!(config.database.url.unwrap().expose(), "postgres://me:hunter2@h/d");
    assert_eq!(config.database.reader_url.unwrap().expose(), "postgres://reader@h/d");
    assert_eq!(config.queue.url, None);

    let said = |variables: &[(&str, &str)]| load("", variables, &[]).unwrap_err();
    let twice = said(&[("AMQP_URL_FILE", &reader), ("AMQP_URL", "amqp://h")]);
    assert!(twice.contains("AMQP_URL_FILE") && twice.contains("keep one"), "{twice}");
    let missing = said(&[("AMQP_URL_FILE", "no/such/file")]);
    assert!(missing.contains("AMQP_URL_FILE: cannot read no/such/file"), "{missing}");
    let empty = said(&[("AMQP_URL_FILE", &path("empty", "\n"))]);
    assert!(empty.contains("is empty"), "{empty}");
    let no_secret = said(&[("XMTP_INDEXER__QUEUE__PREFETCH_FILE", &reader)]);
    assert!(no_secret.contains("`XMTP_INDEXER__QUEUE__PREFETCH`"), "{no_secret}");
}

#[test]
fn a_host_name_is_an_address_to_listen_on() {
    let config =
        load("[http]\nlisten = \"localhost:9000\"", &[], &["metrics.listen=localhost:9001"]);
    let config = config.unwrap();
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:9000");
    assert_eq!(config.metrics.listen.unwrap().to_string(), "127.0.0.1:9001");
    assert!(!config.is_public());
    let said = load("", &[], &["http.listen=localhost"]).unwrap_err();
    assert!(said.contains("http.listen") && said.contains("localhost:8080"), "{said}");
}

#[test]
fn sources_from_everywhere() {
    let file = "[[sources]]\nkind = \"message-api\"\nurl = \"http://a:1\"\nname = \"a\"\n";
    let config = load(file, &[], &[]).unwrap();
    assert_eq!(config.sources[0].name.as_deref(), Some("a"));
    let variable = ("XMTP_INDEXER__SOURCES", "message-api=http://b:1,other=http://c:1");
    let config = load(file, &[variable], &[]).unwrap();
    assert_eq!(config.sources.len(), 2);
    assert_eq!(config.sources[1].addresses().next().unwrap(), "http://c:1");
    assert!(load("", &[("XMTP_INDEXER__SOURCES", "nonsense")], &[]).is_err());
    let file = "[[sources]]\nkind = \"message-api\"\nurls = [\"http://a:1\", \"http://b:1\"]\n\
                [sources.options]\nsilence_seconds = 5\n[sources.budget]\nburst = 7\n";
    let source = &load(file, &[], &[]).unwrap().sources[0];
    assert_eq!(source.addresses().collect::<Vec<_>>(), ["http://a:1", "http://b:1"]);
    assert_eq!(source.options["silence_seconds"].as_integer(), Some(5));
    assert_eq!(source.budget.burst, 7);
}

#[test]
fn what_is_wrong_is_said_in_one_line_with_the_nearest_key() {
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str], &'a [&'a str]);
    let cases: [Case<'_>; 24] = [
        ("[databse]\nurl = \"\"", &[], &[], &["databse", "did you mean `database.url`?", "x.toml"]),
        ("[queue]\nprefech = 1", &[], &[], &["queue.prefech", "`queue.prefetch`"]),
        ("[[sources]]\nkin = \"a\"", &[], &[], &["sources.kin", "`sources.kind`"]),
        ("[[retention]]\nkind = \"a\"", &[], &[], &["retention.kind", "`retention.kinds`"]),
        ("[[retention]]\nkinds = []", &[], &[], &["x.toml", "older_than"]),
        ("[retention]\nolder_than = \"1d\"", &[], &[], &["x.toml", "retention"]),
        ("[[retention]]\nolder_than = \"1\"", &[], &[], &["retention.older_than", "90d"]),
        ("", &[("XMTP_INDEXER__RETENTION", "90d")], &[], &["RETENTION", "[[retention]]"]),
        ("[queue]\nprefetch = \"x\"", &[], &[], &["x.toml", "prefetch"]),
        ("network = ", &[], &[], &["x.toml", "line 1"]),
        ("", &[("XMTP_INDEXER__HTTP__LISTN", "")], &[], &["`XMTP_INDEXER__HTTP__LISTEN`"]),
        ("", &[("XMTP_INDEXER__HTTP__LISTEN", "x")], &[], &["XMTP_INDEXER__HTTP__LISTEN"]),
        ("", &[], &["queue.prefetch=many"], &["queue.prefetch", "`many` is not a whole number"]),
        ("", &[], &["http.listen=0.0.0.0:1"], &["http.public = true"]),
        ("[queue]\npage_envelopes = 8193", &[], &[], &["queue.page_envelopes", "8193", "8192"]),
        ("", &[], &["queue.page_bytes=15728641"], &["queue.page_bytes", "15728640"]),
        ("", &[("XMTP_INDEXER__SOURCES", "nonsense")], &[], &["XMTP_INDEXER__SOURCES", "KIND=URL"]),
        ("[[sources]]\nkind = 1\nurl = \"http://a\"", &[], &[], &["x.toml", "sources.kind"]),
        ("[[sources]]\nkind = \"a\"", &[], &[], &["sources.url", "urls"]),
        ("queue = 1", &[], &[], &["x.toml", "queue"]),
        ("[queue]\nprefetch = 70000", &[], &[], &["x.toml", "queue.prefetch", "70000"]),
        ("[api]\nkeys = \"no\"", &[], &[], &["x.toml", "api.keys", "`optional`"]),
        (
            "[queue.prefetch]\nmany = 1",
            &[("XMTP_INDEXER__QUEUE__LINGER_MS", "1")],
            &[],
            &["x.toml", "queue.prefetch"],
        ),
        (
            "[queue]\nprefech = 1",
            &[("XMTP_INDEXER__QUEUE__PREFETCH", "1")],
            &["queue.linger_ms=1"],
            &["x.toml", "queue.prefech", "`queue.prefetch`"],
        ),
    ];
    for (file, variables, flags, wanted) in cases {
        let said = load(file, variables, flags).unwrap_err();
        for words in wanted {
            assert!(said.contains(words), "{said:?} lacks {words:?}");
        }
        assert!(!said.contains('\n'), "{said:?}");
    }
}

#[test]
fn every_key_is_in_the_commented_defaults_and_no_secret_is_shown() {
    let defaults = Config::defaults().unwrap();
    let keys = Keys::of(&defaults).unwrap();
    let mut section = String::new();
    let mut documented = Vec::new();
    let mut comment_before = false;
    for line in DEFAULTS.lines() {
        let bare = line.trim_start_matches("# ");
        if let Some(name) = bare.strip_prefix('[') {
            section = format!("{}.", name.trim_matches(['[', ']']));
        } else if let Some((name, _)) = bare.split_once(" = ")
            && !name.contains(' ')
        {
            documented.push(format!("{section}{name}"));
            let in_list = section.starts_with("sources.") || section.starts_with("retention.");
            assert!(comment_before || in_list, "{name} has no comment");
        }
        comment_before = line.starts_with("# ");
    }
    for key in &documented {
        let exists = keys.kind(key).is_some() || key.starts_with("sources.options.");
        assert!(exists, "{key} does not exist");
    }
    let lists = ["sources", "retention", "sources.options.*"];
    for (key, _) in keys.iter().filter(|(key, _)| !lists.contains(&key.as_str())) {
        assert!(documented.contains(key), "{key} is not in config.default.toml");
    }
    let shown = load("", &[("DATABASE_URL", "postgres://me:hunter2@h/d")], &[]).unwrap().show();
    assert!(shown.contains("postgres://me:***@h/d") && !shown.contains("hunter2"), "{shown}");
    // What is shown is a valid file again, lists of tables included.
    assert!(load(&shown, &[], &[]).is_ok());
    let lists = "[[sources]]\nkind = \"a\"\nurl = \"http://b\"\n\
                 [[retention]]\nkinds = [\"invite\"]\nolder_than = \"90d\"\n\
                 [[retention]]\nolder_than = \"9000d\"\n";
    let config = load(lists, &[], &[]).unwrap();
    assert_eq!(load(&config.show(), &[], &[]).unwrap(), config);
}
