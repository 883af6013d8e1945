//! Copies of messages and invitations, and envelopes whose message was erased.

use std::collections::HashMap;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use wire::PayloadKind;

use super::{super::*, ALL, append, capture, indexed, project};
use crate::{
    erase::Scope,
    log::Position,
    testing::{TestDatabase, envelope},
};

fn is_message(envelope: &Envelope) -> bool {
    matches!(envelope.kind, PayloadKind::MessageV1 | PayloadKind::MessageV2)
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn copies_are_the_envelopes_that_share_a_payload(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = indexed(options).await;
    let at = db.store.snapshot().await.unwrap();
    let all = PageRequest::first(EnvelopeOrder::Indexed, false, ALL);
    let envelopes = at.envelopes(&EnvelopeFilter::default(), &all).await.unwrap().rows;
    let by_payload = |key, keeps: fn(&Envelope) -> bool| -> Vec<Envelope> {
        envelopes.iter().filter(|e| e.payload_key == key && keeps(e)).cloned().collect()
    };
    let time = PageRequest::first(TimeOrder, true, ALL);

    let messages = at.messages(&MessageFilter::default(), &time).await.unwrap().rows;
    let firsts: Vec<_> = messages.iter().map(|message| message.first_position).collect();
    let mut found: HashMap<Position, Vec<Envelope>> = HashMap::new();
    for (first, envelope) in at.envelopes_of_messages(&firsts).await.unwrap() {
        found.entry(first).or_default().push(envelope);
    }
    let mut several = 0;
    for message in &messages {
        let copies = &found[&message.first_position];
        assert_eq!(*copies, by_payload(message.id, is_message));
        assert_eq!(copies[0].position, message.first_position);
        several += usize::from(copies.len() > 1);
    }
    assert!(several > 10 && found.len() == messages.len());

    // The message of an envelope, of the first copy and of later ones.
    let positions: Vec<_> =
        envelopes.iter().filter(|e| is_message(e)).map(|e| e.position).collect();
    let of_envelopes = at.messages_of_envelopes(&positions).await.unwrap();
    assert_eq!(of_envelopes.len(), positions.len());
    for (position, message) in &of_envelopes {
        assert!(found[&message.first_position].iter().any(|copy| copy.position == *position));
        let one = at.messages_of_envelopes(&[*position]).await.unwrap();
        assert_eq!(one, [(*position, message.clone())]);
    }
    let other = envelopes.iter().find(|e| !is_message(e)).unwrap().position;
    assert!(at.messages_of_envelopes(&[other]).await.unwrap().is_empty());

    // Their names.
    let names: Vec<_> = messages.iter().map(|m| (m.sent_ns, m.id)).collect();
    let mut named = at.messages_by_id(&names).await.unwrap();
    named.sort_by_key(|message| std::cmp::Reverse(message.key(TimeOrder)));
    assert!(named == messages);
    assert_eq!(at.messages_by_id(&names[..1]).await.unwrap(), messages[..1]);
    assert!(at.messages_by_id(&[(names[0].0, names[1].1)]).await.unwrap().is_empty());

    let invites = at.invites(&InviteFilter::default(), &time).await.unwrap().rows;
    let ids: Vec<_> = invites.iter().map(|invite| invite.id).collect();
    let mut found: HashMap<_, Vec<Envelope>> = HashMap::new();
    for (id, envelope) in at.envelopes_of_invites(&ids).await.unwrap() {
        found.entry(id).or_default().push(envelope);
    }
    assert!(invites.len() > 50);
    for invite in &invites {
        let copies = by_payload(invite.id, |envelope| envelope.kind == PayloadKind::Invite);
        assert_eq!(found[&invite.id], copies);
    }
    at.close().await.unwrap();
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn of_very_many_copies_the_first_are_returned(_: PgPoolOptions, options: PgConnectOptions) {
    let db = TestDatabase::on(options).await;
    let dm = |e: &wire::Envelope| e.topic.starts_with(b"/xmtp/0/dm-");
    let message = capture().into_iter().find(dm).unwrap();
    let copies = (0..130).map(|n| wire::Envelope {
        topic: wire::topic::name::intro(wire::Address::from([n; 20])).into(),
        ..message.clone()
    });
    append(&db, copies.collect()).await;
    project(&db).await;
    let at = db.store.snapshot().await.unwrap();
    let found = at.envelopes_of_messages(&[Position(1)]).await.unwrap();
    let positions: Vec<i64> = found.iter().map(|(_, envelope)| envelope.position.0).collect();
    assert_eq!(positions, (1..=COPIES).collect::<Vec<_>>());
    at.close().await.unwrap();
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn an_erased_envelope_stays_without_its_message(_: PgPoolOptions, options: PgConnectOptions) {
    let db = TestDatabase::on(options).await;
    let topics = ["/xmtp/0/m-a/proto", "/xmtp/0/m-b/proto"];
    append(&db, topics.iter().map(|topic| envelope(topic, 7, b"words")).collect()).await;
    project(&db).await;
    db.store.erase(&Scope::Topic(topics[0].to_owned()), false).await.unwrap();
    let at = db.store.snapshot().await.unwrap();
    let positions = [Position(1), Position(2)];
    let mut envelopes = at.envelopes_by_position(&positions).await.unwrap();
    envelopes.sort_by_key(|envelope| envelope.position);
    assert_eq!(envelopes.iter().map(|e| e.erased).collect::<Vec<_>>(), [true, false]);
    assert_eq!(envelopes[0].size, envelopes[1].size);
    assert_eq!(envelopes[0].kind, envelopes[1].kind);
    let messages = at.messages_at(&positions).await.unwrap();
    assert_eq!(messages, [(Position(2), b"words".as_slice().into())]);
    assert_eq!(at.count_envelopes(&EnvelopeFilter::default()).await.unwrap(), 2);
    at.close().await.unwrap();
}
