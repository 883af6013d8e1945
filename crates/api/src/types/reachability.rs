use std::collections::HashMap;

use async_graphql::{Context, Description, Object, Result};

use super::{account::Account, words::Generation};
use crate::{
    paging::at_most,
    scalars::Address,
    scope::{AccountBy, asked},
};

/// Can a wallet be written to, and how?
#[derive(Description)]
pub(crate) struct Reachability {
    address: wire::Address,
    generations: Vec<wire::Generation>,
}

impl Reachability {
    /// Of each of these addresses, in their order.
    pub(crate) async fn of(ctx: &Context<'_>, addresses: &[Address]) -> Result<Vec<Reachability>> {
        at_most("addresses", addresses)?;
        let scope = &asked(ctx)?.scope;
        let addresses: Vec<wire::Address> = addresses.iter().map(|address| address.0).collect();
        let snapshot = scope.snapshot().await?;
        let mut found: HashMap<wire::Address, Vec<wire::Generation>> = HashMap::new();
        for (address, generation) in scope.told(snapshot.reachability(&addresses).await)? {
            found.entry(address).or_default().push(generation);
        }
        Ok(addresses
            .into_iter()
            .map(|address| Reachability {
                address,
                generations: found.get(&address).cloned().unwrap_or_default(),
            })
            .collect())
    }
}

#[Object(use_type_description = true)]
impl Reachability {
    /// The address that was asked about.
    async fn address(&self) -> Address {
        Address(self.address)
    }

    /// The wallet, when the network ever named it.
    async fn account(&self, ctx: &Context<'_>) -> Result<Option<Account>> {
        Ok(asked(ctx)?.load(AccountBy(self.address)).await?.map(Account::from))
    }

    /// Has it published keys that are verified to be its own?
    async fn reachable(&self) -> bool {
        !self.generations.is_empty()
    }

    /// In which generations.
    async fn generations(&self) -> Vec<Generation> {
        self.generations.iter().map(|generation| (*generation).into()).collect()
    }
}
