use store::{Position, read::Envelope};
use wire::PayloadKind as Kind;

use super::{
    payload::Payload,
    topic,
    words::{Generation, PayloadKind},
};
use crate::{
    error::Trouble,
    exec::{Call, ID, Statements, Table, object},
    node_id::NodeId,
    paging::connection,
    scalars::{Base64, DateTime, Hex, UInt64},
};

object!(
    Envelope,
    Table::new("Envelope", "What was published: bytes on a topic, at a time that its sender set.")
        .implements("Node")
        .leaf("id", ID, |envelope: &Envelope| {
            NodeId::Envelope(envelope.digest, envelope.timestamp_ns)
        })
        .load(
            "topic",
            "What it was published on.",
            Statements::of(1),
            async |call, envelopes: &[Envelope], _: ()| {
                topic::topics(call, envelopes.iter().map(|envelope| envelope.topic_key)).await
            }
        )
        .leaf("generation", "Which generation of the network it is of.", |envelope| {
            Generation::from(envelope.generation)
        })
        .leaf("kind", "What it holds.", |envelope| PayloadKind::from(envelope.kind))
        .leaf(
            "timestamp",
            "The sender's clock (V1–V2), the node's (V3) or the originator's (V4). Not trusted: see indexedAt.",
            |envelope| DateTime(envelope.timestamp_ns)
        )
        .leaf(
            "timestampNs",
            "The same in nanoseconds since 1970, as on the network.",
            |envelope| UInt64(envelope.timestamp_ns)
        )
        .leaf("indexedAt", "When this index first stored it.", |envelope| {
            DateTime::from(envelope.indexed_at)
        })
        .leaf(
            "digest",
            "SHA-256(topic ‖ message) for the topics of V1–V3, as the nodes compute it.",
            |envelope| Hex(envelope.digest.as_bytes().to_vec())
        )
        .leaf("size", "Bytes of the message.", |envelope| envelope.size)
        .leaf(
            "erased",
            "The message was erased, by retention or on request; its kind and size stay.",
            |envelope| envelope.erased
        )
        .load(
            "message",
            "The bytes as published. null for private stores, which this index never serves, and where the message was \
             erased.",
            Statements::of(1),
            message
        )
        .load(
            "payload",
            "What the bytes say, as far as anyone without keys can read them. null for kinds that are sealed as a whole, and \
             where the message was erased.",
            Statements::of(4),
            payload
        )
        .load(
            "undecodable",
            "Why the payload could not be read, in words, when kind is UNDECODABLE.",
            Statements::of(1),
            undecodable
        )
);
connection!(Envelope, "EnvelopeConnection", "EnvelopeEdge");

async fn message(
    call: Call<'_>,
    envelopes: &[Envelope],
    _: (),
) -> Result<Vec<Option<Base64>>, Trouble> {
    let served = |envelope: &&Envelope| {
        envelope.topic_kind != wire::TopicKind::PrivateStore && !envelope.erased
    };
    let sizes = envelopes.iter().filter(served).map(|one| u64::try_from(one.size).unwrap_or(0));
    let scope = call.scope();
    scope.afford(sizes.sum())?;
    let positions = envelopes.iter().filter(served).map(|envelope| envelope.position);
    let found = scope.bytes_at(positions).await?;
    Ok(envelopes.iter().map(|one| found.get(&one.position).cloned().map(Base64)).collect())
}

async fn payload(
    call: Call<'_>,
    envelopes: &[Envelope],
    _: (),
) -> Result<Vec<Option<Payload>>, Trouble> {
    let scope = call.scope();
    let of = |kinds: &'static [Kind]| {
        envelopes.iter().filter(move |one| kinds.contains(&one.kind) && !one.erased)
    };
    let (bundles, welcomes, invites, messages) = futures::try_join!(
        scope.bundles_at(of(&[Kind::ContactBundle]).map(|envelope| envelope.position)),
        scope.welcomes_at(of(&[Kind::Welcome]).map(|envelope| envelope.position)),
        scope.invites(of(&[Kind::Invite]).map(|envelope| envelope.payload_key)),
        scope
            .messages_in(of(&[Kind::MessageV1, Kind::MessageV2]).map(|envelope| envelope.position)),
    )?;
    let payload = |envelope: &Envelope| {
        let (position, key) = (&envelope.position, &envelope.payload_key);
        match envelope.kind {
            _ if envelope.erased => None,
            Kind::ContactBundle => bundles.get(position).cloned().map(Payload::ContactBundle),
            Kind::Welcome => welcomes.get(position).cloned().map(Payload::Welcome),
            Kind::Invite => invites.get(key).cloned().map(Payload::Invite),
            Kind::MessageV1 | Kind::MessageV2 => {
                messages.get(position).cloned().map(Payload::Message)
            }
            _ => None,
        }
    };
    Ok(envelopes.iter().map(payload).collect())
}

async fn undecodable(
    call: Call<'_>,
    envelopes: &[Envelope],
    _: (),
) -> Result<Vec<Option<String>>, Trouble> {
    let unread = envelopes.iter().filter(|envelope| envelope.kind == Kind::Undecodable);
    let found = call.scope().reasons_at(unread.map(|envelope| envelope.position)).await?;
    Ok(envelopes.iter().map(|envelope| found.get(&envelope.position).cloned()).collect())
}

/// The envelopes at positions, which must be there.
pub(super) async fn at(
    call: Call<'_>,
    positions: impl Iterator<Item = Position> + Clone,
) -> Result<Vec<Result<Envelope, Trouble>>, Trouble> {
    let found = call.scope().envelopes_at(positions.clone()).await?;
    let envelope = |position: Position| {
        found.get(&position).cloned().ok_or_else(|| Trouble::rebuilding("envelopes"))
    };
    Ok(positions.map(envelope).collect())
}
