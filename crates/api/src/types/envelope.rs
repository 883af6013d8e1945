use async_graphql::{Context, Description, ID, Object, Result};
use store::{Position, read};
use wire::PayloadKind as Kind;

use super::{
    payload::Payload,
    topic::Topic,
    words::{Generation, PayloadKind},
};
use crate::{
    node_id::NodeId,
    scalars::{Base64, DateTime, Hex, UInt64},
    scope::{BundleAt, BytesAt, EnvelopeAt, InviteBy, MessageBy, ReasonAt, asked},
};

/// What was published: bytes on a topic, at a time that its sender set.
#[derive(Description)]
pub(crate) struct Envelope(read::Envelope);

impl From<read::Envelope> for Envelope {
    fn from(row: read::Envelope) -> Self {
        Envelope(row)
    }
}

impl Envelope {
    /// The envelope at a position, which must be there.
    pub(crate) async fn at(ctx: &Context<'_>, position: Position) -> Result<Envelope> {
        let asked = asked(ctx)?;
        let row = asked.load(EnvelopeAt(position)).await?;
        Ok(row.ok_or_else(|| asked.scope.missing("envelopes"))?.into())
    }
}

#[Object(use_type_description = true)]
impl Envelope {
    /// Stable across rebuilds of the index.
    pub(crate) async fn id(&self) -> ID {
        NodeId::Envelope(self.0.digest, self.0.timestamp_ns).encode()
    }

    /// What it was published on.
    async fn topic(&self, ctx: &Context<'_>) -> Result<Topic> {
        Topic::of(ctx, self.0.topic_key).await
    }

    /// Which generation of the network it is of.
    async fn generation(&self) -> Generation {
        self.0.generation.into()
    }

    /// What it holds.
    async fn kind(&self) -> PayloadKind {
        self.0.kind.into()
    }

    /// The sender's clock (V1–V2), the node's (V3) or the originator's (V4). Not trusted: see indexedAt.
    async fn timestamp(&self) -> DateTime {
        DateTime(self.0.timestamp_ns)
    }

    /// The same in nanoseconds since 1970, as on the network.
    async fn timestamp_ns(&self) -> UInt64 {
        UInt64(self.0.timestamp_ns)
    }

    /// When this index first stored it.
    async fn indexed_at(&self) -> DateTime {
        self.0.indexed_at.into()
    }

    /// SHA-256(topic ‖ message) for the topics of V1–V3, as the nodes compute it.
    async fn digest(&self) -> Hex {
        Hex(self.0.digest.as_bytes().to_vec())
    }

    /// Bytes of the message.
    async fn size(&self) -> i32 {
        self.0.size
    }

    /// The bytes as published. null for private stores, which this index never serves.
    async fn message(&self, ctx: &Context<'_>) -> Result<Option<Base64>> {
        if self.0.topic_kind == wire::TopicKind::PrivateStore {
            return Ok(None);
        }
        let asked = asked(ctx)?;
        asked.scope.afford(u64::try_from(self.0.size).unwrap_or(0))?;
        Ok(asked.load(BytesAt(self.0.position)).await?.map(Base64))
    }

    /// What the bytes say, as far as anyone without keys can read them. null for kinds that are sealed as a whole.
    async fn payload(&self, ctx: &Context<'_>) -> Result<Option<Payload>> {
        let asked = asked(ctx)?;
        Ok(match self.0.kind {
            Kind::ContactBundle => asked
                .load(BundleAt(self.0.position))
                .await?
                .map(|row| Payload::ContactBundle(row.into())),
            Kind::Invite => asked
                .load(InviteBy(self.0.payload_key))
                .await?
                .map(|row| Payload::Invite(row.into())),
            Kind::MessageV1 | Kind::MessageV2 => asked
                .load(MessageBy(self.0.payload_key))
                .await?
                .map(|row| Payload::Message(row.into())),
            _ => None,
        })
    }

    /// Why the payload could not be read, in words, when kind is UNDECODABLE.
    async fn undecodable(&self, ctx: &Context<'_>) -> Result<Option<String>> {
        if self.0.kind != Kind::Undecodable {
            return Ok(None);
        }
        Ok(asked(ctx)?.load(ReasonAt(self.0.position)).await?)
    }
}
