//! The types of the schema, one a file. Which rows they are made of is `store::read`'s business; what they are called
//! and what they mean is promised to callers.

mod account;
mod analytics;
mod contact_bundle;
mod conversation;
mod envelope;
mod filters;
mod installation;
mod invite;
mod lists;
mod message;
mod node;
mod orders;
mod payload;
mod public_key;
mod query;
mod reachability;
mod status;
mod subscription;
mod topic;
mod welcome;
mod words;

pub(crate) use contact_bundle::extent;
pub(crate) use invite::is_delivery;
pub(crate) use lists::Listed;
pub(crate) use query::Query;
pub(crate) use status::log_cursor;
pub(crate) use subscription::position;
pub(crate) use words::{GapState, Generation, PayloadKind, TopicKind, Verification};
