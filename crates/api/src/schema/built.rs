//! The schema as async-graphql knows it: it validates and introspects. What is asked of the index, `exec` answers.

use std::{borrow::Cow, pin::Pin};

use async_graphql::{
    ContainerType, Context, ContextSelectionSet, EmptyMutation, ObjectType, OutputType, Positioned,
    Response, SDLExportOptions, Schema, ServerResult, SubscriptionType, Value,
    parser::types::Field, registry::Registry,
};
use futures::{Stream, StreamExt as _};

use crate::{
    exec::{Object as _, describe_object, describe_subscription},
    tail::Item,
    types::Query,
};

/// Levels of a query, at most. The guard has said so before, more exactly.
const DEPTH: usize = 24;
/// Selections inside of selections, fragments expanded; the guard has said so before as well.
const LEVELS: usize = 64;

/// The schema, with its roots.
pub(super) type Built = Schema<Query, EmptyMutation, Followed>;

/// The root of subscriptions, for async-graphql.
pub(super) struct Followed;

impl OutputType for Query {
    fn type_name() -> Cow<'static, str> {
        Query::table().name().into()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        describe_object::<Query>(registry)
    }

    async fn resolve(
        &self,
        _ctx: &ContextSelectionSet<'_>,
        _field: &Positioned<Field>,
    ) -> ServerResult<Value> {
        Ok(Value::Null)
    }
}

impl ContainerType for Query {
    async fn resolve_field(&self, _ctx: &Context<'_>) -> ServerResult<Option<Value>> {
        Ok(Some(Value::Null))
    }
}

impl ObjectType for Query {}

impl SubscriptionType for Followed {
    fn type_name() -> Cow<'static, str> {
        Item::table().name().into()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        describe_subscription::<Item>(registry)
    }

    fn create_field_stream<'a>(
        &'a self,
        _ctx: &'a Context<'_>,
    ) -> Option<Pin<Box<dyn Stream<Item = Response> + Send + 'a>>> {
        Some(futures::stream::empty().boxed())
    }
}

pub(super) fn build(introspection: bool) -> Built {
    let builder = Schema::build(Query, EmptyMutation, Followed)
        .limit_depth(DEPTH)
        .limit_recursive_depth(LEVELS);
    // Suggestions would tell the names one by one.
    let hidden = |builder: async_graphql::SchemaBuilder<_, _, _>| {
        builder.disable_introspection().disable_suggestions()
    };
    if introspection { builder.finish() } else { hidden(builder).finish() }
}

/// The schema in GraphQL's own language.
#[must_use]
pub fn sdl() -> String {
    let mut sdl =
        build(true).sdl_with_options(SDLExportOptions::new().prefer_single_line_descriptions());
    while sdl.ends_with('\n') {
        sdl.pop();
    }
    sdl.push('\n');
    sdl
}
