//! Statements as they leave this program, and what Postgres would do about them.

use std::{cell::RefCell, collections::HashSet};

use bytes::BytesMut;
use serde_json::Value as Json;
use tokio_postgres::{
    SimpleQueryMessage,
    types::{FromSql, IsNull, Type},
};
use uuid::Uuid;

use super::super::super::statement::Value;
use crate::database::Store;

/// A statement that was not sent.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    pub(super) text: String,
    types: String,
    values: String,
}

thread_local! {
    static HEARD: RefCell<Option<Vec<Heard>>> = const { RefCell::new(None) };
}

/// From now on, statements of this thread are kept and not sent.
pub(super) fn listen() {
    HEARD.set(Some(Vec::new()));
}

/// What was kept since.
pub(super) fn heard() -> Vec<Heard> {
    HEARD.take().unwrap_or_default()
}

/// Is this statement kept instead of being sent?
pub(crate) fn keeps(text: &str, types: &[Type], values: &[Value]) -> bool {
    HEARD.with_borrow_mut(|heard| {
        let Some(heard) = heard else { return false };
        let names: Vec<&str> = types.iter().map(Type::name).collect();
        let values: Vec<String> = values.iter().zip(types).map(|(v, t)| literal(v, t)).collect();
        heard.push(Heard {
            text: text.to_owned(),
            types: names.join(", "),
            values: values.join(", "),
        });
        true
    })
}

/// As SQL writes it. An EXPLAIN with parameters is planned for their values; the plan that a session keeps is shown only
/// of statements that are prepared in SQL, and those take no parameters from outside.
fn literal(value: &Value, ty: &Type) -> String {
    let mut bytes = BytesMut::new();
    if matches!(value.to_sql_checked(ty, &mut bytes).unwrap(), IsNull::Yes) {
        return "null".into();
    }
    fn read<'a, T: FromSql<'a>>(ty: &Type, bytes: &'a [u8]) -> T {
        T::from_sql(ty, bytes).unwrap()
    }
    let octets = |bytes: Vec<u8>| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let text = match *ty {
        Type::BOOL => read::<bool>(ty, &bytes).to_string(),
        Type::INT2 => read::<i16>(ty, &bytes).to_string(),
        Type::INT4 => read::<i32>(ty, &bytes).to_string(),
        Type::INT8 => read::<i64>(ty, &bytes).to_string(),
        Type::UUID => read::<Uuid>(ty, &bytes).to_string(),
        Type::TEXT => read::<String>(ty, &bytes).replace('\'', "''"),
        Type::BYTEA => format!("\\x{}", octets(read(ty, &bytes))),
        Type::INT2_ARRAY => array(read::<Vec<i16>>(ty, &bytes)),
        Type::INT8_ARRAY => array(read::<Vec<i64>>(ty, &bytes)),
        Type::UUID_ARRAY => array(read::<Vec<Uuid>>(ty, &bytes)),
        Type::BYTEA_ARRAY => array(
            read::<Vec<Vec<u8>>>(ty, &bytes).into_iter().map(|b| format!("\"\\\\x{}\"", octets(b))),
        ),
        _ => panic!("no literals of type {ty} yet"),
    };
    format!("'{text}'::{}", ty.name())
}

fn array<T: ToString>(all: impl IntoIterator<Item = T>) -> String {
    let all: Vec<String> = all.into_iter().map(|one| one.to_string()).collect();
    format!("{{{}}}", all.join(","))
}

/// What is done for a statement.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Relations that are read from end to end.
    pub(super) whole: Vec<String>,
    /// Rows that were looked at, where the statement was executed; the most there can be when it was cut off.
    pub(super) touched: u64,
}

/// The plan that a reader's session would keep for this text: made before any value is known.
pub(super) async fn plan(readers: &Store, heard: &Heard, execute: bool) -> Plan {
    let client = readers.client().await.unwrap();
    let Heard { text, types, values } = heard;
    let types = if types.is_empty() { String::new() } else { format!("({types})") };
    let values = if values.is_empty() { String::new() } else { format!("({values})") };
    let analyze = if execute { "analyze, timing off, " } else { "" };
    client.simple_query(&format!("prepare heard {types} as {text}")).await.unwrap();
    let told =
        client.simple_query(&format!("explain ({analyze}format json) execute heard{values}")).await;
    client.simple_query("deallocate heard").await.unwrap();
    let rows = match told {
        Ok(rows) => rows,
        Err(error) if error.code().is_some_and(|code| code.code() == "57014") => {
            return Plan { touched: u64::MAX, ..Plan::default() };
        }
        Err(error) => panic!("{error:?}: {text}"),
    };
    let mut json = String::new();
    for row in &rows {
        if let SimpleQueryMessage::Row(row) = row {
            json.push_str(row.get(0).unwrap());
        }
    }
    let all: Json = serde_json::from_str(&json).unwrap();
    let mut plan = Plan::default();
    walk(&all[0]["Plan"], &mut plan);
    plan
}

fn walk(node: &Json, plan: &mut Plan) {
    let number = |name: &str| node[name].as_u64().unwrap_or(0);
    if let Some(relation) = node["Relation Name"].as_str() {
        if node["Node Type"] == "Seq Scan" {
            plan.whole.push(relation.to_owned());
        }
        let each = number("Actual Rows")
            + number("Rows Removed by Filter")
            + number("Rows Removed by Index Recheck");
        plan.touched += each * number("Actual Loops");
    }
    for below in node["Plans"].as_array().into_iter().flatten() {
        walk(below, plan);
    }
}

/// Tables with more rows than this, partitions by their own names.
pub(super) async fn big(store: &Store, rows: i64) -> HashSet<String> {
    let client = store.client().await.unwrap();
    let big = "select relname from pg_class
                where relkind = 'r' and relnamespace in ('ground'::regnamespace, 'derived'::regnamespace)
                  and reltuples > $1::bigint";
    client.query(big, &[&rows]).await.unwrap().iter().map(|row| row.get(0)).collect()
}
