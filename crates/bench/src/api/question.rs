//! What is asked: the same three questions of everybody, each in its best words.

use chrono::DateTime;
use serde_json::{Value, json};
use store::measure::{population::Population, questions};

/// One of the questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// A wallet and its current bundle, by address.
    Point,
    /// The newest 50 invitations to a wallet, the sender and its current bundle nested in each.
    Page,
    /// A day of the network by the hour.
    Hours,
}

/// What must be reached.
#[derive(Clone, Copy, Debug)]
pub(super) struct Targets {
    /// Of pgbench's rate, at least.
    pub(super) of_limit: f64,
    /// Times PostGraphile's rate, at least.
    pub(super) of_peer: f64,
}

impl Question {
    pub(super) const ALL: [Question; 3] = [Question::Point, Question::Page, Question::Hours];

    pub(super) fn name(self) -> &'static str {
        match self {
            Question::Point => "account by address",
            Question::Page => "page of 50 invites",
            Question::Hours => "hours of a day",
        }
    }

    pub(super) fn targets(self) -> Targets {
        match self {
            Question::Point => Targets { of_limit: 0.38, of_peer: 5.0 },
            Question::Page => Targets { of_limit: 0.60, of_peer: 5.5 },
            Question::Hours => Targets { of_limit: 0.40, of_peer: 6.5 },
        }
    }

    /// pgbench's script.
    pub(super) fn script(self) -> &'static str {
        match self {
            Question::Point => questions::POINT,
            Question::Page => questions::PAGE,
            Question::Hours => questions::HOURS,
        }
    }

    /// How many different ones there are.
    pub(super) fn choices(self, population: &Population) -> u64 {
        match self {
            Question::Point => population.accounts(),
            Question::Page => population.recipients(),
            Question::Hours => population.days(),
        }
    }
}

/// A way to put the questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// This program's schema.
    Ours,
    /// PostGraphile's schema of the same tables.
    Peer,
}

const OUR_POINT: &str = "query ($address: Address!) { account(address: $address) {
  address contactBundle { version verification publishedAt } } }";
const OUR_PAGE: &str = "query ($who: Address!) { invites(filter: { recipient: $who }, first: 50) {
  pageInfo { hasNextPage endCursor }
  edges { cursor node { id createdAt verification
    sender { address contactBundle { version verification publishedAt } } } } } }";
const OUR_HOURS: &str = "query ($from: DateTime!, $to: DateTime!) { analytics {
  volume(from: $from, to: $to, interval: HOUR) { key points { at envelopes bytes } } } }";

