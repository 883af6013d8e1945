//! What lists can be sorted by.

use async_graphql::InputObject;
use store::read;

use super::words::{
    AccountOrderField, ConversationOrderField, Direction, EnvelopeOrderField, TopicOrderField,
};

/// An order of a list that has one field to sort by: its own time.
#[derive(InputObject, Clone, Copy, Debug)]
pub(crate) struct TimeOrder {
    /// Which way.
    direction: Direction,
}

/// An order of topics.
#[derive(InputObject, Clone, Copy, Debug)]
pub(crate) struct TopicOrder {
    /// By what.
    field: TopicOrderField,
    /// Which way.
    direction: Direction,
}

/// An order of envelopes.
#[derive(InputObject, Clone, Copy, Debug)]
pub(crate) struct EnvelopeOrder {
    /// By what.
    field: EnvelopeOrderField,
    /// Which way.
    direction: Direction,
}

/// An order of accounts.
#[derive(InputObject, Clone, Copy, Debug)]
pub(crate) struct AccountOrder {
    /// By what.
    field: AccountOrderField,
    /// Which way.
    direction: Direction,
}

/// An order of conversations.
#[derive(InputObject, Clone, Copy, Debug)]
pub(crate) struct ConversationOrder {
    /// By what.
    field: ConversationOrderField,
    /// Which way.
    direction: Direction,
}

/// What a list is sorted by when nothing is said, and what an input says.
pub(crate) trait Ordering {
    /// As the store knows it.
    type By: Copy + std::fmt::Debug;
    /// By what, and largest first?
    fn or_default(order: Option<Self>) -> (Self::By, bool)
    where
        Self: Sized;

    /// Is this the order of the log, in which a place means the same whatever the filter?
    fn of_log(_by: Self::By) -> bool {
        false
    }
}

macro_rules! ordering {
    ($order:ident, $by:ty, $default:expr $(, of_log $log:pat)?) => {
        impl Ordering for $order {
            type By = $by;

            fn or_default(order: Option<Self>) -> ($by, bool) {
                order.map_or($default, |order| {
                    (order.field.into(), order.direction == Direction::Desc)
                })
            }

            $(fn of_log(by: $by) -> bool {
                matches!(by, $log)
            })?
        }
    };
}

ordering!(TopicOrder, read::TopicOrder, (read::TopicOrder::LastSeen, true));
ordering!(EnvelopeOrder, read::EnvelopeOrder, (read::EnvelopeOrder::Indexed, false), of_log read::EnvelopeOrder::Indexed);
ordering!(AccountOrder, read::AccountOrder, (read::AccountOrder::FirstSeen, true));
ordering!(ConversationOrder, read::ConversationOrder, (read::ConversationOrder::LastMessage, true));

impl Ordering for TimeOrder {
    type By = read::TimeOrder;

    fn or_default(order: Option<Self>) -> (read::TimeOrder, bool) {
        (read::TimeOrder, order.is_none_or(|order| order.direction == Direction::Desc))
    }
}
