//! Statements as they leave this program, and their plans.

use std::{cell::RefCell, collections::HashSet};

use serde_json::Value as Json;
use sqlx::{AssertSqlSafe, Row as _};

use super::super::super::{statement::Statement, value::Value};
use crate::database::Store;

/// A statement that was recorded instead of being sent.
#[derive(Clone, Debug)]
pub(super) struct Recorded {
    pub(super) text: String,
    types: String,
    values: String,
}

thread_local! {
    static RECORDED: RefCell<Option<Vec<Recorded>>> = const { RefCell::new(None) };
}

/// From now on, statements of this thread are recorded and not sent.
pub(super) fn listen() {
    RECORDED.set(Some(Vec::new()));
}

/// Stops recording; returns the recorded statements.
pub(super) fn recorded() -> Vec<Recorded> {
    RECORDED.take().unwrap_or_default()
}

/// Records this statement if statements are being recorded; returns whether it did.
pub(crate) fn keeps(statement: &Statement) -> bool {
    RECORDED.with_borrow_mut(|recorded| {
        let Some(recorded) = recorded else { return false };
        let (types, values): (Vec<_>, Vec<_>) = statement.values.iter().map(literal).unzip();
        recorded.push(Recorded {
            text: statement.text.to_string(),
            types: types.join(", "),
            values: values.join(", "),
        });
        true
    })
}

/// A value's type, and the value as SQL writes it. An EXPLAIN with parameters is planned for their values; the plan that a
/// session keeps is shown only of statements that are prepared in SQL, and those take no parameters from outside.
fn literal(value: &Value) -> (&'static str, String) {
    let octets = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let quoted = |bytes: &[u8]| format!("\"\\\\x{}\"", octets(bytes));
    let (ty, text) = match value {
        Value::Bool(value) => ("boolean", value.to_string()),
        Value::I16(value) => ("smallint", value.to_string()),
        Value::I32(value) => ("integer", value.to_string()),
        Value::I64(value) => ("bigint", value.to_string()),
        Value::Uuid(value) => ("uuid", value.to_string()),
        Value::Text(value) => ("text", value.replace('\'', "''")),
        Value::Bytes(value) => ("bytea", format!("\\x{}", octets(value))),
        Value::Bytes20(value) => ("bytea", format!("\\x{}", octets(value))),
        Value::Bytes32(value) => ("bytea", format!("\\x{}", octets(value))),
        Value::I16s(values) => ("smallint[]", array(values)),
        Value::I64s(values) => ("bigint[]", array(values)),
        Value::Uuids(values) => ("uuid[]", array(values)),
        Value::Bytes20s(values) => ("bytea[]", array(values.iter().map(|value| quoted(value)))),
        Value::Bytes32s(values) => ("bytea[]", array(values.iter().map(|value| quoted(value)))),
    };
    (ty, format!("'{text}'::{ty}"))
}

fn array<T: ToString>(all: impl IntoIterator<Item = T>) -> String {
    let all: Vec<String> = all.into_iter().map(|one| one.to_string()).collect();
    format!("{{{}}}", all.join(","))
}

/// What PostgreSQL does for a statement.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Every relation that is read.
    pub(super) relations: HashSet<String>,
    /// Relations that are read from end to end.
    pub(super) whole: Vec<String>,
    /// Rows that were looked at, where the statement was executed; the most there can be when it was cut off.
    pub(super) touched: u64,
}

/// The plan that a reader's session would keep for this text: made before any value is known.
pub(super) async fn plan(readers: &Store, recorded: &Recorded, execute: bool) -> Plan {
    let mut connection = readers.connection().await.unwrap();
    let Recorded { text, types, values } = recorded;
    let types = if types.is_empty() { String::new() } else { format!("({types})") };
    let values = if values.is_empty() { String::new() } else { format!("({values})") };
    let analyze = if execute { "analyze, timing off, " } else { "" };
    let mut send =
        async |text: String| sqlx::raw_sql(AssertSqlSafe(text)).fetch_all(&mut *connection).await;
    send(format!("prepare recorded {types} as {text}")).await.unwrap();
    let answer = send(format!("explain ({analyze}format json) execute recorded{values}")).await;
    send("deallocate recorded".to_owned()).await.unwrap();
    let rows = match answer {
        Ok(rows) => rows,
        Err(error)
            if error.as_database_error().is_some_and(|e| e.code().as_deref() == Some("57014")) =>
        {
            return Plan { touched: u64::MAX, ..Plan::default() };
        }
        Err(error) => panic!("{error:?}: {text}"),
    };
    let json: String = rows.iter().map(|row| row.get_unchecked::<String, _>(0)).collect();
    let all: Json = serde_json::from_str(&json).unwrap();
    let mut plan = Plan::default();
    walk(&all[0]["Plan"], &mut plan);
    plan
}

fn walk(node: &Json, plan: &mut Plan) {
    let number = |name: &str| node[name].as_u64().unwrap_or(0);
    if let Some(relation) = node["Relation Name"].as_str() {
        plan.relations.insert(relation.to_owned());
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
    let big = "select relname::text from pg_class
                where relkind = 'r' and relnamespace in ('ground'::regnamespace, 'derived'::regnamespace)
                  and reltuples > $1";
    let mut connection = store.connection().await.unwrap();
    let names = sqlx::query_scalar(big).bind(rows).fetch_all(&mut *connection).await.unwrap();
    names.into_iter().collect()
}
