//! Who asks: by a key, or by where a request comes from; what they may ask, and how often.

use std::{net::IpAddr, sync::Arc};

use actix_web::{HttpRequest, http::header};
use serde_json::{Map, Value};
use store::keys::{PREFIX, Scope, Shown};

use super::{keyring::Holder, peer, server::Shared};
use crate::{guard::Listings, transport::refused::Refused};

/// Whether callers need keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keys {
    /// Keys are not looked at.
    Off,
    /// Who shows one is taken by it; nobody must.
    #[default]
    Optional,
    /// Everybody must show one.
    Required,
}

/// Who asks.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    from: Option<IpAddr>,
    holder: Option<Arc<Holder>>,
}

/// What a caller shows.
#[derive(Debug, PartialEq, Eq)]
enum Token {
    /// Nothing, or something that is for others, like a password for a proxy.
    None,
    /// A key.
    Key(Shown),
    /// Something that is meant to be a key and is none.
    Odd,
}

impl Token {
    /// The value of an `authorization` header.
    fn of_header(value: &str) -> Token {
        match value.trim().split_once(char::is_whitespace) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
                Token::of_key(token.trim())
            }
            // A key without the word before it is a mistake worth telling.
            _ if value.contains(PREFIX) => Token::Odd,
            _ => Token::None,
        }
    }

    fn of_key(key: &str) -> Token {
        Shown::read(key).map_or(Token::Odd, Token::Key)
    }

    fn of_request(http: &HttpRequest) -> Token {
        match http.headers().get(header::AUTHORIZATION).map(|value| value.to_str()) {
            None => Token::None,
            Some(Ok(value)) => Token::of_header(value),
            Some(Err(_)) => Token::Odd,
        }
    }

    /// What a client sends when it begins a socket: pages cannot set headers there.
    fn of_payload(payload: &Map<String, Value>) -> Token {
        match (payload.get("apiKey"), header_in(payload)) {
            (Some(Value::String(key)), _) => Token::of_key(key.trim()),
            (Some(value), _) if !value.is_null() => Token::Odd,
            (_, Some(Value::String(value))) => Token::of_header(value),
            (_, Some(value)) if !value.is_null() => Token::Odd,
            _ => Token::None,
        }
    }
}

fn header_in(payload: &Map<String, Value>) -> Option<&Value> {
    ["authorization", "Authorization"].iter().find_map(|name| payload.get(*name))
}

impl Caller {
    /// The name of the key, for the log.
    pub(super) fn key(&self) -> Option<&Arc<Holder>> {
        self.holder.as_ref()
    }

    /// Comes when the key is not valid any more.
    pub(super) async fn ended(&self) {
        match &self.holder {
            Some(holder) => holder.ended.cancelled().await,
            None => std::future::pending().await,
        }
    }

    fn must(&self, scope: Scope) -> Result<(), Refused> {
        match &self.holder {
            Some(holder) if !holder.may(scope) => {
                let message = format!("this API key is not for this: it lacks the scope {scope}");
                Err(Refused::new(403, "FORBIDDEN", &message))
            }
            _ => Ok(()),
        }
    }
}

/// What is said to those whose key ends while something of theirs is open.
pub(super) fn ended() -> Refused {
    Refused::new(
        401,
        "UNAUTHENTICATED",
        "this API key was revoked or has expired: resume behind the cursor with another",
    )
}

fn missing() -> Refused {
    Refused::new(
        401,
        "UNAUTHENTICATED",
        "this server asks for an API key: send authorization: Bearer xidx_…",
    )
}

impl Shared {
    /// Who sends a request, counted.
    pub(super) async fn enter(&self, http: &HttpRequest) -> Result<Caller, Refused> {
        self.enter_for(http, Scope::Read).await
    }

