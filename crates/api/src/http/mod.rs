//! What moves the bytes: requests in, answers, event streams and sockets out. What they say is `transport`'s business.

mod access;
mod body;
mod encode;
mod execute;
mod exposure;
mod frames;
mod graphiql;
mod graphql;
mod headers;
mod health;
mod keyring;
mod operation;
mod outlet;
mod peer;
mod record;
mod server;
mod socket;
mod stream;

pub use access::Keys;
pub use exposure::{Exposure, Rate};
pub use server::{BindError, HealthProbe, Options, Server};
