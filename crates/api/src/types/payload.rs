use async_graphql::Union;

use super::{contact_bundle::ContactBundle, invite::Invite, message::Message};

/// What an envelope says, as far as anyone without keys can read it.
#[derive(Union)]
pub(crate) enum Payload {
    ContactBundle(ContactBundle),
    Invite(Invite),
    Message(Message),
}
