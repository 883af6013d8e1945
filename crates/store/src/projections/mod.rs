//! Derived tables: one file each, which holds the row, how an envelope becomes rows, and how rows are written.

mod accounts;
mod contact_bundles;
mod conversations;
mod envelopes;
mod invites;
mod messages;
mod topics;
mod undecodables;
mod volume;
mod welcomes;

use crate::projection::{Erased, fold, pure};

/// Every derived table. A new one is one file and one line here.
pub(crate) fn all() -> Vec<Box<dyn Erased>> {
    vec![
        pure::<envelopes::Envelopes>(),
        pure::<topics::Topics>(),
        pure::<contact_bundles::ContactBundles>(),
        // After the bundles: an erasure reads which of them are left.
        fold::<accounts::Accounts>(),
        pure::<invites::Invites>(),
        pure::<conversations::Conversations>(),
        pure::<messages::Messages>(),
        pure::<undecodables::Undecodables>(),
        pure::<volume::Volume>(),
        pure::<welcomes::Welcomes>(),
    ]
}
