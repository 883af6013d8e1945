#![doc = include_str!("../README.md")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "all of this is the equipment of tests: what goes wrong in it is a failed test"
)]

pub mod capture;
pub mod cluster;
pub mod folder;
pub mod graphql;
pub mod live;
pub mod nemesis;
pub mod nodes;
pub mod parts;
pub mod patience;
pub mod program;
pub mod scratch;
pub mod tables;
pub mod traffic;
pub mod truth;
pub mod world;
