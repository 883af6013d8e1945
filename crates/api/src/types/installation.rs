use store::read;

use super::lists::{self, Pages};
use crate::{
    error::Trouble,
    exec::{Call, ID, Statements, Table, object},
    node_id::NodeId,
    paging::Connection,
    scalars::Hex,
};

/// A device of a user of MLS, as far as welcomes tell of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Installation {
    pub(super) key: [u8; 32],
}

object!(
    Installation,
    Table::new("Installation", "A device of a user of MLS: what its topics tell of it.")
        .implements("Node")
        .leaf("id", ID, |one: &Installation| NodeId::Installation(one.key))
        .leaf("key", "Its public key, which its topics are named by.", |one| Hex(one.key.to_vec()))
        .load("welcomes", "What it was invited to, newest first.", Statements::of(1), welcomes)
);

async fn welcomes(
    call: Call<'_>,
    installations: &[Installation],
    mut asked: Pages,
) -> Result<Vec<Result<Connection<read::Welcome>, Trouble>>, Trouble> {
    let keys: Vec<_> = installations.iter().map(|one| one.key).collect();
    let args = asked.args();
    lists::lists(call, &keys, Default::default(), None, args).await
}
