//! GraphQL, asked as a user asks it.

use std::{collections::HashSet, sync::Arc};

use serde_json::{Value, json};

/// A GraphQL server. Every answer is searched for what must never be in one.
#[derive(Clone)]
pub struct Graph {
    url: String,
    http: reqwest::Client,
    forbidden: Arc<Vec<String>>,
}

/// A list of the schema: what of it, and what of each member.
#[derive(Clone, Copy)]
pub struct List<'a> {
    /// The root field.
    pub field: &'a str,
    /// Its arguments without those for paging, such as `filter: {…}`.
    pub arguments: &'a str,
    /// The fields of a node.
    pub node: &'a str,
}

impl Graph {
    /// The server at the address that `up` announces.
    pub fn at(url: &str) -> Graph {
        // Another test of this process may have set it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Graph {
            url: url.trim_end_matches('/').to_owned(),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            forbidden: Arc::default(),
        }
    }

    /// The same server, whose answers must not have any of these texts in them.
    pub fn never_saying(self, forbidden: Vec<String>) -> Graph {
        Graph { forbidden: Arc::new(forbidden), ..self }
    }

    /// The text at a path.
    pub async fn get(&self, path: &str) -> Result<String, String> {
        let told = |error: reqwest::Error| error.to_string();
        let answer = self.http.get(format!("{}{path}", self.url)).send().await.map_err(told)?;
        answer.text().await.map_err(told)
    }

    /// Asks; the whole answer, or why there is none.
    pub async fn try_ask(&self, query: &str, variables: Value) -> Result<Value, String> {
        let body = json!({ "query": query, "variables": variables });
        let told = |error: reqwest::Error| error.to_string();
        let url = format!("{}/graphql", self.url);
        let answer = self.http.post(url).json(&body).send().await.map_err(told)?;
        let text = answer.text().await.map_err(told)?;
        for forbidden in self.forbidden.iter() {
            assert!(
                !text.contains(forbidden),
                "a private store's bytes are in an answer to {query}"
            );
        }
        let answer: Value = serde_json::from_str(&text).map_err(|_| text)?;
        match answer.get("errors") {
            Some(errors) => Err(errors.to_string()),
            None => Ok(answer),
        }
    }

    /// Asks, and expects an answer.
    pub async fn ask(&self, query: &str, variables: Value) -> Value {
        match self.try_ask(query, variables).await {
            Ok(mut answer) => answer["data"].take(),
            Err(error) => panic!("{query}\n{error}"),
        }
    }

    /// All members of a list: paged through from its beginning with one page size and from its end with another, which
    /// must give the same, as many as it says, and none twice.
    pub async fn all(&self, list: List<'_>, forward: u32, backward: u32) -> Vec<Value> {
        let there = self.walk(list, forward, false).await;
        let back = self.walk(list, backward, true).await;
        assert!(there == back, "{}: forwards and backwards differ", list.field);
        let cursors: HashSet<&str> =
            there.iter().map(|edge| edge["cursor"].as_str().unwrap()).collect();
        assert_eq!(cursors.len(), there.len(), "{}: a cursor is there twice", list.field);
        there.into_iter().map(|mut edge| edge["node"].take()).collect()
    }

    /// The edges of a list in its order, however it is walked.
    async fn walk(&self, list: List<'_>, size: u32, backward: bool) -> Vec<Value> {
        let (count, from, more, end) = match backward {
            false => ("first", "after", "hasNextPage", "endCursor"),
            true => ("last", "before", "hasPreviousPage", "startCursor"),
        };
        let List { field, arguments, node } = list;
        let query = format!(
            "query($from: String) {{ {field}({arguments} {count}: {size}, {from}: $from) {{
                totalCount edges {{ cursor node {{ {node} }} }}
                pageInfo {{ hasNextPage endCursor hasPreviousPage startCursor }} }} }}"
        );
        let mut edges: Vec<Value> = Vec::new();
        let mut cursor = Value::Null;
        loop {
            let mut answer = self.ask(&query, json!({ "from": cursor })).await;
            let mut page = answer[field].take();
            let mut rows = match page["edges"].take() {
                Value::Array(rows) => rows,
                other => panic!("{field}: no edges: {other}"),
            };
            assert!(rows.len() <= size as usize, "{field}: a page of {}", rows.len());
            if !rows.is_empty() {
                let ends = [(&rows[0], "startCursor"), (&rows[rows.len() - 1], "endCursor")];
                for (edge, name) in ends {
                    assert_eq!(edge["cursor"], page["pageInfo"][name], "{field}: {name}");
                }
            }
            if backward {
                rows.append(&mut edges);
                edges = rows;
            } else {
                edges.append(&mut rows);
            }
            let total: usize = page["totalCount"].as_str().unwrap().parse().unwrap();
            let has_more = page["pageInfo"][more].as_bool().unwrap();
            assert_eq!(has_more, edges.len() < total, "{field}: {more} at {}", edges.len());
            if !has_more {
                assert_eq!(edges.len(), total, "{field}: totalCount");
                return edges;
            }
            cursor = page["pageInfo"][end].take();
        }
    }

    /// The number of members that a list says it has.
    pub async fn count(&self, field: &str, filter: &str) -> u64 {
        let query = format!("{{ {field}(first: 0, filter: {{ {filter} }}) {{ totalCount }} }}");
        let answer = self.ask(&query, Value::Null).await;
        answer[field]["totalCount"].as_str().unwrap().parse().unwrap()
    }
}
