//! Documents made to hurt, and ordinary ones that must pass.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

fn shape() -> Shape {
    Shape::of(&crate::sdl())
}

fn admit(text: &str, variables: Value) -> Result<u64, Refusal> {
    let limits = Limits::default();
    let Value::Object(variables) = variables else { panic!("variables are an object") };
    let document = Document::read(text, &limits)?;
    let name =
        document.parsed.operations.iter().next().and_then(|(name, _)| name.map(|n| n.to_string()));
    document.price(document.operation(name.as_deref())?, &variables, &shape(), &limits)
}

fn cost(text: &str, variables: Value) -> u64 {
    admit(text, variables).unwrap_or_else(|refusal| panic!("{text}: {refusal:?}"))
}

/// What tools send to learn the schema: the shape of graphql-js' own, ten wrappers deep.
const INTROSPECTION: &str = "query IntrospectionQuery { __schema { description queryType { name kind } mutationType { name kind } \
 subscriptionType { name kind } types { ...FullType } directives { name description isRepeatable locations \
 args(includeDeprecated: true) { ...InputValue } } } } \
 fragment FullType on __Type { kind name description specifiedByURL isOneOf fields(includeDeprecated: true) { name description \
 args(includeDeprecated: true) { ...InputValue } type { ...TypeRef } isDeprecated deprecationReason } \
 inputFields(includeDeprecated: true) { ...InputValue } interfaces { ...TypeRef } \
 enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason } possibleTypes { ...TypeRef } } \
 fragment InputValue on __InputValue { name description type { ...TypeRef } defaultValue isDeprecated deprecationReason } \
 fragment TypeRef on __Type { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { \
 kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } } } } } } }";

#[test]
fn ordinary_questions_pass() {
    let introspection = cost(INTROSPECTION, json!({}));
    assert!((2_000..40_000).contains(&introspection), "{introspection}");
    let page = "query($first: Int, $who: Address!) { invites(first: $first, filter: { recipient: $who }) {
        totalCount pageInfo { hasNextPage endCursor } edges { cursor node { id createdAt verification deliveredToRecipient
        sender { address contactBundle { version verification identityKey { bytes createdAt } publishedAt } }
        recipient { address } envelopes { digest timestamp topic { name } } } } } }";
    let largest = cost(page, json!({ "first": 500, "who": "0x00" }));
    assert!((10_000..45_000).contains(&largest), "{largest}");
    assert!(cost(page, json!({ "who": "0x00" })) < largest / 5, "the default page has 50 rows");
    assert_eq!(cost("{ __typename }", json!({})), 1);
    assert_eq!(cost("{ status { network } }", json!({})), 2);
}

#[test]
fn what_multiplies_is_multiplied() {
    let page = |first: &str| {
        cost(&format!("{{ envelopes{first} {{ edges {{ node {{ digest }} }} }} }}"), json!({}))
    };
    assert_eq!(page(""), 50 + 50 * 3);
    assert_eq!(page("(first: 10)"), 50 + 10 * 3);
    assert_eq!(page("(last: 500)"), 50 + 500 * 3);
    assert_eq!(page("(first: null)"), 50 + 50 * 3);
    // Refused by the list itself, and without a statement.
    assert_eq!(page("(first: -1)"), 50 + 3);
    assert_eq!(page("(first: 2147483648)"), 50 + 500 * 3);
    let variable = "query($n: Int = 7) { envelopes(first: $n) { nodes { digest } } }";
    assert_eq!(cost(variable, json!({})), 50 + 7 * 2);
    assert_eq!(cost(variable, json!({ "n": 9 })), 50 + 9 * 2);
    assert_eq!(cost(variable, json!({ "n": null })), 50 + 50 * 2);
    let many = "query($a: [Address!]!) { reachability(addresses: $a) { reachable } }";
    assert_eq!(cost(many, json!({ "a": vec!["0x00"; 500] })), 500 * 2 + 1);
    let nested =
        "{ topics(first: 20) { nodes { envelopes(first: 10) { nodes { digest } totalCount } } } }";
    assert_eq!(cost(nested, json!({})), 50 + 20 * (1 + 50 + 10 * 2 + 200));
    let refused = admit(
        "{ topics(first: 500) { nodes { envelopes(first: 50) { nodes { digest } } } } }",
        json!({}),
    );
    let refused = refused.unwrap_err();
    assert_eq!(refused.kind, Kind::Complexity);
    assert_eq!(refused.over, Some((50_000, 50 + 500 * (1 + 50 + 50 * 2))));
}

#[test]
fn fragments_cost_as_often_as_they_are_spread() {
    let spread = |times: usize| {
        let spreads = "...F ".repeat(times);
        cost(
            &format!(
                "{{ status {{ {spreads} }} }} fragment F on Status {{ network envelopeCount }}"
            ),
            json!({}),
        )
    };
    assert_eq!((spread(1), spread(7)), (3, 15));
}

#[test]
fn subscriptions_have_one_root() {
    assert!(admit("subscription { invites { cursor } }", json!({})).is_ok());
    assert!(
        admit("subscription { ...F } fragment F on Subscription { invites { cursor } }", json!({}))
            .is_ok()
    );
    for wrong in [
        "subscription { invites { cursor } envelopes { cursor } }",
        "subscription { a: status { network } b: status { network } }",
        "subscription { __typename }",
        "subscription { ...F status { network } } fragment F on Subscription { invites { cursor } }",
    ] {
        assert_eq!(admit(wrong, json!({})).unwrap_err().kind, Kind::Invalid, "{wrong}");
    }
}

