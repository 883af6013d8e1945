//! Captured traffic, followed from position to position: what the database lists and what a filter says of a row by itself
//! must be the same, or live subscribers would get other rows than those that resume.

use std::collections::HashMap;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use wire::{Generation, PayloadKind, TopicKind, Verification};

use crate::{
    log::Position,
    read::{tests::indexed, *},
};

/// Everything behind `after`, page by page, as a reader that catches up asks for it.
async fn all<T>(
    after: Position,
    upto: Position,
    size: u32,
    position: impl Fn(&T) -> Position,
    read: impl AsyncFn(Position, Position, u32) -> Page<T>,
) -> Vec<Position> {
    let (mut at, mut found) = (after, Vec::new());
    loop {
        let page = read(at, upto, size).await;
        found.extend(page.rows.iter().map(&position));
        assert!(found.is_sorted() && found.iter().all(|p| *p > after && *p <= upto));
        match page.has_more {
            true => at = *found.last().unwrap(),
            false => return found,
        }
    }
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn what_is_listed_and_what_a_row_says_are_the_same(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = indexed(options).await;
    let snapshot = db.store.snapshot().await.unwrap();
    let (start, head) = (Position(0), snapshot.head());
    let (heads, followed) = db.store.followed().await.unwrap();
    assert_eq!((heads.served, heads.log), (head, snapshot.log_head()));
    assert_eq!(followed, Followed::all(head));
    assert_eq!(snapshot.followed().await.unwrap(), followed);
    let envelopes = snapshot
        .envelopes_since(&EnvelopeFilter::default(), start, head, 100_000)
        .await
        .unwrap()
        .rows;
    assert_eq!(i64::try_from(envelopes.len()).unwrap(), head.0);
    let keys: Vec<_> = envelopes.iter().map(|row| row.topic_key).collect();
    let topics: HashMap<_, _> = snapshot
        .topics_by_key(&keys)
        .await
        .unwrap()
        .into_iter()
        .map(|topic| (topic.key, topic))
        .collect();
    let invites =
        snapshot.invites_since(&InviteFilter::default(), start, head, 100_000).await.unwrap().rows;
    let bundles = snapshot
        .contact_bundles_since(&ContactBundleFilter::default(), start, head, 100_000)
        .await
        .unwrap()
        .rows;
    assert!(!invites.is_empty() && !bundles.is_empty());
    let random = &mut StdRng::seed_from_u64(7);
    for _ in 0..60 {
        let (after, upto) = (
            Position(random.random_range(0..head.0 / 2)),
            Position(random.random_range(head.0 / 2..=head.0 + 5)),
        );
        let size = random.random_range(1..400);
        let some = envelopes.choose(random).unwrap();
        let mut maybe = |odds: f64| random.random_bool(odds);
        let filter = EnvelopeFilter {
            topics: maybe(0.2).then(|| vec![some.topic_key, envelopes[0].topic_key]),
            topic_kinds: maybe(0.2).then(|| vec![some.topic_kind, TopicKind::Invite]),
            kinds: maybe(0.3).then(|| vec![some.kind, PayloadKind::Invite]),
            generations: maybe(0.2).then(|| vec![Generation::V1]),
            account: maybe(0.3).then(|| topics[&some.topic_key].owner).flatten(),
            after: maybe(0.2).then_some(some.timestamp_ns),
            before: maybe(0.1).then_some(some.timestamp_ns.saturating_add(1)),
        };
        let upto = upto.min(head);
        let found = all(
            after,
            upto,
            size,
            |row: &Envelope| row.position,
            async |a, u, s| snapshot.envelopes_since(&filter, a, u, s).await.unwrap(),
        );
        let picked: Vec<_> = envelopes
            .iter()
            .filter(|row| row.position > after && row.position <= upto)
            .filter(|row| filter.matches(row, topics.get(&row.topic_key)))
            .map(|row| row.position)
            .collect();
        assert_eq!(found.await, picked, "{filter:?}");

        let some = invites.choose(random).unwrap();
        let mut maybe = |odds: f64| random.random_bool(odds);
        let filter = InviteFilter {
            participants: maybe(0.4).then_some(some.sender).into_iter().collect(),
            sender: maybe(0.2).then_some(some.sender),
            recipient: some.recipient().filter(|_| maybe(0.2)),
            verification: maybe(0.3).then(|| vec![Verification::Verified]),
            after: maybe(0.2).then_some(some.created_ns),
            before: maybe(0.2).then_some(some.created_ns.saturating_add(1)),
        };
        let found = all(
            after,
            upto,
            size,
            |row: &Invite| row.position(),
            async |a, u, s| snapshot.invites_since(&filter, a, u, s).await.unwrap(),
        );
        let picked: Vec<_> = invites
            .iter()
            .filter(|row| row.position() > after && row.position() <= upto)
            .filter(|row| filter.matches(row))
            .map(|row| row.position())
            .collect();
        assert_eq!(found.await, picked, "{filter:?}");

        let some = bundles.choose(random).unwrap();
        let mut maybe = |odds: f64| random.random_bool(odds);
        let filter = ContactBundleFilter {
            account: maybe(0.3).then_some(some.account),
            generation: maybe(0.3).then_some(some.generation),
            verification: maybe(0.3).then(|| vec![some.verification]),
            current_only: false,
            after: maybe(0.2).then_some(some.published_ns),
            before: maybe(0.2).then_some(some.published_ns.saturating_add(1)),
        };
        let found = all(
            after,
            upto,
            size,
            |row: &ContactBundle| row.position(),
            async |a, u, s| snapshot.contact_bundles_since(&filter, a, u, s).await.unwrap(),
        );
        let picked: Vec<_> = bundles
            .iter()
            .filter(|row| row.position() > after && row.position() <= upto)
            .filter(|row| filter.matches(row))
            .map(|row| row.position())
            .collect();
        assert_eq!(found.await, picked, "{filter:?}");
    }
    snapshot.close().await.unwrap();
}
