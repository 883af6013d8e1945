//! The devnet as clients see it: its gRPC API, its gateway, what it plays and what it makes.

#[cfg(test)]
mod gateway;
#[cfg(test)]
mod gateway_streams;
#[cfg(test)]
mod generator;
#[cfg(test)]
mod node;
#[cfg(test)]
mod publishing;
#[cfg(test)]
mod queries;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod streams;