    /// The same for something that is for operators where keys are required, and for everybody else where not.
    pub(super) async fn enter_for(
        &self,
        http: &HttpRequest,
        scope: Scope,
    ) -> Result<Caller, Refused> {
        let stranger = self.stranger(http);
        let caller = self.identify(&stranger, Token::of_request(http)).await;
        let required = self.exposure.keys == Keys::Required;
        let caller = match caller {
            Ok(caller) if caller.holder.is_none() && required => Err(missing()),
            Ok(caller) => caller.must(scope).map(|()| caller),
            refused => refused,
        };
        // Who is not let in is counted, too, for where it comes from.
        self.pass(caller.as_ref().unwrap_or(&stranger))?;
        caller
    }

    /// Who opens a socket. A key may come later, with what the client sends when it begins.
    pub(super) async fn knock(&self, http: &HttpRequest) -> Result<Caller, Refused> {
        let stranger = self.stranger(http);
        let caller = self.identify(&stranger, Token::of_request(http)).await;
        let caller = caller.and_then(|caller| caller.must(Scope::Read).map(|()| caller));
        self.pass(caller.as_ref().unwrap_or(&stranger))?;
        caller
    }

    /// Who it is that begins a socket which this caller opened.
    pub(super) async fn begin(
        &self,
        caller: &Caller,
        payload: &Map<String, Value>,
    ) -> Result<Caller, Refused> {
        let caller = self.identify(caller, Token::of_payload(payload)).await?;
        if caller.holder.is_none() && self.exposure.keys == Keys::Required {
            return Err(missing());
        }
        caller.must(Scope::Read)?;
        Ok(caller)
    }

    /// Counts a request of this caller, or says when to try again.
    pub(super) fn pass(&self, caller: &Caller) -> Result<(), Refused> {
        match (&caller.holder, &self.gate, caller.from) {
            (Some(holder), _, _) => holder.pass(),
            (None, Some(gate), Some(from)) => gate.pass(from),
            _ => Ok(()),
        }
    }

    /// How much this caller may list.
    pub(super) fn listings(&self, caller: &Caller) -> Listings {
        match self.exposure.listings {
            Listings::Keyed if caller.holder.is_some() => Listings::Open,
            listings => listings,
        }
    }

    fn stranger(&self, http: &HttpRequest) -> Caller {
        Caller { from: peer::address(http, &self.exposure.proxies), holder: None }
    }

    async fn identify(&self, caller: &Caller, token: Token) -> Result<Caller, Refused> {
        match (&self.keyring, token) {
            (None, _) | (_, Token::None) => Ok(caller.clone()),
            (Some(_), Token::Odd) => Err(Refused::new(
                401,
                "UNAUTHENTICATED",
                "this is no API key: one is sent as authorization: Bearer xidx_…",
            )),
            (Some(keyring), Token::Key(shown)) => {
                let holder = Some(keyring.admit(&shown).await?);
                Ok(Caller { from: caller.from, holder })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KEY: &str = "xidx_0123abcd_0123456789abcdef0123456789ABCDEF";

    #[test]
    fn keys_are_found_where_they_may_stand() {
        let key = || Token::Key(Shown::read(KEY).unwrap());
        for (value, token) in [
            (format!("Bearer {KEY}"), key()),
            (format!("bearer   {KEY} "), key()),
            ("Basic dXNlcjpwYXNz".to_owned(), Token::None),
            (KEY.to_owned(), Token::Odd),
            ("Bearer eyJhbGciOi".to_owned(), Token::Odd),
            ("Bearer".to_owned(), Token::None),
        ] {
            assert_eq!(Token::of_header(&value), token, "{value}");
        }
        let bearer = format!("Bearer {KEY}");
        for (payload, token) in [
            (json!({}), Token::None),
            (json!({ "apiKey": KEY }), key()),
            (json!({ "authorization": bearer }), key()),
            (json!({ "Authorization": bearer }), key()),
            (json!({ "apiKey": null, "authorization": bearer }), key()),
            (json!({ "apiKey": "x" }), Token::Odd),
            (json!({ "apiKey": 1 }), Token::Odd),
            (json!({ "authorization": { "a": 1 } }), Token::Odd),
        ] {
            assert_eq!(Token::of_payload(payload.as_object().unwrap()), token, "{payload}");
        }
    }
}
