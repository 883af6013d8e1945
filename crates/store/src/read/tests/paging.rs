//! Captured traffic, read through every filter at every page size in both directions, beside an oracle that filters and
//! sorts all rows by itself.

use std::collections::HashSet;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use wire::{Address, PayloadKind, TopicKind, Verification};

use super::{super::*, ALL, indexed};

/// All rows by pages of `size`, from one end to the other.
async fn walk<T: Keyed<O> + Clone, O: Copy>(
    order: O,
    descending: bool,
    size: u32,
    backward: bool,
    read: &impl AsyncFn(PageRequest<O>) -> Page<T>,
) -> Vec<T> {
    let mut request = PageRequest { backward, ..PageRequest::first(order, descending, size) };
    let mut all: Vec<T> = Vec::new();
    loop {
        let page = read(request.clone()).await;
        assert!(page.rows.len() <= usize::try_from(size).unwrap());
        assert!(page.rows.len() == usize::try_from(size).unwrap() || !page.has_more);
        if backward {
            request.before = page.rows.first().map(|row| row.key(order)).or(request.before);
            all.splice(0..0, page.rows);
        } else {
            request.after = page.rows.last().map(|row| row.key(order)).or(request.after);
            all.extend(page.rows);
        }
        if !page.has_more {
            return all;
        }
    }
}

/// Rows that pass `keeps`, in order: what a list must be equal to.
fn expected<T: Keyed<O> + Clone, O: Copy>(
    rows: &[T],
    order: O,
    descending: bool,
    keeps: impl Fn(&T) -> bool,
) -> Vec<T> {
    let mut rows: Vec<T> = rows.iter().filter(|row| keeps(row)).cloned().collect();
    rows.sort_by_key(|row| row.key(order));
    if descending {
        rows.reverse();
    }
    rows
}

