use store::read::{ContactBundle, Invite, Message, Welcome};

use crate::exec::one_of;

/// What an envelope says.
pub(crate) enum Payload {
    ContactBundle(ContactBundle),
    Invite(Invite),
    Message(Message),
    Welcome(Welcome),
}

one_of!(union Payload, "Payload", "What an envelope says, as far as anyone without keys can read it.", {
    ContactBundle,
    Invite,
    Message,
    Welcome,
});
