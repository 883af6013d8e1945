//! The thin layer between actix-web and the schema: what is a request, what is refused, how ready we are.

mod graphql;
mod health;
mod server;

pub use server::{BindError, Options, Server};