/// Checks one filter in one order: whole walks in both directions, a range between two rows, the count.
pub(super) async fn check<T: Keyed<O> + Clone + PartialEq, O: Copy + std::fmt::Debug>(
    random: &mut StdRng,
    rows: &[T],
    orders: &[O],
    keeps: impl Fn(&T) -> bool,
    count: u64,
    read: impl AsyncFn(PageRequest<O>) -> Page<T>,
) {
    let order = *orders.choose(random).unwrap();
    let descending = random.random();
    let wanted = expected(rows, order, descending, keeps);
    assert_eq!(count, u64::try_from(wanted.len()).unwrap());
    // Many pages for short lists, a few for long ones.
    let least = u32::try_from(wanted.len() / 40).unwrap().max(1);
    for backward in [false, true] {
        let size = random.random_range(least..least + 60);
        let got = walk(order, descending, size, backward, &read).await;
        let keys = |rows: &[T]| rows.iter().map(|row| row.key(order)).collect::<Vec<_>>();
        let (got_keys, wanted_keys) = (keys(&got), keys(&wanted));
        if let Some(at) = (0..wanted.len()).find(|&at| got_keys.get(at) != wanted_keys.get(at)) {
            panic!(
                "row {at} of {} by {order:?}, descending: {descending}, backward: {backward}, pages of {size}: \
                 {:?} instead of {:?}",
                wanted.len(),
                got_keys.get(at),
                wanted_keys[at]
            );
        }
        assert!(got == wanted);
    }
    if wanted.is_empty() {
        return;
    }
    let (from, to) = (random.random_range(0..wanted.len()), random.random_range(0..wanted.len()));
    let request = PageRequest {
        after: Some(wanted[from].key(order)),
        before: Some(wanted[to].key(order)),
        backward: random.random(),
        ..PageRequest::first(order, descending, ALL)
    };
    let between = if from < to { &wanted[from + 1..to] } else { &[] };
    assert!(read(request.clone()).await.rows == between, "between two rows: {request:?}");
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn ranges_between_rows_with_a_value_and_rows_without(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = indexed(options).await;
    let snapshot = db.store.snapshot().await.unwrap();
    let (order, filter) = (ConversationOrder::LastMessage, ConversationFilter::default());
    for descending in [false, true] {
        let all = PageRequest::first(order, descending, ALL);
        let rows = snapshot.conversations(&filter, &all).await.unwrap().rows;
        let bare = rows.iter().filter(|row| row.last_message_ns.is_none()).count();
        assert!(bare > 10 && rows.len() - bare > 10);
        // Two of either kind, and each of them from and to each of the others.
        let places = [1, bare - 2, bare + 1, rows.len() - 2]
            .map(|at| if descending { rows.len() - 1 - at } else { at });
        for (from, to) in places.iter().flat_map(|from| places.map(|to| (*from, to))) {
            for backward in [false, true] {
                let request = PageRequest {
                    after: Some(rows[from].key(order)),
                    before: Some(rows[to].key(order)),
                    backward,
                    ..all.clone()
                };
                let between = if from < to { &rows[from + 1..to] } else { &[] };
                let page = snapshot.conversations(&filter, &request).await.unwrap();
                assert!(page.rows == between && !page.has_more, "{request:?}");
            }
        }
    }
    snapshot.close().await.unwrap();
}

pub(super) fn some<T>(random: &mut StdRng, value: impl FnOnce(&mut StdRng) -> T) -> Option<T> {
    random.random_bool(0.35).then(|| value(random))
}

fn any_of<T: Clone>(random: &mut StdRng, values: &[T]) -> Vec<T> {
    let count = random.random_range(0..4);
    values.choose_multiple(random, count).cloned().collect()
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn pages_of_any_size_in_any_direction_through_any_filter_give_each_row_once_in_order(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = indexed(options).await;
    let snapshot = db.store.snapshot().await.unwrap();
    let seed: u64 = 0x5eed_0001;
    let mut random = StdRng::seed_from_u64(seed);
    let random = &mut random;

    let topics = snapshot
        .topics(&TopicFilter::default(), &PageRequest::first(TopicOrder::LastSeen, true, ALL))
        .await
        .unwrap()
        .rows;
    let accounts = snapshot
        .accounts(&AccountFilter::default(), &PageRequest::first(AccountOrder::LastSeen, true, ALL))
        .await
        .unwrap()
        .rows;
    let time = PageRequest::first(TimeOrder, true, ALL);
    let bundles =
        snapshot.contact_bundles(&ContactBundleFilter::default(), &time).await.unwrap().rows;
    let invites = snapshot.invites(&InviteFilter::default(), &time).await.unwrap().rows;
    let messages = snapshot.messages(&MessageFilter::default(), &time).await.unwrap().rows;
    let conversations = snapshot
        .conversations(
            &ConversationFilter::default(),
            &PageRequest::first(ConversationOrder::MessageCount, true, ALL),
        )
        .await
        .unwrap()
        .rows;
    let envelopes = snapshot
        .envelopes(
            &EnvelopeFilter::default(),
            &PageRequest::first(EnvelopeOrder::Timestamp, true, ALL),
        )
        .await
        .unwrap()
        .rows;
    for (table, found) in [
        ("topic_names", topics.len()),
        ("accounts", accounts.len()),
        ("contact_bundles", bundles.len()),
        ("invites", invites.len()),
        ("messages", messages.len()),
        ("conversations", conversations.len()),
        ("envelopes", envelopes.len()),
    ] {
        let count: i64 = db.value(&format!("select count(*) from derived.{table}")).await;
        assert_eq!(count, i64::try_from(found).unwrap(), "{table}");
        assert!(found > 40, "{table} has only {found} rows");
    }
    let addresses: Vec<Address> = accounts.iter().map(|account| account.address).collect();
    let address = |random: &mut StdRng| *addresses.choose(random).unwrap();
    let times: Vec<u64> = envelopes.iter().map(|envelope| envelope.timestamp_ns).collect();
    let time = |random: &mut StdRng| *times.choose(random).unwrap();
    let newest: HashSet<_> = addresses
        .iter()
        .filter_map(|account| {
            bundles
                .iter()
                .filter(|b| b.account == *account && b.verification == Verification::Verified)
                .max_by_key(|b| (b.published_ns, b.source.map(|source| source.digest)))
        })
        .map(|bundle| bundle.position())
        .collect();
    assert!(newest.len() > 20);

    for _ in 0..40 {
        let filter = TopicFilter {
            kinds: some(random, |random| any_of(random, TopicKind::ALL)),
            account: some(random, address),
            name_starts_with: some(random, |random| {
                let name = &topics.choose(random).unwrap().name;
                name.chars().take(random.random_range(0..=20)).collect()
            }),
            active_after: some(random, time),
        };
        let count = snapshot.count_topics(&filter).await.unwrap();
        let keeps = |t: &Topic| {
            filter.kinds.as_ref().is_none_or(|kinds| kinds.contains(&t.kind))
                && filter.account.is_none_or(|a| t.owner == Some(a) || t.peer == Some(a))
                && filter.name_starts_with.as_ref().is_none_or(|p| t.name.starts_with(p))
                && filter.active_after.is_none_or(|ns| t.last_seen_ns >= ns)
        };
        let orders = [TopicOrder::LastSeen, TopicOrder::FirstSeen, TopicOrder::EnvelopeCount];
        check(random, &topics, &orders, keeps, count, async |request| {
            snapshot.topics(&filter, &request).await.unwrap()
        })
        .await;

        let filter = AccountFilter {
            addresses: some(random, |random| any_of(random, &addresses)),
            has_contact_bundle: some(random, |random| random.random()),
            seen_after: some(random, time),
        };
        let count = snapshot.count_accounts(&filter).await.unwrap();
        let keeps = |a: &Account| {
            filter.addresses.as_ref().is_none_or(|list| list.contains(&a.address))
                && filter.has_contact_bundle.is_none_or(|has| a.has_contact_bundle == has)
                && filter.seen_after.is_none_or(|ns| a.last_seen_ns >= ns)
        };
        let orders = [AccountOrder::FirstSeen, AccountOrder::LastSeen];
        check(random, &accounts, &orders, keeps, count, async |request| {
            snapshot.accounts(&filter, &request).await.unwrap()
        })
        .await;

        let filter = ContactBundleFilter {
            account: some(random, address),
            generation: some(random, |random| *wire::Generation::ALL.choose(random).unwrap()),
            verification: some(random, |random| any_of(random, Verification::ALL)),
            current_only: random.random_bool(0.3),
            after: some(random, time),
            before: some(random, time),
        };
        let count = snapshot.count_contact_bundles(&filter).await.unwrap();
        let keeps = |b: &ContactBundle| {
            filter.account.is_none_or(|a| b.account == a)
                && filter.generation.is_none_or(|g| b.generation == g)
                && filter.verification.as_ref().is_none_or(|list| list.contains(&b.verification))
                && (!filter.current_only || newest.contains(&b.position()))
                && filter.after.is_none_or(|ns| b.published_ns >= ns)
                && filter.before.is_none_or(|ns| b.published_ns < ns)
        };
        check(random, &bundles, &[TimeOrder], keeps, count, async |request| {
            snapshot.contact_bundles(&filter, &request).await.unwrap()
        })
        .await;

        let filter = InviteFilter {
            participants: (0..random.random_range(0..3)).map(|_| address(random)).collect(),
            sender: some(random, address),
            recipient: some(random, address),
            verification: some(random, |random| any_of(random, Verification::ALL)),
            after: some(random, time),
            before: some(random, time),
        };
        let count = snapshot.count_invites(&filter).await.unwrap();
        let keeps = |i: &Invite| {
            filter.participants.iter().all(|a| i.sender == *a || i.recipient() == Some(*a))
                && filter.sender.is_none_or(|a| i.sender == a)
                && filter.recipient.is_none_or(|a| i.recipient() == Some(a))
                && filter.verification.as_ref().is_none_or(|list| list.contains(&i.verification))
                && filter.after.is_none_or(|ns| i.created_ns >= ns)
                && filter.before.is_none_or(|ns| i.created_ns < ns)
        };
        check(random, &invites, &[TimeOrder], keeps, count, async |request| {
            snapshot.invites(&filter, &request).await.unwrap()
        })
        .await;

        let filter = MessageFilter {
            sender: some(random, address),
            recipient: some(random, address),
            conversation: some(random, |random| conversations.choose(random).unwrap().key),
            generation: some(random, |random| *wire::Generation::ALL.choose(random).unwrap()),
            after: some(random, time),
            before: some(random, time),
        };
        let count = snapshot.count_messages(&filter).await.unwrap();
        let keeps = |m: &Message| {
            filter.sender.is_none_or(|a| m.sender == Some(a))
                && filter.recipient.is_none_or(|a| m.recipient == Some(a))
                && filter.conversation.is_none_or(|key| m.conversation == key)
                && filter.generation.is_none_or(|g| m.generation == g)
                && filter.after.is_none_or(|ns| m.sent_ns >= ns)
                && filter.before.is_none_or(|ns| m.sent_ns < ns)
        };
        check(random, &messages, &[TimeOrder], keeps, count, async |request| {
            snapshot.messages(&filter, &request).await.unwrap()
        })
        .await;

        let filter = ConversationFilter {
            participant: some(random, address),
            generation: some(random, |random| *wire::Generation::ALL.choose(random).unwrap()),
            active_after: some(random, time),
        };
        let count = snapshot.count_conversations(&filter).await.unwrap();
        let keeps = |c: &Conversation| {
            filter.participant.is_none_or(|p| c.participants.is_some_and(|(a, b)| a == p || b == p))
                && filter.generation.is_none_or(|g| c.generation == g)
                && filter.active_after.is_none_or(|ns| c.last_message_ns >= Some(ns))
        };
        let orders = [ConversationOrder::LastMessage, ConversationOrder::MessageCount];
        check(random, &conversations, &orders, keeps, count, async |request| {
            snapshot.conversations(&filter, &request).await.unwrap()
        })
        .await;

        let filter = EnvelopeFilter {
            topics: some(random, |random| {
                any_of(random, &topics.iter().map(|t| t.key).collect::<Vec<_>>())
            }),
            topic_kinds: some(random, |random| any_of(random, TopicKind::ALL)),
            kinds: some(random, |random| any_of(random, PayloadKind::ALL)),
            generations: some(random, |random| any_of(random, wire::Generation::ALL)),
            account: some(random, address),
            after: some(random, time),
            before: some(random, time),
        };
        let count = snapshot.count_envelopes(&filter).await.unwrap();
        let owned: Option<HashSet<_>> = filter.account.map(|a| {
            topics
                .iter()
                .filter(|t| t.owner == Some(a) || t.peer == Some(a))
                .map(|t| t.key)
                .collect()
        });
        let keeps = |e: &Envelope| {
            filter.topics.as_ref().is_none_or(|keys| keys.contains(&e.topic_key))
                && filter.topic_kinds.as_ref().is_none_or(|list| list.contains(&e.topic_kind))
                && filter.kinds.as_ref().is_none_or(|list| list.contains(&e.kind))
                && filter.generations.as_ref().is_none_or(|list| list.contains(&e.generation))
                && owned.as_ref().is_none_or(|keys| keys.contains(&e.topic_key))
                && filter.after.is_none_or(|ns| e.timestamp_ns >= ns)
                && filter.before.is_none_or(|ns| e.timestamp_ns < ns)
        };
        let orders = [EnvelopeOrder::Indexed, EnvelopeOrder::Timestamp];
        check(random, &envelopes, &orders, keeps, count, async |request| {
            snapshot.envelopes(&filter, &request).await.unwrap()
        })
        .await;
    }
    snapshot.close().await.unwrap();
}
