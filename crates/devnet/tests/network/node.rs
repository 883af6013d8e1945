//! A devnet to talk to, and the client to do so.

use bytes::Bytes;
use devnet::{Devnet, Options};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use wire::Envelope;
use wire::proto::message_api::{
    PagingInfo, PublishRequest, QueryRequest, QueryResponse, SortDirection,
};

mod stubs {
    #![expect(unreachable_pub, clippy::allow_attributes_without_reason, reason = "generated code")]
    include!(concat!(env!("OUT_DIR"), "/client/xmtp.message_api.v1.rs"));
}

pub(crate) type Client = stubs::message_api_client::MessageApiClient<Channel>;

pub(crate) const ASCENDING: i32 = SortDirection::Ascending as i32;
pub(crate) const DESCENDING: i32 = SortDirection::Descending as i32;

pub(crate) async fn start(options: Options) -> (Devnet, Client) {
    let devnet = Devnet::start(options, CancellationToken::new()).await.unwrap();
    let client = connect(&devnet).await;
    (devnet, client)
}

pub(crate) async fn connect(devnet: &Devnet) -> Client {
    let client = Client::connect(devnet.grpc_url()).await.unwrap();
    client.max_decoding_message_size(200 << 20).max_encoding_message_size(200 << 20)
}

pub(crate) async fn empty() -> (Devnet, Client) {
    start(Options::default()).await
}

pub(crate) fn envelope(topic: &str, timestamp_ns: u64, message: &str) -> Envelope {
    Envelope {
        topic: Bytes::copy_from_slice(topic.as_bytes()),
        timestamp_ns,
        message: Bytes::copy_from_slice(message.as_bytes()),
    }
}

pub(crate) fn publish(envelopes: &[Envelope]) -> PublishRequest {
    PublishRequest { envelopes: envelopes.iter().cloned().map(Into::into).collect() }
}

pub(crate) fn paged(topics: &[&str], limit: u32, direction: i32) -> QueryRequest {
    QueryRequest {
        content_topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
        paging_info: Some(PagingInfo { limit, cursor: None, direction }),
        ..QueryRequest::default()
    }
}

pub(crate) fn times(answer: &QueryResponse) -> Vec<u64> {
    answer.envelopes.iter().map(|envelope| envelope.timestamp_ns).collect()
}
