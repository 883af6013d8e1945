//! Lists under many parents at once, beside the same lists one by one.

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use super::{super::*, ALL, indexed};

/// Asks for the lists of all parents at once, with and without cursors, forward and backward, both ways round, and
/// compares each with the list of its parent alone.
pub(super) async fn check<P: Copy, T: Keyed<O> + Clone + PartialEq, O: Copy>(
    random: &mut StdRng,
    parents: &[P],
    orders: &[O],
    together: impl AsyncFn(&[P], PageRequest<O>) -> Vec<Page<T>>,
    alone: impl AsyncFn(P, PageRequest<O>) -> Page<T>,
    counts: impl AsyncFn(&[P]) -> Vec<u64>,
) {
    let mut longest = 0;
    for _ in 0..12 {
        let order = *orders.choose(random).unwrap();
        // Some of them twice, in any order.
        let number = random.random_range(2..40);
        let some: Vec<P> = (0..number).map(|_| *parents.choose(random).unwrap()).collect();
        let mut request = PageRequest {
            backward: random.random(),
            ..PageRequest::first(order, random.random(), random.random_range(1..9))
        };
        let whole = PageRequest { limit: ALL, ..request.clone() };
        let mut lists = Vec::new();
        for parent in &some {
            lists.push(alone(*parent, whole.clone()).await.rows);
        }
        assert_eq!(
            counts(&some).await,
            lists.iter().map(|list| list.len() as u64).collect::<Vec<_>>()
        );
        longest = longest.max(lists.iter().map(Vec::len).max().unwrap());
        if let Some(row) = lists.choose(random).unwrap().choose(random) {
            match random.random_range(0..3) {
                0 => request.after = Some(row.key(order)),
                1 => request.before = Some(row.key(order)),
                _ => {}
            }
        }
        let pages = together(&some, request.clone()).await;
        assert_eq!(pages.len(), some.len());
        for (parent, page) in some.iter().zip(&pages) {
            let wanted = alone(*parent, request.clone()).await;
            assert!(page.rows == wanted.rows && page.has_more == wanted.has_more);
        }
        let one = together(&some[..1], request.clone()).await;
        assert!(one.len() == 1 && one[0].rows == pages[0].rows);
        assert_eq!(counts(&some[..1]).await[0], lists[0].len() as u64);
    }
    assert!(together(&[], PageRequest::first(orders[0], true, 5)).await.is_empty());
    assert!(counts(&[]).await.is_empty());
    assert!(longest > 2, "no list is longer than {longest}");
}

