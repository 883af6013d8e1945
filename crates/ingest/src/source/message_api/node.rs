//! Nodes of V1 and V2: a stream of everything that they relay, and queries by the names of topics.

use std::time::Duration;

use futures::{Stream, StreamExt};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Status};
use wire::proto::message_api::{
    Cursor, Envelope, IndexCursor, PagingInfo, QueryRequest, SortDirection, SubscribeAllRequest,
    cursor,
};

use crate::error::{Error, Result};
use crate::source::{Cause, NodeError};

/// The generated client.
#[expect(unreachable_pub, clippy::allow_attributes_without_reason, reason = "generated")]
mod stub {
    tonic::include_proto!("xmtp.message_api.v1");
}
use stub::message_api_client::MessageApiClient;

/// The most rows that a node returns in one response.
pub const PAGE_ROWS: u32 = 100;
/// Topics of one query. Nodes state no limit; this keeps a request small.
pub const QUERY_TOPICS: usize = 200;
/// A full answer is a hundred envelopes of a megabyte; beyond this, fewer rows are requested.
const DECODE_LIMIT: usize = 60 << 20;
/// Nodes allow one ping in 15 seconds.
const PING_EVERY: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(30);

/// A node. Connects at the first request, and reconnects by itself.
#[derive(Clone, Debug)]
pub struct Node {
    client: MessageApiClient<Channel>,
    url: String,
}

/// An open subscription.
#[derive(Debug)]
pub struct Subscription<S> {
    /// The node confirmed that the subscription is registered (response metadata `subscribed`). Without it headers may come from
    /// something in front of the node that answers before the node does.
    pub confirmed: bool,
    /// What the node relays.
    pub envelopes: S,
}

/// One answer to a query.
#[derive(Debug, Default)]
pub struct Answer {
    /// Rows in ascending order of `(timestamp_ns, digest)`.
    pub envelopes: Vec<wire::Envelope>,
    /// Where to go on; `None` at the end.
    pub next: Option<IndexCursor>,
}

/// A query.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// Exact names.
    pub topics: Vec<String>,
    /// Sender's time, inclusive; 0 is the beginning.
    pub start_ns: u64,
    /// Sender's time, exclusive; 0 is no end.
    pub end_ns: u64,
    /// Strictly after this row.
    pub after: Option<IndexCursor>,
    /// At most this many rows.
    pub rows: u32,
    /// The newest rows first. Then there is no next page.
    pub newest_first: bool,
}

