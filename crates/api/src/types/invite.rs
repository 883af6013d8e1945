use store::read::{Delivery, Envelope, Invite};

use super::{account::Account, words::Verification};
use crate::{
    error::{Code, Trouble},
    exec::{ID, Statements, Table, object},
    node_id::NodeId,
    paging::connection,
    scalars::DateTime,
};

object!(
    Invite,
    Table::new("Invite", "One invitation, however many inboxes hold a copy of it.")
        .implements("Node")
        .member_of("Payload")
        .leaf("id", ID, |invite: &Invite| NodeId::Invite(invite.id))
        .inline(
            "sender",
            "Claimed by the header: bundles are public, so a header proves that both identities exist, not who wrote it.",
            |invite| Account::at(invite.sender)
        )
        .inline("recipient", "Who is invited, as the header says.", |invite| {
            delivery(invite).map(|delivery| Account::at(delivery.recipient))
        })
        .leaf("createdAt", "When, as the header says.", |invite| DateTime(invite.created_ns))
        .leaf("verification", "What the signatures of both parties' bundles prove.", |invite| {
            Verification::from(invite.verification)
        })
        .load(
            "envelopes",
            "The copies: usually one in each inbox. Of very many only the first 100 in the order of indexing.",
            Statements::of(1),
            async |call, invites: &[Invite], _: ()| -> Result<Vec<Vec<Envelope>>, _> {
                let ids = invites.iter().map(|invite| invite.id);
                let found = call.scope().invite_copies(ids.clone()).await?;
                Ok(ids.map(|id| found.get(&id).cloned().unwrap_or_default()).collect())
            }
        )
        .inline("deliveredToSender", "Is there a copy in the sender's inbox?", |invite| {
            delivery(invite).map(|delivery| delivery.to_sender)
        })
        .inline("deliveredToRecipient", "Is there a copy in the recipient's inbox?", |invite| {
            delivery(invite).map(|delivery| delivery.to_recipient)
        })
);
connection!(Invite, "InviteConnection", "InviteEdge");

/// Must this field's value be asked for, where invitations are read without what nobody sees?
pub(crate) fn is_delivery(field: &str) -> bool {
    matches!(field, "recipient" | "deliveredToSender" | "deliveredToRecipient")
}

fn delivery(invite: &Invite) -> Result<Delivery, Trouble> {
    // Plans that show it ask for it.
    let unseen = || Trouble::new(Code::Internal, "a part of an invitation was not looked up");
    invite.delivery.ok_or_else(unseen)
}