/// A program without optimisation on a busy machine takes its time.
const AT_ONCE: Duration = Duration::from_millis(if cfg!(debug_assertions) { 1_000 } else { 50 });

#[test]
fn hostile_documents_are_refused_at_once() {
    let shape = shape();
    let limits = Limits::default();
    for crate::hostile::Document { name, text, code } in crate::hostile::documents() {
        let began = Instant::now();
        let refused = Document::read(&text, &limits).and_then(|document| {
            document.price(document.operation(None)?, &Map::new(), &shape, &limits)
        });
        let took = began.elapsed();
        let refused = match refused {
            Err(refused) => refused,
            Ok(cost) => {
                // What is wrong by the schema is found when the schema is looked at.
                assert!(
                    code.is_none_or(|code| code == Kind::Invalid.code()),
                    "{name} costs {cost}"
                );
                continue;
            }
        };
        if let Some(code) = code {
            assert_eq!(refused.kind.code(), code, "{name}: {refused:?}");
        }
        assert!(took < AT_ONCE, "{name}: {took:?}");
        let said = refused.to_json().to_string();
        assert!(said.len() < 300, "{name}: {said}");
        let known = refused.over.is_some() || matches!(refused.kind, Kind::Syntax | Kind::Invalid);
        assert!(known, "{name}: {said}");
        if let Some((limit, actual)) = refused.over {
            assert!(actual > limit, "{name}: {said}");
        }
    }
}

#[test]
fn what_is_odd_and_legal_passes() {
    for text in [
        "\u{feff}{ __typename }",
        "query\r\n{\r\n__typename\r\n}",
        r#"{ topic(name: "\u0041\\\"") { id } }"#,
        "{ topic(name: \"\"\"block \\\"\"\" string\"\"\") { id } }",
        "# a comment { { {\n{ __typename }",
        "{ envelopes(first: 99999999999999999999) { nodes { id } } }",
        "{ a: status { network } ,,, b: status { network } }",
        "{ ...on Query { ... @include(if: true) { __typename } } }",
        "{ __type(name: \"Query\") { fields { name type { name ofType { name } } } } }",
    ] {
        cost(text, json!({}));
    }
}

#[test]
fn variables_are_bounded() {
    let limits = Limits::default();
    let check = |value: Value| {
        let mut variables = Map::new();
        variables.insert("v".into(), value);
        input::check(&variables, &limits).map_err(|refusal| refusal.kind)
    };
    assert_eq!(check(json!(vec![0; 1_000])), Ok(()));
    assert_eq!(check(json!(vec![0; 1_001])), Err(Kind::ListItems));
    assert_eq!(check(json!(vec![vec![0; 999]; 10])), Err(Kind::InputValues));
    let deep = (0..16).fold(json!(1), |value, _| json!([value]));
    assert_eq!(check(deep), Err(Kind::InputDepth));
    let deep = (0..15).fold(json!(1), |value, _| json!({ "a": value }));
    assert_eq!(check(deep), Ok(()));
}

/// Pieces that documents are made of, put together without sense.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        ":",
        "!",
        "$",
        "@",
        "=",
        "|",
        "&",
        "...",
        "\"",
        "\"\"\"",
        "\\",
        "#",
        "\n",
        ",",
        " ",
        "query",
        "mutation",
        "subscription",
        "fragment",
        "on",
        "F",
        "G",
        "a",
        "__schema",
        "__typename",
        "types",
        "fields",
        "envelopes",
        "edges",
        "node",
        "nodes",
        "first",
        "last",
        "500",
        "-1",
        "1.5e9",
        "$v",
        "null",
        "true",
        "@skip(if: true)",
        "fragment F on Query { ...G }",
        "{ envelopes(first: 5) { nodes { id } } }",
        "\u{feff}",
        "é",
        "\0",
        "\\u0000",
    ]);
    prop::collection::vec(piece, 0..120).prop_map(|pieces| pieces.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn no_text_makes_it_panic_or_linger(text in prop_oneof![pieces(), ".{0,400}"], first in any::<i64>()) {
        let limits = Limits::default();
        let began = Instant::now();
        if let Ok(document) = Document::read(&text, &limits)
            && let Ok(operation) = document.operation(None)
        {
            let mut variables = Map::new();
            variables.insert("v".into(), first.into());
            let _ = document.price(operation, &variables, &Shape::of("type Query { a: Int }"), &limits);
        }
        prop_assert!(began.elapsed() < AT_ONCE);
    }

    /// What passes can be validated by the library without surprise: the guard stands for it.
    #[test]
    fn what_passes_is_cheap_to_validate(text in pieces()) {
        let limits = Limits::default();
        if let Ok(document) = Document::read(&text, &limits) {
            let schema = async_graphql::Schema::new(Small, async_graphql::EmptyMutation, async_graphql::EmptySubscription);
            let mut request = async_graphql::Request::new("");
            request.set_parsed_query(document.parsed);
            let began = Instant::now();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let _ = runtime.block_on(schema.execute(request));
            prop_assert!(began.elapsed() < AT_ONCE);
        }
    }
}

struct Small;

#[async_graphql::Object]
impl Small {
    async fn a(&self) -> i32 {
        1
    }
}
