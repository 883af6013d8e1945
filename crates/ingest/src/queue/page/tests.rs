use proptest::prelude::*;

use super::*;

fn bytes(range: std::ops::Range<usize>) -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), range).prop_map(Bytes::from)
}

fn record() -> impl Strategy<Value = store::Record> {
    let origin = prop::option::of(any::<(u32, u64)>());
    (bytes(0..40), any::<u64>(), bytes(0..200), origin).prop_map(
        |(topic, timestamp_ns, message, origin)| store::Record {
            envelope: wire::Envelope { topic, timestamp_ns, message },
            origin: origin.map(|(space, sequence)| Origin { space, sequence }),
        },
    )
}

fn progress() -> impl Strategy<Value = store::Progress> {
    ("[a-z-]{1,12}", any::<i64>()).prop_map(|(shard, upto)| store::Progress { shard, upto })
}

fn page() -> impl Strategy<Value = Page> {
    let progress = prop::collection::vec(progress(), 0..4);
    ("[a-z]{1,9}", progress, prop::collection::vec(record(), 0..20))
        .prop_map(|(source, progress, records)| Page { source, progress, records })
}

const NETWORK: &str = "net";

/// The first fields of a body that lacks its records.
fn head() -> Vec<u8> {
    [&[0x08, 3][..], &repeated(2, b"a", 1), &repeated(5, NETWORK.as_bytes(), 1)].concat()
}

fn page_of(records: Vec<store::Record>) -> Page {
    Page { source: "a".into(), progress: vec![], records }
}

fn envelope(message: Vec<u8>) -> wire::Envelope {
    wire::Envelope { topic: Bytes::from_static(b"topic"), timestamp_ns: 1, message: message.into() }
}

proptest! {
    #[test]
    fn a_page_comes_back_as_it_was(page in page()) {
        prop_assert_eq!(decode(encode(page.clone(), NETWORK).unwrap(), NETWORK).unwrap(), page);
    }

    #[test]
    fn any_bytes_are_a_page_or_a_reason(body in bytes(0..400)) {
        let _ = decode(body, NETWORK);
    }

    #[test]
    fn a_damaged_page_is_a_page_or_a_reason(page in page(), at in any::<prop::sample::Index>(), with in any::<u8>(), keep in any::<prop::sample::Index>()) {
        let mut body = encode(page, NETWORK).unwrap().to_vec();
        let at = at.index(body.len());
        body[at] = with;
        body.truncate(keep.index(body.len() + 1));
        let _ = decode(body.into(), NETWORK);
    }
}

/// The fields of a body: a tag, a length, and content.
fn repeated(tag: u8, content: &[u8], times: usize) -> Bytes {
    let key = tag << 3 | 2;
    [&[key, u8::try_from(content.len()).unwrap()], content].concat().repeat(times).into()
}

#[test]
fn a_small_body_cannot_become_many_records_or_shards() {
    // A record with an empty envelope.
    let records = [head(), repeated(4, &[0x0a, 0x00], MAX_RECORDS + 1).to_vec()].concat();
    assert_eq!(decode(records.into(), NETWORK).unwrap_err(), PageError::TooMany);
    let shards = [head(), repeated(3, &[0x0a, 0x01, b'a'], MAX_SHARDS + 1).to_vec()].concat();
    assert_eq!(decode(shards.into(), NETWORK).unwrap_err(), PageError::TooManyShards);
    let mut page = page_of(vec![envelope(vec![]).into(); MAX_RECORDS + 1]);
    assert_eq!(encode(page.clone(), NETWORK).unwrap_err(), PageError::TooMany);
    page.progress = vec![store::Progress { shard: "a".into(), upto: 0 }; MAX_SHARDS + 1];
    assert_eq!(encode(page, NETWORK).unwrap_err(), PageError::TooManyShards);
}