impl Node {
    /// Reads the address. It does not connect yet.
    ///
    /// # Errors
    /// When the address is not one.
    pub fn at(url: &str) -> Result<Self> {
        let wrong = || Error::NodeAddress(url.to_owned());
        let mut endpoint = Endpoint::from_shared(url.to_owned()).map_err(|_| wrong())?;
        match endpoint.uri().scheme_str() {
            Some("http") => {}
            Some("https") => {
                let tls = ClientTlsConfig::new().with_webpki_roots();
                endpoint = endpoint.tls_config(tls).map_err(|_| wrong())?;
            }
            _ => return Err(wrong()),
        }
        let endpoint = endpoint
            .user_agent(concat!("xmtp-indexer/", env!("CARGO_PKG_VERSION")))
            .map_err(|_| wrong())?
            .connect_timeout(Duration::from_secs(10))
            .http2_keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(Duration::from_secs(10))
            .keep_alive_while_idle(true)
            .tcp_nodelay(true)
            // A node disconnects slow readers, so there is room for a burst.
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20);
        let client =
            MessageApiClient::new(endpoint.connect_lazy()).max_decoding_message_size(DECODE_LIMIT);
        Ok(Self { client, url: url.to_owned() })
    }

    /// Subscribes to everything that the node relays from now on. Every end of the stream is a possible gap, also one with
    /// status OK: that is how nodes drop slow readers.
    ///
    /// # Errors
    /// When the node cannot be reached or refuses.
    pub async fn subscribe_all(
        &self,
    ) -> Result<
        Subscription<impl Stream<Item = Result<wire::Envelope, NodeError>> + Unpin + use<>>,
        NodeError,
    > {
        let mut client = self.client.clone();
        let opening = client.subscribe_all(SubscribeAllRequest {});
        // Nodes send headers at once, before the first envelope, to confirm that the subscription is registered.
        let response = tokio::time::timeout(PATIENCE, opening)
            .await
            .map_err(|_| self.silent())?
            .map_err(|status| self.error(&status))?;
        let kind = response.metadata().get("content-type");
        if kind.is_none_or(|kind| !kind.as_bytes().starts_with(b"application/grpc")) {
            return Err(
                self.error(&Status::internal("the content-type of the response is not gRPC's"))
            );
        }
        let confirmed = response.metadata().contains_key("subscribed");
        let node = self.clone();
        let envelopes =
            response.into_inner().map(move |item: Result<Envelope, Status>| match item {
                Ok(envelope) => Ok(envelope.into()),
                Err(status) => Err(node.error(&status)),
            });
        Ok(Subscription { confirmed, envelopes })
    }

    /// One page of what the node stores in these topics, oldest first.
    ///
    /// # Errors
    /// When the node cannot be reached or refuses.
    pub async fn query(&self, question: Question) -> Result<Answer, NodeError> {
        let asked = question.rows.clamp(1, PAGE_ROWS);
        let after = question.after.clone();
        let request = QueryRequest {
            content_topics: question.topics,
            start_time_ns: question.start_ns,
            end_time_ns: question.end_ns,
            paging_info: Some(PagingInfo {
                limit: asked,
                // Never an empty cursor: nodes fail on it.
                cursor: question
                    .after
                    .map(|index| Cursor { cursor: Some(cursor::Cursor::Index(index)) }),
                direction: match question.newest_first {
                    true => SortDirection::Descending.into(),
                    false => SortDirection::Ascending.into(),
                },
            }),
        };
        let mut client = self.client.clone();
        let response = tokio::time::timeout(PATIENCE, client.query(request))
            .await
            .map_err(|_| self.silent())?
            .map_err(|status| self.error(&status))?
            .into_inner();
        let given = response
            .paging_info
            .and_then(|paging| paging.cursor)
            .and_then(|cursor| cursor.cursor)
            .map(|cursor::Cursor::Index(index)| index)
            .filter(|index| !index.digest.is_empty())
            .filter(|_| response.envelopes.len() >= asked as usize);
        if given.is_some() && given == after {
            return Err(NodeError {
                cause: Cause::Refused,
                url: self.url.clone(),
                text: "returns the same page again and again".into(),
            });
        }
        let rows = response.envelopes.into_iter().map(wire::Envelope::from).collect();
        if question.newest_first {
            return Ok(Answer { envelopes: rows, next: None });
        }
        Ok(past_time_zero(after.as_ref(), rows, given))
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    fn silent(&self) -> NodeError {
        NodeError {
            cause: Cause::Failed,
            url: self.url.clone(),
            text: format!("did not answer within {} s", PATIENCE.as_secs()),
        }
    }

    fn error(&self, status: &Status) -> NodeError {
        let message = status.message();
        let (cause, text) = match status.code() {
            Code::ResourceExhausted => {
                (Cause::Exhausted, format!("has no requests left for this address ({message})"))
            }
            Code::OutOfRange => (
                Cause::TooLarge,
                format!("sent a response larger than {DECODE_LIMIT} bytes ({message})"),
            ),
            Code::InvalidArgument
            | Code::Unimplemented
            | Code::PermissionDenied
            | Code::Unauthenticated => {
                (Cause::Refused, format!("refuses ({:?}: {message})", status.code()))
            }
            _ if speaks_json(status) => (
                Cause::Unreachable,
                format!(
                    "does not speak gRPC: is this the port of its HTTP/JSON gateway? gRPC has one of its own, \
                     usually 5556 ({message})"
                ),
            ),
            Code::Unavailable => (Cause::Unreachable, format!("cannot be reached ({message})")),
            Code::Cancelled => (
                Cause::Unreachable,
                format!(
                    "closed the connection before it answered; a server of HTTP/1.1 does so every time: is this the \
                     port of its HTTP/JSON gateway? ({message})"
                ),
            ),
            code => (Cause::Failed, format!("failed ({code:?}: {message})")),
        };
        NodeError { cause, url: self.url.clone(), text }
    }
}

/// True for what an HTTP/1.1 server, or one that answers with something else than gRPC, makes of a request.
fn speaks_json(status: &Status) -> bool {
    let mut text = status.message().to_lowercase();
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        text.push_str(&error.to_string().to_lowercase());
        source = error.source();
    }
    [
        "content-type",
        "unexpected eof decoding stream",
        "frame with invalid size",
        "invalid compression flag",
    ]
    .iter()
    .any(|sign| text.contains(sign))
}

