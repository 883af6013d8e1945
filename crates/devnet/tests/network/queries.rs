//! `Query` and `BatchQuery`: which rows, in which order, in which pages.

use bytes::Bytes;
use tonic::Code;
use wire::proto::message_api::{BatchQueryRequest, Cursor, IndexCursor, QueryRequest, cursor};

use crate::node::{ASCENDING, DESCENDING, empty, envelope, paged, times};

const TOPIC: &str = "/xmtp/0/m-a/proto";
const OTHER: &str = "/xmtp/0/m-b/proto";
const PREFERENCES: &str =
    "/xmtp/0/userpreferences-zqOEtmIMJeMgmJhovdhPsywhz5dHOGwfx0q-F8HAczQ/proto";

fn index(sender_time_ns: u64, digest: &[u8]) -> Option<Cursor> {
    let digest = Bytes::copy_from_slice(digest);
    let index = IndexCursor { digest, sender_time_ns };
    Some(Cursor { cursor: Some(cursor::Cursor::Index(index)) })
}

#[tokio::test]
async fn topics_are_required_and_unknown_ones_are_empty() {
    let (devnet, mut client) = empty().await;
    let refused = client.query(QueryRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(refused.message(), "content topics required");
    devnet.preload(vec![envelope(TOPIC, 1, "x")]);
    for unknown in ["/xmtp/0/M-a/proto", "/xmtp/0/m-a", "*", "/xmtp/0/m-a/proto "] {
        let answer = client.query(paged(&[unknown], 0, ASCENDING)).await.unwrap().into_inner();
        assert!(answer.envelopes.is_empty(), "{unknown}");
        let paging = answer.paging_info.unwrap();
        assert_eq!((paging.limit, paging.cursor, paging.direction), (0, None, ASCENDING));
    }
}

#[tokio::test]
async fn the_order_is_time_then_digest_and_descending_unless_said() {
    let (devnet, mut client) = empty().await;
    let mut all = Vec::new();
    for n in 0..20 {
        all.push(envelope(if n % 2 == 0 { TOPIC } else { OTHER }, n / 5, &n.to_string()));
    }
    devnet.preload(all.clone());
    all.sort_by_key(|e| (e.timestamp_ns, *e.digest().as_bytes()));
    let mut ask = async |direction| {
        // A topic that is named twice does not count twice.
        let answer = client.query(paged(&[TOPIC, OTHER, TOPIC], 0, direction)).await.unwrap();
        let envelopes = answer.into_inner().envelopes;
        envelopes.into_iter().map(wire::Envelope::from).collect::<Vec<_>>()
    };
    assert_eq!(ask(ASCENDING).await, all);
    all.reverse();
    assert_eq!(ask(DESCENDING).await, all);
    assert_eq!(ask(0).await, all);
    let plain = QueryRequest {
        content_topics: vec![TOPIC.into(), OTHER.into()],
        ..QueryRequest::default()
    };
    let answer = client.query(plain).await.unwrap().into_inner();
    assert_eq!(times(&answer), all.iter().map(|e| e.timestamp_ns).collect::<Vec<_>>());
}

#[tokio::test]
async fn times_are_inclusive_and_zero_is_unset() {
    let (devnet, mut client) = empty().await;
    devnet.preload([0, 1, 2, 3, u64::MAX].map(|time| envelope(TOPIC, time, "x")).into());
    for (start, end, expected) in [
        (0, 0, vec![0, 1, 2, 3, u64::MAX]),
        (1, 0, vec![1, 2, 3, u64::MAX]),
        (0, 2, vec![0, 1, 2]),
        (2, 2, vec![2]),
        (3, 1, vec![]),
        (u64::MAX, u64::MAX, vec![u64::MAX]),
    ] {
        let mut request = paged(&[TOPIC], 0, ASCENDING);
        (request.start_time_ns, request.end_time_ns) = (start, end);
        let answer = client.query(request.clone()).await.unwrap().into_inner();
        assert_eq!(times(&answer), expected, "{start}..={end}");
    }
    // They hold together with a cursor.
    let mut request = paged(&[TOPIC], 1, ASCENDING);
    (request.start_time_ns, request.end_time_ns) = (1, 2);
    let mut read = Vec::new();
    loop {
        let answer = client.query(request.clone()).await.unwrap().into_inner();
        read.extend(times(&answer));
        let cursor = answer.paging_info.unwrap().cursor;
        if cursor.is_none() {
            break;
        }
        request.paging_info.as_mut().unwrap().cursor = cursor;
    }
    assert_eq!(read, [1, 2]);
}

#[tokio::test]
async fn pages_have_a_limit_and_preferences_a_larger_one() {
    let (devnet, mut client) = empty().await;
    let rows = |topic: &str, n: u64| (0..n).map(|t| envelope(topic, t, "x")).collect::<Vec<_>>();
    devnet.preload(rows(TOPIC, 150));
    devnet.preload(rows(PREFERENCES, 600));
    for (topics, limit) in [
        (vec![TOPIC], 101),
        (vec![PREFERENCES], 501),
        (vec![PREFERENCES, TOPIC], 101),
        (vec![PREFERENCES, PREFERENCES], 500),
    ] {
        let refused = client.query(paged(&topics, limit, ASCENDING)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert_eq!(refused.message(), "cannot exceed 100 rows per query");
    }
    for (topic, limit, rows, echoed) in [
        (TOPIC, 0, 100, 100),
        (TOPIC, 100, 100, 100),
        (TOPIC, 7, 7, 7),
        (PREFERENCES, 0, 100, 100),
        (PREFERENCES, 101, 101, 100),
        (PREFERENCES, 500, 500, 100),
    ] {
        let answer = client.query(paged(&[topic], limit, ASCENDING)).await.unwrap().into_inner();
        assert_eq!(answer.envelopes.len(), rows, "{topic} {limit}");
        assert_eq!(answer.paging_info.unwrap().limit, echoed, "{topic} {limit}");
    }
}

#[tokio::test]
async fn a_full_last_page_is_followed_by_an_empty_one() {
    let (devnet, mut client) = empty().await;
    devnet.preload((1..=4).map(|time| envelope(TOPIC, time, "x")).collect());
    let mut request = paged(&[TOPIC], 2, DESCENDING);
    for expected in [vec![4, 3], vec![2, 1]] {
        let answer = client.query(request.clone()).await.unwrap().into_inner();
        assert_eq!(times(&answer), expected);
        let last = wire::Envelope::from(answer.envelopes[1].clone());
        let paging = answer.paging_info.unwrap();
        assert_eq!(paging.cursor, index(last.timestamp_ns, last.digest().as_bytes()));
        assert_eq!((paging.limit, paging.direction), (2, DESCENDING));
        request.paging_info.as_mut().unwrap().cursor = paging.cursor;
    }
    let answer = client.query(request).await.unwrap().into_inner();
    assert!(answer.envelopes.is_empty());
    let paging = answer.paging_info.unwrap();
    assert_eq!((paging.limit, paging.cursor, paging.direction), (0, None, DESCENDING));
}

#[tokio::test]
async fn odd_cursors_mean_what_they_mean_on_a_node() {
    let (devnet, mut client) = empty().await;
    let rows: Vec<_> = (1..=6).map(|t| envelope(TOPIC, t, &t.to_string())).collect();
    devnet.preload(rows.clone());
    let mut ask = async |cursor: Option<Cursor>, direction| {
        let mut request = paged(&[TOPIC], 0, direction);
        request.paging_info.as_mut().unwrap().cursor = cursor;
        client.query(request).await.map(|answer| times(answer.get_ref()))
    };
    // Without a digest nothing is filtered.
    assert_eq!(ask(index(4, &[]), ASCENDING).await.unwrap(), [1, 2, 3, 4, 5, 6]);
    assert_eq!(ask(index(0, &[]), ASCENDING).await.unwrap(), [1, 2, 3, 4, 5, 6]);
    // Without a time the digest alone is compared.
    let middle = *rows[2].digest().as_bytes();
    let greater = |row: &&wire::Envelope| row.digest().as_bytes() > &middle;
    let less = |row: &&wire::Envelope| row.digest().as_bytes() < &middle;
    let time = |row: &wire::Envelope| row.timestamp_ns;
    let expected: Vec<_> = rows.iter().filter(greater).map(time).collect();
    assert_eq!(ask(index(0, &middle), ASCENDING).await.unwrap(), expected);
    let expected: Vec<_> = rows.iter().rev().filter(less).map(time).collect();
    assert_eq!(ask(index(0, &middle), DESCENDING).await.unwrap(), expected);
    // Exclusive in both directions; a row need not be there.
    assert_eq!(ask(index(3, &middle), ASCENDING).await.unwrap(), [4, 5, 6]);
    assert_eq!(ask(index(3, &middle), DESCENDING).await.unwrap(), [2, 1]);
    assert_eq!(ask(index(3, &[0]), ASCENDING).await.unwrap(), [3, 4, 5, 6]);
    assert_eq!(ask(index(3, &[0xff; 40]), ASCENDING).await.unwrap(), [4, 5, 6]);
    assert_eq!(ask(index(3, &[0xff; 40]), DESCENDING).await.unwrap(), [3, 2, 1]);
    let refused = ask(Some(Cursor { cursor: None }), ASCENDING).await.unwrap_err();
    assert_eq!(refused.code(), Code::Internal);
}

#[tokio::test]
async fn a_batch_answers_in_order_and_fails_as_a_whole() {
    let (devnet, mut client) = empty().await;
    devnet.preload(vec![envelope(TOPIC, 1, "x"), envelope(OTHER, 2, "y")]);
    let one = paged(&[TOPIC], 1, ASCENDING);
    let other = paged(&[OTHER], 0, ASCENDING);
    let requests = [one.clone(), other].into_iter().cycle().take(50).collect();
    let answer = client.batch_query(BatchQueryRequest { requests }).await.unwrap().into_inner();
    assert_eq!(answer.responses.len(), 50);
    for (n, response) in answer.responses.iter().enumerate() {
        assert_eq!(times(response), [n as u64 % 2 + 1]);
        let paging = response.paging_info.as_ref().unwrap();
        assert_eq!(paging.limit, if n % 2 == 0 { 1 } else { 0 });
    }
    let requests = vec![one.clone(); 51];
    let refused = client.batch_query(BatchQueryRequest { requests }).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(refused.message(), "cannot exceed 50 requests in single batch");
    let requests = vec![one, QueryRequest::default()];
    let refused = client.batch_query(BatchQueryRequest { requests }).await.unwrap_err();
    assert_eq!(refused.code(), Code::Internal);
    assert_eq!(refused.message(), "content topics required");
    let none = client.batch_query(BatchQueryRequest::default()).await.unwrap().into_inner();
    assert!(none.responses.is_empty());
}