#[test]
fn bodies_of_other_versions_are_recognised() {
    // Whatever they have under the known tags, or after them.
    for version in [1, 2, 4] {
        let rest = repeated(2, b"\xff", 1);
        let body = [&[0x08, version][..], &rest, &repeated(4, b"\xff", 1), b"\xff"].concat();
        let error = decode(body.into(), NETWORK).unwrap_err();
        assert_eq!(error, PageError::Version(version.into()));
        assert!(error.is_foreign());
        assert!(error.to_string().contains(&format!("version {version}, and this worker reads")));
    }
}

#[test]
fn what_does_not_begin_with_a_version_is_no_page() {
    let later = [&repeated(2, b"a", 1)[..], &[0x08, 9]].concat();
    for body in [&b""[..], b"{\"a\":1}", &[0x08], &[0x08, 0], &[0x08, 0xff, 0xff, 0x7f], &later] {
        let error = decode(Bytes::copy_from_slice(body), NETWORK).unwrap_err();
        assert!(matches!(error, PageError::Malformed(_)) && !error.is_foreign(), "{error}");
    }
}

#[test]
fn a_page_of_another_network_is_recognised() {
    let body = encode(page_of(vec![envelope(vec![1]).into()]), "other").unwrap();
    let error = decode(body, NETWORK).unwrap_err();
    assert_eq!(error, PageError::Network { page: "other".into(), ours: NETWORK.into() });
    assert!(error.is_foreign());
    assert_eq!(encode(page_of(vec![]), "").unwrap_err(), PageError::NetworkName);
    let nameless = [&[0x08, 3][..], &repeated(2, b"a", 1)].concat();
    assert_eq!(decode(nameless.into(), NETWORK).unwrap_err(), PageError::NetworkName);
}

#[test]
fn a_record_has_an_envelope_and_a_whole_number() {
    for (record, whole) in [
        (&[0x0a, 0x00][..], true),
        (&[0x0a, 0x00, 0x10, 7, 0x18, 9], true),
        (&[0x0a, 0x00, 0x10, 7], false),
        (&[0x0a, 0x00, 0x18, 9], false),
        (&[], false),
    ] {
        let body = [&head()[..], &repeated(4, record, 1)].concat();
        match decode(body.into(), NETWORK) {
            Ok(page) => assert!(whole && page.records.len() == 1, "{record:?}"),
            Err(error) => {
                assert!(!whole && matches!(error, PageError::Malformed(_)), "{record:?}: {error}");
            }
        }
    }
}

fn body(source: &str, progress: Vec<Progress>) -> Body {
    let (source, network) = (source.to_owned(), NETWORK.to_owned());
    Body { version: VERSION, source, progress, records: vec![], network }
}

#[test]
fn names_that_no_column_of_text_takes_are_refused() {
    let long = "a".repeat(256);
    for name in ["", "a\0b", &long] {
        let page = Page { source: name.into(), ..page_of(vec![]) };
        assert_eq!(encode(page, NETWORK).unwrap_err(), PageError::Source);
        let body = body(name, vec![]);
        assert_eq!(decode(body.encode_to_vec().into(), NETWORK).unwrap_err(), PageError::Source);
        let progress = vec![Progress { shard: name.into(), upto: 1 }];
        let body = self::body("a", progress);
        assert_eq!(decode(body.encode_to_vec().into(), NETWORK).unwrap_err(), PageError::Shard);
    }
}

#[test]
fn a_body_over_the_limit_is_neither_written_nor_read() {
    let page = page_of(vec![envelope(vec![0; MAX_BODY_BYTES]).into()]);
    assert!(matches!(encode(page, NETWORK), Err(PageError::TooLong(_))));
    assert!(matches!(
        decode(vec![0; MAX_BODY_BYTES + 1].into(), NETWORK),
        Err(PageError::TooLong(_))
    ));
}

#[test]
fn envelopes_are_slices_of_the_body() {
    let body = encode(page_of(vec![envelope(vec![7; 64]).into()]), NETWORK).unwrap();
    let bounds = body.as_ptr_range();
    let page = decode(body, NETWORK).unwrap();
    assert!(bounds.contains(&page.records[0].envelope.message.as_ptr()));
}