/// Everything from time 1 on: before the first row that there can be.
fn from_time_one() -> IndexCursor {
    IndexCursor { digest: vec![0; 32].into(), sender_time_ns: 1 }
}

/// A cursor at time 0 loses its time: nodes then compare digests alone, and rows of later times with lesser digests would be
/// left out. So from such a cursor only rows of time 0 are taken, and then everything later is queried anew.
fn past_time_zero(
    after: Option<&IndexCursor>,
    mut rows: Vec<wire::Envelope>,
    given: Option<IndexCursor>,
) -> Answer {
    let in_time_zero = after.is_some_and(|after| after.sender_time_ns == 0);
    if !in_time_zero {
        return Answer { envelopes: rows, next: given };
    }
    let next = given.filter(|given| given.sender_time_ns == 0).unwrap_or_else(from_time_one);
    rows.retain(|row| row.timestamp_ns == 0);
    Answer { envelopes: rows, next: Some(next) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    /// The node's side, as nodes do it, their trap included.
    fn node(
        all: &[(u64, wire::Digest, wire::Envelope)],
        after: Option<&IndexCursor>,
        limit: usize,
    ) -> (Vec<wire::Envelope>, Option<IndexCursor>) {
        let rows: Vec<_> = all
            .iter()
            .filter(|(time, digest, _)| match after {
                None => true,
                Some(after) if after.sender_time_ns == 0 => {
                    digest.as_bytes().as_slice() > after.digest.as_ref()
                }
                Some(after) => {
                    (*time, digest.as_bytes().as_slice())
                        > (after.sender_time_ns, after.digest.as_ref())
                }
            })
            .take(limit)
            .collect();
        let next = rows.last().filter(|_| rows.len() == limit).map(|(time, digest, _)| {
            IndexCursor { digest: Bytes::copy_from_slice(digest.as_bytes()), sender_time_ns: *time }
        });
        (rows.into_iter().map(|(_, _, envelope)| envelope.clone()).collect(), next)
    }

    proptest! {
        #[test]
        fn following_cursors_reads_each_row_once_times_of_zero_included(
            rows in prop::collection::btree_set((0u64..4, any::<u8>()), 0..60), limit in 1usize..8,
        ) {
            let mut all: Vec<_> = rows
                .into_iter()
                .map(|(timestamp_ns, content)| {
                    let envelope = wire::Envelope {
                        topic: Bytes::from_static(b"t"), timestamp_ns, message: Bytes::copy_from_slice(&[content]),
                    };
                    (timestamp_ns, envelope.digest(), envelope)
                })
                .collect();
            all.sort_by_key(|(time, digest, _)| (*time, *digest));
            let (mut read, mut after) = (Vec::new(), None);
            for _ in 0..200 {
                let (rows, given) = node(&all, after.as_ref(), limit);
                let answer = past_time_zero(after.as_ref(), rows, given);
                read.extend(answer.envelopes);
                after = answer.next;
                if after.is_none() {
                    break;
                }
            }
            prop_assert!(after.is_none(), "the pages have no end");
            prop_assert_eq!(read, all.into_iter().map(|(_, _, envelope)| envelope).collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_address_without_a_scheme_is_told_how_it_should_look() {
        for wrong in ["localhost:5556", "ftp://x", "", "grpc.example"] {
            let text = Node::at(wrong).unwrap_err().to_string();
            assert!(text.contains("http://host:5556"), "{text}");
        }
    }

    #[tokio::test]
    async fn a_server_that_does_not_speak_grpc_is_told_from_one_that_is_away() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answer = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
        let server = tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                tokio::io::AsyncWriteExt::write_all(&mut socket, answer).await.unwrap();
            }
        });
        let error = Node::at(&url).unwrap().query(Question::default()).await.unwrap_err();
        assert_eq!(error.cause, Cause::Unreachable);
        assert!(error.to_string().contains("HTTP/JSON gateway"), "{error:?}");
        server.abort();
    }

    #[tokio::test]
    async fn an_unreachable_node_is_one_clear_sentence() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let node = Node::at(&format!("http://127.0.0.1:{port}")).unwrap();
        let error = node.query(Question::default()).await.unwrap_err();
        assert_eq!(error.cause, Cause::Unreachable);
        assert!(error.to_string().contains("cannot be reached"), "{error}");
    }
}
