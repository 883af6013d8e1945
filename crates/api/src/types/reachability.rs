use std::collections::HashMap;

use async_graphql::InputObject;
use wire::Address as Wallet;

use super::{account::Account, words::Generation};
use crate::{
    error::Trouble,
    exec::{Call, Statements, Table, arguments, object},
    paging::at_most,
    scalars::Address,
};

/// Can a wallet be written to, and how?
#[derive(Clone, Debug)]
pub(crate) struct Reachability {
    address: Wallet,
    generations: Vec<wire::Generation>,
}

object!(
    Reachability,
    Table::new("Reachability", "Can a wallet be written to, and how?")
        .leaf("address", "The address that was asked about.", |one: &Reachability| {
            Address(one.address)
        })
        .load("account", "The wallet, when the network ever named it.", Statements::of(1), account)
        .leaf("reachable", "Has it published keys that are verified to be its own?", |one| {
            !one.generations.is_empty()
        })
        .leaf("generations", "In which generations.", |one| {
            one.generations.iter().map(|one| Generation::from(*one)).collect::<Vec<_>>()
        })
);

async fn account(
    call: Call<'_>,
    asked: &[Reachability],
    _: (),
) -> Result<Vec<Option<Account>>, Trouble> {
    let found = call.scope().accounts(asked.iter().map(|one| one.address)).await?;
    Ok(asked.iter().map(|one| found.get(&one.address).copied().map(Account::from)).collect())
}

/// Whom to look for.
#[derive(InputObject)]
pub(super) struct Addresses {
    /// Whom to look for.
    addresses: Vec<Address>,
}
arguments!(Addresses);

/// Of each of these addresses, in their order.
pub(super) async fn reachability(
    call: Call<'_>,
    asked: Addresses,
) -> Result<Vec<Vec<Reachability>>, Trouble> {
    at_most("addresses", &asked.addresses)?;
    let scope = call.scope();
    let addresses: Vec<Wallet> = asked.addresses.iter().map(|address| address.0).collect();
    let snapshot = scope.snapshot().await?;
    let mut found: HashMap<Wallet, Vec<wire::Generation>> = HashMap::new();
    for (address, generation) in scope.told(snapshot.reachability(&addresses).await)? {
        found.entry(address).or_default().push(generation);
    }
    let one = |address: Wallet| Reachability {
        address,
        generations: found.get(&address).cloned().unwrap_or_default(),
    };
    Ok(vec![addresses.into_iter().map(one).collect()])
}
