use store::read::{Envelope, Invite};

use super::{account::Account, envelope, words::Verification};
use crate::{
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
        .leaf("id", ID, |invite: &Invite| NodeId::Invite(invite.id).encode())
        .inline(
            "sender",
            "Claimed by the header: bundles are public, so a header proves that both identities exist, not who wrote it.",
            |invite| Account::at(invite.sender)
        )
        .inline("recipient", "Who is invited, as the header says.", |invite| {
            Account::at(invite.recipient)
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
                envelope::copies(call, invites.iter().map(|invite| invite.id)).await
            }
        )
        .leaf("deliveredToSender", "Is there a copy in the sender's inbox?", |invite| {
            invite.delivered_to_sender
        })
        .leaf("deliveredToRecipient", "Is there a copy in the recipient's inbox?", |invite| {
            invite.delivered_to_recipient
        })
);
connection!(Invite, "InviteConnection", "InviteEdge");
