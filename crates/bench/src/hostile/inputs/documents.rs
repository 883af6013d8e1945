//! Documents.

/// A document, and the code of its refusal.
#[derive(Clone, Debug)]
pub struct Document {
    /// What it is called in reports.
    pub name: &'static str,
    /// The text.
    pub text: String,
    /// The code that is due; none where it may as well be answered.
    pub code: Option<&'static str>,
}

/// Fragments that spread the next one several times, a number of times over.
fn bomb(levels: usize, spreads: usize) -> String {
    let mut text = String::from("{ ...F0 }");
    for level in 0..levels {
        let inner = format!("...F{} ", level + 1).repeat(spreads);
        text.push_str(&format!(" fragment F{level} on Query {{ {inner} }}"));
    }
    text.push_str(&format!(" fragment F{levels} on Query {{ __typename }}"));
    text
}

/// All of them.
#[must_use]
pub fn documents() -> Vec<Document> {
    let many = |part: &str, times: usize| format!("{{ {} }}", part.repeat(times));
    let numbered = |times: usize, part: &dyn Fn(usize) -> String| {
        format!("{{ {} }}", (0..times).map(part).collect::<String>())
    };
    let deep = |times: usize| format!("{}{}", "{ a ".repeat(times), "}".repeat(times));
    let all: Vec<(&'static str, String, Option<&'static str>)> = vec![
        ("aliases", numbered(100_000, &|n| format!("a{n}: __typename ")), Some("DOCUMENT_TOO_LARGE")),
        ("aliased typenames", numbered(101, &|n| format!("a{n}: __typename ")), Some("TOO_MANY_ROOT_FIELDS")),
        ("aliases below", format!("{{ status {} }}", numbered(31, &|n| format!("a{n}: network "))), Some("TOO_MANY_ALIASES")),
        ("deep", deep(200), Some("QUERY_TOO_DEEP")),
        ("a little too deep", format!("{{ topic(name: \"a\") {{ account {} }} }}", deep(11)), Some("QUERY_TOO_DEEP")),
        ("braces", "{".repeat(20_000), Some("DOCUMENT_TOO_LARGE")),
        ("fewer braces", "{".repeat(1_999), Some("QUERY_TOO_DEEP")),
        ("brackets", format!("{{ a(b: {}) }}", "[".repeat(20_000)), Some("DOCUMENT_TOO_LARGE")),
        ("fewer brackets", format!("{{ a(b: {}{}) }}", "[".repeat(400), "]".repeat(400)), Some("QUERY_TOO_DEEP")),
        ("types", format!("query($a: {}Int{}) {{ a }}", "[".repeat(900), "]".repeat(900)), Some("QUERY_TOO_DEEP")),
        ("directives", format!("{{ __typename {} }}", "@skip(if: false) ".repeat(900)), Some("TOO_MANY_TOKENS")),
        ("fewer directives", format!("{{ __typename {} }}", "@skip(if: false) ".repeat(41)), Some("TOO_MANY_DIRECTIVES")),
        ("directives in fragments", format!("{{ status {} }} fragment F on Status {{ network @include(if: true) }}", many("...F ", 60)), Some("TOO_MANY_DIRECTIVES")),
        ("the same field", many("__typename ", 100_000), Some("DOCUMENT_TOO_LARGE")),
        ("the same field, fewer", many("__typename ", 1_400), Some("TOO_MANY_ROOT_FIELDS")),
        ("many fields", format!("{{ status {{ {} }} }}", "network ".repeat(1_900)), None),
        ("cycle", "{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }".into(), Some("GRAPHQL_VALIDATION_FAILED")),
        ("self", "{ ...A } fragment A on Query { ...A }".into(), Some("GRAPHQL_VALIDATION_FAILED")),
        ("unused self", "{ __typename } fragment A on Query { ...A }".into(), Some("GRAPHQL_VALIDATION_FAILED")),
        ("doubling", bomb(24, 2), Some("TOO_MANY_ROOT_FIELDS")),
        ("tenfold 3", bomb(3, 10), Some("TOO_MANY_ROOT_FIELDS")),
        ("tenfold 7", bomb(7, 10), Some("TOO_MANY_ROOT_FIELDS")),
        ("chain", bomb(150, 1), Some("QUERY_TOO_DEEP")),
        (
            "unused bomb",
            bomb(24, 2).replacen("{ ...F0 }", "{ __typename }", 1),
            Some("QUERY_TOO_COMPLEX"),
        ),
        (
            "doubling below",
            bomb(24, 2).replace("on Query { __typename }", "on Status { network }").replace("on Query", "on Status").replacen("{ ...F0 }", "{ status { ...F0 } }", 1),
            Some("QUERY_TOO_COMPLEX"),
        ),
        ("overlapping aliases", format!("{{ {} }}", "x: status { a: network } ".repeat(200)), Some("TOO_MANY_ROOT_FIELDS")),
        ("a comment", format!("#{}\n{{ __typename }}", "x".repeat(1 << 20)), Some("DOCUMENT_TOO_LARGE")),
        ("a block string", format!("{{ a(b: \"\"\"{}\"\"\") }}", "x".repeat(1 << 20)), Some("DOCUMENT_TOO_LARGE")),
        (
            "circular introspection",
            "{ __schema { types { fields { type { fields { type { fields { type { fields { type { fields { name } } } } } } } } } } } }".into(),
            Some("QUERY_TOO_DEEP"),
        ),
        ("deep introspection", format!("{{ __schema {{ types {} }} }}", "{ ofType ".repeat(28) + "{ name" + &" }".repeat(29)), Some("QUERY_TOO_DEEP")),
        ("wide introspection", format!("{{ {} }}", (0..19).map(|n| format!("a{n}: __schema {{ types {{ fields {{ args {{ type {{ name }} }} }} }} }} ")).collect::<String>()), Some("QUERY_TOO_COMPLEX")),
        ("the schema twice", "{ a: __schema { ...S } b: __schema { ...S } } fragment S on __Schema { types { name description fields { name description args { name description type { ...T } } type { ...T } } } } fragment T on __Type { name kind ofType { name kind ofType { name kind } } }".into(), None),
        ("operations", (0..11).map(|n| format!("query Q{n} {{ __typename }} ")).collect(), Some("TOO_MANY_OPERATIONS")),
        ("root fields", many("status { network } ", 21), Some("TOO_MANY_ROOT_FIELDS")),
        ("page of pages", "{ accounts(first: 500) { nodes { invites(first: 500) { nodes { id } } } } }".into(), Some("QUERY_TOO_COMPLEX")),
        ("counts", "{ topics(first: 300) { nodes { envelopes(first: 0) { totalCount } } } }".into(), Some("QUERY_TOO_COMPLEX")),
        ("NUL", "{ topic(name: \"\0\") { id } \0 }".into(), Some("GRAPHQL_PARSE_FAILED")),
        ("lone surrogate", r#"{ topic(name: "\uD800") { id } }"#.into(), Some("GRAPHQL_PARSE_FAILED")),
        ("not a number", "{ envelopes(first: NaN0.) { nodes { id } } }".into(), Some("GRAPHQL_PARSE_FAILED")),
        ("a number without end", "{ topic(name: 1e999) { id } }".into(), Some("GRAPHQL_PARSE_FAILED")),
        ("empty", String::new(), Some("GRAPHQL_PARSE_FAILED")),
        ("empty selection", "{}".into(), Some("GRAPHQL_PARSE_FAILED")),
        ("open", "{ a(b: \"".into(), Some("GRAPHQL_PARSE_FAILED")),
        ("more overlapping aliases", format!("{{ {} }}", "x: status { a: network } ".repeat(240)), Some("TOO_MANY_ROOT_FIELDS")),
        ("fan out", "{ topics(first: 100) { nodes { envelopes(first: 100) { nodes { topic { envelopes(first: 30) { nodes { id } } } } } } } }".into(), Some("QUERY_TOO_COMPLEX")),
        ("unknown directives", format!("{{ __typename {} }}", "@zzzz".repeat(10)), Some("GRAPHQL_VALIDATION_FAILED")),
        ("unknown field", format!("{{ {} }}", "zz".repeat(200)), Some("GRAPHQL_VALIDATION_FAILED")),
        ("two roots followed", "subscription { invites { cursor } envelopes { cursor } }".into(), Some("GRAPHQL_VALIDATION_FAILED")),
    ];
    all.into_iter().map(|(name, text, code)| Document { name, text, code }).collect()
}
