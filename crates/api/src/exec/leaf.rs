//! Values without fields, written as they are found.

use async_graphql::{ID, OutputType, registry::Registry, resolver_utils::EnumType};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::output::{Column, Output, ready};
use crate::{
    cursor::Cursor,
    node_id::NodeId,
    scalars::{Address, Base64, DateTime, Hex, UInt64},
};

/// A value without fields.
pub(crate) trait Leaf {
    /// Its type, as the schema spells it.
    fn describe(registry: &mut Registry) -> String;
    /// Its JSON.
    fn write(&self, to: &mut Vec<u8>);
}

/// Text that needs no escapes.
fn plain(text: &str, to: &mut Vec<u8>) {
    quoted(to, |to| to.extend_from_slice(text.as_bytes()));
}

/// What is written without a character that needs escapes.
fn quoted(to: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    to.push(b'"');
    write(to);
    to.push(b'"');
}

/// Text that may hold anything.
pub(super) fn text(text: &str, to: &mut Vec<u8>) {
    // A vector takes everything.
    let _ = serde_json::to_writer(to, text);
}

/// Types, each as one of the schema's.
macro_rules! leaf {
    ($($type:ty as $shown:ty, |$value:ident, $to:ident| $write:expr;)*) => { $(
        impl Leaf for $type {
            fn describe(registry: &mut Registry) -> String {
                <$shown as OutputType>::create_type_info(registry)
            }

            fn write(&self, $to: &mut Vec<u8>) {
                let $value = self;
                $write
            }
        }

        impl Output for $type {
            fn describe(registry: &mut Registry) -> String {
                <Self as Leaf>::describe(registry)
            }

            ready!(Leaves);
        }
    )* };
}

leaf! {
    bool as bool, |value, to| to.extend_from_slice(if *value { b"true" } else { b"false" });
    i32 as i32, |value, to| to.extend_from_slice(value.to_string().as_bytes());
    f64 as f64, |value, to| { let _ = serde_json::to_writer(to, value); };
    String as String, |value, to| text(value, to);
    NodeId as ID, |value, to| quoted(to, |to| value.spell(to));
    Cursor as String, |value, to| quoted(to, |to| value.spell(to));
    UInt64 as UInt64, |value, to| plain(&value.0.to_string(), to);
    DateTime as DateTime, |value, to| quoted(to, |to| value.spell(to));
    Hex as Hex, |value, to| plain(&hex::encode_prefixed(&value.0), to);
    Base64 as Base64, |value, to| plain(&STANDARD.encode(&value.0), to);
    Address as Address, |value, to| quoted(to, |to| to.extend_from_slice(&value.0.ascii()));
}

/// The word of an enum's value.
fn word<T: EnumType>(value: T, to: &mut Vec<u8>) {
    let item = T::items().iter().find(|item| item.value == value);
    plain(item.map_or("", |item| item.name), to);
}

macro_rules! words {
    ($($type:ty),*) => { $(
        impl Leaf for $type {
            fn describe(registry: &mut Registry) -> String {
                <$type as OutputType>::create_type_info(registry)
            }

            fn write(&self, to: &mut Vec<u8>) {
                word(*self, to);
            }
        }
    )* };
}

words!(
    crate::types::Generation,
    crate::types::TopicKind,
    crate::types::PayloadKind,
    crate::types::Verification,
    crate::types::GapState
);

impl<T: Leaf> Leaf for Option<T> {
    fn describe(registry: &mut Registry) -> String {
        let mut name = T::describe(registry);
        name.pop();
        name
    }

    fn write(&self, to: &mut Vec<u8>) {
        match self {
            Some(value) => value.write(to),
            None => to.extend_from_slice(b"null"),
        }
    }
}

impl<T: Leaf> Leaf for Vec<T> {
    fn describe(registry: &mut Registry) -> String {
        format!("[{}]!", T::describe(registry))
    }

    fn write(&self, to: &mut Vec<u8>) {
        to.push(b'[');
        for (nth, value) in self.iter().enumerate() {
            if nth > 0 {
                to.push(b',');
            }
            value.write(to);
        }
        to.push(b']');
    }
}

/// A column of values without fields.
pub(super) struct Leaves<T>(pub(super) Vec<T>);

impl<T: Leaf> Column for Leaves<T> {
    fn write<'w>(&'w self, nth: usize, to: &mut super::Writer<'w>) -> Result<(), super::Halt> {
        match self.0.get(nth) {
            Some(value) => value.write(&mut to.out),
            None => return Err(super::Halt::Null),
        }
        Ok(())
    }
}
