//! `schema`: prints the GraphQL SDL.

use super::Context;

/// Prints the GraphQL schema (SDL).
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
pub fn run(_: &Args, _: &Context) {
    print!("{}", api::sdl());
}
