//! `schema`: prints the GraphQL SDL.

use super::Context;
use crate::output;

/// Prints the GraphQL schema (SDL).
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
pub fn run(_: &Args, _: &Context) -> anyhow::Result<()> {
    output::print(format_args!("{}", api::sdl()))
}