/// The first of a list that is in the order of the index: what is current.
macro_rules! peer_bundle {
    () => {
        "bundles: contactBundlesByAccountList(first: 1, condition: { verification: 1 },
           orderBy: [PUBLISHED_NS_DESC, DIGEST_DESC]) { generation verification publishedNs }"
    };
}
const PEER_POINT: &str = concat!(
    "query ($address: Base64EncodedBinary!) { accountByAddress(address: $address) { address ",
    peer_bundle!(),
    " } }"
);
const PEER_PAGE: &str = concat!(
    "query ($who: Base64EncodedBinary!) {
  allInvites(first: 50, condition: { recipient: $who }, orderBy: [CREATED_NS_DESC, ROW_ID_DESC]) {
    pageInfo { hasNextPage endCursor }
    edges { cursor node { id createdNs verification senderAccount { address ",
    peer_bundle!(),
    " } } } } }"
);
const PEER_HOURS: &str = "query ($from: Int!, $to: Int!) {
  peerHoursList(fromHour: $from, toHour: $to) { hour envelopes bytes } }";

impl Dialect {
    fn document(self, question: Question) -> &'static str {
        match (self, question) {
            (Dialect::Ours, Question::Point) => OUR_POINT,
            (Dialect::Ours, Question::Page) => OUR_PAGE,
            (Dialect::Ours, Question::Hours) => OUR_HOURS,
            (Dialect::Peer, Question::Point) => PEER_POINT,
            (Dialect::Peer, Question::Page) => PEER_PAGE,
            (Dialect::Peer, Question::Hours) => PEER_HOURS,
        }
    }

    fn variables(self, question: Question, population: &Population, nth: u64) -> Value {
        let address = Population::address(nth);
        let name = if question == Question::Point { "address" } else { "who" };
        match (self, question) {
            (Dialect::Ours, Question::Hours) => {
                let at = |day| DateTime::from_timestamp_nanos(population.day(day).cast_signed());
                json!({ "from": at(nth).to_rfc3339(), "to": at(nth + 1).to_rfc3339() })
            }
            (Dialect::Peer, Question::Hours) => {
                let hour = population.first_hour() + 24 * nth;
                json!({ "from": hour, "to": hour + 24 })
            }
            (Dialect::Ours, _) => json!({ name: address.to_string() }),
            (Dialect::Peer, _) => json!({ name: base64(address.as_bytes()) }),
        }
    }

    /// The body of a request.
    pub(super) fn body(self, question: Question, population: &Population, nth: u64) -> String {
        let variables = self.variables(question, population, nth);
        json!({ "query": self.document(question), "variables": variables }).to_string()
    }

    /// What an answer says, without the words in which it says it.
    pub(super) fn content(self, question: Question, answer: &Value) -> Value {
        let data = &answer["data"];
        match (self, question) {
            (Dialect::Ours, Question::Point) => our_account(&data["account"]),
            (Dialect::Peer, Question::Point) => peer_account(&data["accountByAddress"]),
            (Dialect::Ours, Question::Page) => page(&data["invites"], |node| {
                json!([
                    our_time(&node["createdAt"]),
                    node["verification"],
                    our_account(&node["sender"])
                ])
            }),
            (Dialect::Peer, Question::Page) => page(&data["allInvites"], |node| {
                let account = peer_account(&node["senderAccount"]);
                json!([peer_time(&node["createdNs"]), verdict(&node["verification"]), account])
            }),
            (Dialect::Ours, Question::Hours) => {
                points(&data["analytics"]["volume"][0]["points"], |point| {
                    json!(our_time(&point["at"]).map(|ns| ns / 3_600_000_000_000))
                })
            }
            (Dialect::Peer, Question::Hours) => {
                points(&data["peerHoursList"], |point| point["hour"].clone())
            }
        }
    }
}

fn our_account(account: &Value) -> Value {
    let bundle = &account["contactBundle"];
    let address = account["address"].as_str().unwrap_or_default().to_lowercase();
    json!([address, bundle["version"], bundle["verification"], our_time(&bundle["publishedAt"])])
}

fn peer_account(account: &Value) -> Value {
    let bundle = &account["bundles"][0];
    let bytes = unbase64(account["address"].as_str().unwrap_or_default());
    let address: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let version = bundle["generation"].as_i64().map(|version| format!("V{version}"));
    let published = peer_time(&bundle["publishedNs"]);
    json!([format!("0x{address}"), version, verdict(&bundle["verification"]), published])
}

fn page(connection: &Value, row: impl Fn(&Value) -> Value) -> Value {
    let edges = connection["edges"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows: Vec<Value> = edges.iter().map(|edge| row(&edge["node"])).collect();
    json!({ "more": connection["pageInfo"]["hasNextPage"], "rows": rows })
}

fn points(points: &Value, at: impl Fn(&Value) -> Value) -> Value {
    let points = points.as_array().map(Vec::as_slice).unwrap_or_default();
    points.iter().map(|p| json!([at(p), p["envelopes"], p["bytes"]])).collect()
}

fn our_time(at: &Value) -> Option<i64> {
    DateTime::parse_from_rfc3339(at.as_str()?).ok()?.timestamp_nanos_opt()
}

fn peer_time(stored: &Value) -> Option<i64> {
    let stored: i64 = stored.as_str()?.parse().ok()?;
    i64::try_from(store::time::from_db(stored)).ok()
}

fn verdict(code: &Value) -> Option<&'static str> {
    let code = i16::try_from(code.as_i64()?).ok()?;
    wire::Verification::from_code(code).map(wire::Verification::as_str)
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64, as PostGraphile takes bytes.
fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = (0..3)
            .fold(0_u32, |bits, nth| (bits << 8) | u32::from(three.get(nth).copied().unwrap_or(0)));
        for nth in 0..4 {
            let six = usize::try_from((bits >> (18 - 6 * nth)) & 63).unwrap_or(0);
            text.push(if nth <= three.len() { char::from(ALPHABET[six]) } else { '=' });
        }
    }
    text
}

fn unbase64(text: &str) -> Vec<u8> {
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for letter in text.bytes().filter_map(|letter| ALPHABET.iter().position(|a| *a == letter)) {
        bits = (bits << 6) | u32::try_from(letter).unwrap_or(0);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from((bits >> held) & 255).unwrap_or(0));
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_go_through_base64_and_back() {
        for length in 0..7 {
            let bytes: Vec<u8> = (250..=255).chain(0..9).take(length).collect();
            assert_eq!(unbase64(&base64(&bytes)), bytes);
        }
        assert_eq!(base64(b"ab"), "YWI=");
    }
}
