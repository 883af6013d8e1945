//! Files as people have them.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};

use super::*;

fn line(n: u64) -> String {
    wire::json::to_line("/xmtp/0/m-x/proto", n, format!("message {n}").as_bytes())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::none());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The times of the envelopes of a file, and what went wrong.
fn read(bytes: &[u8], skip: bool) -> (Vec<u64>, Problems) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let problems = Arc::new(Mutex::new(Problems::default()));
    let envelopes = Envelopes::new(vec![file.path().to_owned()], skip, problems.clone());
    let times = envelopes.map(|envelope| envelope.timestamp_ns).collect();
    let problems = std::mem::take(&mut *problems.lock().unwrap());
    (times, problems)
}

#[test]
fn every_form_gives_the_same_envelopes() {
    let (a, b) = (line(1), line(2));
    let pretty = |text: &str| {
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        serde_json::to_string_pretty(&value).unwrap()
    };
    let answer = format!(r#"{{"envelopes":[{a},{b}],"pagingInfo":{{"limit":100}}}}"#);
    for text in [
        format!("{a}\n{b}\n"),
        format!("{a}\r\n\r\n{b}"),
        format!("\u{feff}{a}\n{b}\n"),
        format!("\n  {a}\n{b}"),
        format!("[{a},{b}]"),
        format!("[\n{a},\n{b}\n]\n"),
        format!("\u{feff}[{a}\n,{b}]"),
        pretty(&format!("[{a},{b}]")),
        format!("{}\n{}", pretty(&a), pretty(&b)),
        answer.clone(),
        pretty(&answer),
        format!("[{answer}]"),
        format!("{{\"result\":{a}}}\n{{\"result\":{b}}}\n"),
    ] {
        for bytes in [text.as_bytes().to_vec(), gzip(text.as_bytes())] {
            let (times, problems) = read(&bytes, false);
            assert!(problems.fatal.is_none(), "{text}: {:?}", problems.fatal);
            assert_eq!(times, [1, 2], "{text}");
        }
    }
    assert!(read(b"", false).0.is_empty());
    assert!(read(b"[]", false).1.fatal.is_none());
}

#[test]
fn what_is_cut_off_gives_what_it_has_and_says_how_far_it_came() {
    let text: String = (0..500).map(|n| line(n) + "\n").collect();
    let whole = gzip(text.as_bytes());
    let (times, problems) = read(&whole[..whole.len() / 2], false);
    let said = problems.fatal.unwrap().to_string();
    assert!(times.len() > 200 && times.len() < 300, "{}", times.len());
    assert!(said.contains(&format!("is cut off after {} envelopes", times.len())), "{said}");

    let list = format!("[{},{}", line(1), line(2));
    for cut in [list.len(), list.len() - 10] {
        let (times, problems) = read(&list.as_bytes()[..cut], false);
        let said = problems.fatal.unwrap().to_string();
        assert!(said.contains(&format!("cut off after {} envelopes", times.len())), "{said}");
        assert!(!times.is_empty());
    }
}

#[test]
fn what_is_no_envelope_is_named_by_its_place_or_skipped() {
    let text = format!("{}\nnonsense\n{}\n", line(1), line(2));
    let (times, problems) = read(text.as_bytes(), false);
    let said = problems.fatal.unwrap().to_string();
    assert_eq!(times, [1]);
    assert!(said.starts_with("line 2 of ") && said.contains("--skip-bad-lines"), "{said}");
    let (times, problems) = read(text.as_bytes(), true);
    assert_eq!((times, problems.skipped), (vec![1, 2], 1));
    assert!(problems.first.starts_with("line 2 of "), "{}", problems.first);

    let list = format!("[{},{{\"contentTopic\":\"t\"}},{}]", line(1), line(2));
    let (times, problems) = read(list.as_bytes(), true);
    assert_eq!((times, problems.skipped), (vec![1, 2], 1));
    assert!(problems.first.starts_with("object 2 of "), "{}", problems.first);
    for binary in [&b"\x80\x81\n"[..], b"42", b"\"text\""] {
        assert!(read(binary, false).1.fatal.is_some());
    }
    let utf16: Vec<u8> = line(1).encode_utf16().flat_map(u16::to_le_bytes).collect();
    let said = format!("{:#}", read(&utf16, false).1.fatal.unwrap());
    assert!(said.contains("iconv"), "{said}");
}