/// `$of` under parents is `$list` with the parent added to the filter by `$put`.
macro_rules! parents {
    ($at:ident, $random:ident, $parents:expr, $orders:expr, $filter:expr, $of:ident, $count:ident, $list:ident, $put:expr) => {{
        let filter = $filter;
        check(
            $random,
            $parents,
            $orders,
            async |parents, request| $at.$of(parents, &filter, &request).await.unwrap(),
            async |parent, request| {
                let mut filter = filter.clone();
                $put(&mut filter, parent);
                $at.$list(&filter, &request).await.unwrap()
            },
            async |parents| $at.$count(parents, &filter).await.unwrap(),
        )
        .await;
    }};
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn lists_under_many_parents_are_what_they_are_one_by_one(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = indexed(options).await;
    let at = db.store.snapshot().await.unwrap();
    let random = &mut StdRng::seed_from_u64(0x5eed_0002);
    let time = [TimeOrder];
    let all = PageRequest::first(TimeOrder, true, ALL);
    let invites = at.invites(&InviteFilter::default(), &all).await.unwrap().rows;
    let wallets: Vec<_> =
        invites.iter().flat_map(|i| [Some(i.sender), i.recipient()]).flatten().collect();
    let conversations = PageRequest::first(ConversationOrder::MessageCount, true, 60);
    let conversations =
        at.conversations(&ConversationFilter::default(), &conversations).await.unwrap().rows;
    let chats: Vec<_> = conversations.iter().map(|c| c.key).collect();
    let topics = PageRequest::first(TopicOrder::EnvelopeCount, true, 60);
    let topics = at.topics(&TopicFilter::default(), &topics).await.unwrap().rows;
    let keys: Vec<_> = topics.iter().map(|t| t.key).collect();
    let middle = Some(invites[invites.len() / 2].created_ns);
    let who = invites[0].sender;

    for filter in [
        InviteFilter::default(),
        InviteFilter { after: middle, ..Default::default() },
        InviteFilter { participants: vec![who], ..Default::default() },
        InviteFilter { sender: Some(who), ..Default::default() },
    ] {
        let put = |filter: &mut InviteFilter, parent| filter.participants.insert(0, parent);
        let busy: Vec<_> = if filter.sender.is_some() || !filter.participants.is_empty() {
            let with = invites.iter().filter(|i| i.sender == who);
            with.flat_map(|i| [Some(i.sender), i.recipient()]).flatten().collect()
        } else {
            wallets.clone()
        };
        parents!(at, random, &busy, &time, filter, invites_of, count_invites_of, invites, put);
    }
    for filter in [
        ContactBundleFilter::default(),
        ContactBundleFilter { before: Some(u64::MAX), ..Default::default() },
    ] {
        let put = |filter: &mut ContactBundleFilter, parent| filter.account = Some(parent);
        parents!(
            at,
            random,
            &wallets,
            &time,
            filter,
            contact_bundles_of,
            count_contact_bundles_of,
            contact_bundles,
            put
        );
    }
    for filter in [
        ConversationFilter::default(),
        ConversationFilter { generation: Some(wire::Generation::V1), ..Default::default() },
    ] {
        let orders = [ConversationOrder::LastMessage, ConversationOrder::MessageCount];
        let put = |filter: &mut ConversationFilter, parent| filter.participant = Some(parent);
        parents!(
            at,
            random,
            &wallets,
            &orders,
            filter,
            conversations_of,
            count_conversations_of,
            conversations,
            put
        );
    }
    for filter in [
        TopicFilter::default(),
        TopicFilter {
            kinds: Some(wire::TopicKind::ALL.to_vec()),
            active_after: Some(1),
            ..Default::default()
        },
    ] {
        let orders = [TopicOrder::LastSeen, TopicOrder::FirstSeen, TopicOrder::EnvelopeCount];
        let put = |filter: &mut TopicFilter, parent| filter.account = Some(parent);
        parents!(at, random, &wallets, &orders, filter, topics_of, count_topics_of, topics, put);
    }
    for filter in [
        EnvelopeFilter::default(),
        EnvelopeFilter { kinds: Some(wire::PayloadKind::ALL[..6].to_vec()), ..Default::default() },
        EnvelopeFilter { account: topics.iter().find_map(|t| t.owner), ..Default::default() },
    ] {
        let orders = [EnvelopeOrder::Indexed, EnvelopeOrder::Timestamp];
        let put = |filter: &mut EnvelopeFilter, parent| filter.topics = Some(vec![parent]);
        let owned: Vec<_> = topics
            .iter()
            .filter(|t| {
                filter.account.is_none() || t.owner == filter.account || t.peer == filter.account
            })
            .map(|t| t.key)
            .chain(keys[..5].iter().copied())
            .collect();
        parents!(
            at,
            random,
            &owned,
            &orders,
            filter,
            envelopes_of,
            count_envelopes_of,
            envelopes,
            put
        );
    }
    for filter in [
        MessageFilter::default(),
        MessageFilter { generation: Some(wire::Generation::V2), ..Default::default() },
    ] {
        let put = |filter: &mut MessageFilter, parent| filter.conversation = Some(parent);
        parents!(at, random, &chats, &time, filter, messages_of, count_messages_of, messages, put);
    }
    at.close().await.unwrap();
}
