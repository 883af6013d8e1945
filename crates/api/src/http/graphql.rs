//! `/graphql` over HTTP: POST with JSON, GET for queries, event streams for those who ask for them.

use std::rc::Rc;

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use async_graphql::parser::types::OperationType;

use super::{
    access::Caller,
    body, encode, execute, headers,
    record::{Ended, Entry, Record},
    server::Shared,
    socket, stream,
};
use crate::{
    intake::Ready,
    transport::{media, media::Media, params::Params, refused::Refused, reply::Outcome},
};

/// One request.
struct Call {
    shared: web::Data<Shared>,
    http: HttpRequest,
    media: Media,
    record: Rc<Record>,
}

pub(super) async fn post(
    shared: web::Data<Shared>,
    http: HttpRequest,
    mut payload: web::Payload,
) -> HttpResponse {
    let request = http.clone();
    let mut read = false;
    let response = respond(shared, http, async |call| {
        if !media::is_json(headers::text(&call.http, &header::CONTENT_TYPE)) {
            return Err(Refused::new(
                415,
                "UNSUPPORTED_MEDIA_TYPE",
                "send application/json in UTF-8",
            ));
        }
        let caller = call.enter().await?;
        let (limit, time) =
            (call.shared.intake.limits().body_bytes, call.shared.exposure.body_timeout);
        let body = body::read(&call.http, &mut payload, limit, time).await?;
        read = true;
        call.answer(Params::from_body(&body)?, caller, false).await
    })
    .await;
    if !read {
        body::release(&request, payload);
    }
    response
}

pub(super) async fn get(
    shared: web::Data<Shared>,
    http: HttpRequest,
    payload: web::Payload,
) -> HttpResponse {
    let upgrade = headers::text(&http, &header::UPGRADE);
    if upgrade.is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket")) {
        return socket::open(shared, &http, payload).await;
    }
    body::release(&http, payload);
    respond(shared, http, async |call| {
        let caller = call.enter().await?;
        let query = call.http.query_string();
        let limit = call.shared.intake.limits().body_bytes;
        if query.len() > limit {
            let refused = Refused::new(414, "URI_TOO_LONG", "the address is too long: use POST");
            return Err(refused.over(limit, query.len()));
        }
        let pairs = web::Query::<Vec<(String, String)>>::from_query(query)
            .map_err(|_| Refused::bad("the parameters of the address cannot be read"))?;
        call.answer(Params::from_pairs(pairs.into_inner())?, caller, true).await
    })
    .await
}

pub(super) async fn options(
    shared: web::Data<Shared>,
    http: HttpRequest,
    payload: web::Payload,
) -> HttpResponse {
    body::release(&http, payload);
    headers::preflight(&shared.exposure.cors, headers::text(&http, &header::ORIGIN))
}

pub(super) async fn other(
    shared: web::Data<Shared>,
    http: HttpRequest,
    payload: web::Payload,
) -> HttpResponse {
    body::release(&http, payload);
    respond(shared, http, async |_| {
        Err(Refused::new(405, "METHOD_NOT_ALLOWED", "use POST, or GET for queries"))
    })
    .await
}

/// What all methods share: the form of the answer is chosen first, refusals are said in it, browsers are told who may
/// read it.
async fn respond(
    shared: web::Data<Shared>,
    http: HttpRequest,
    answer: impl AsyncFnOnce(&Call) -> Result<HttpResponse, Refused>,
) -> HttpResponse {
    let media = media::negotiate(headers::text(&http, &header::ACCEPT));
    let record = Record::begin(if media == Some(Media::Events) { "sse" } else { "http" });
    let call = Call { shared, http, media: media.unwrap_or(Media::Json), record: record.into() };
    let answered = match media {
        Some(_) => answer(&call).await,
        None => Err(Refused::new(
            406,
            "NOT_ACCEPTABLE",
            "accept application/graphql-response+json, application/json or text/event-stream",
        )),
    };
    let mut response = answered.unwrap_or_else(|refused| {
        call.record.refused(&refused, Some(refused.status(call.media)));
        headers::refuse(&refused, call.media)
    });
    let origin = headers::text(&call.http, &header::ORIGIN);
    headers::share(&call.shared.exposure.cors, origin, response.headers_mut());
    response
}

impl Call {
    /// Finds out whose request it is, and counts it.
    async fn enter(&self) -> Result<Caller, Refused> {
        let caller = self.shared.enter(&self.http).await?;
        self.record.by(&caller);
        Ok(caller)
    }

    async fn answer(
        &self,
        params: Params,
        caller: Caller,
        link: bool,
    ) -> Result<HttpResponse, Refused> {
        let ready = match self.shared.intake.admit(params, self.shared.listings(&caller)) {
            Ok(ready) => ready,
            // Who waits for events can read no status.
            Err(refused) if self.media == Media::Events => {
                self.record.refused(&refused, Some(200));
                return Ok(stream::only(&refused));
            }
            Err(refused) => return Err(refused),
        };
        // A link must not change anything.
        if link && ready.kind == OperationType::Mutation {
            return Err(Refused::new(405, "METHOD_NOT_ALLOWED", "mutations are for POST alone"));
        }
        match (self.media, ready.kind) {
            (Media::Events, _) => {
                let last =
                    headers::text(&self.http, &header::HeaderName::from_static("last-event-id"));
                stream::begin(&self.shared, self.record.clone(), ready, caller, last).await
            }
            (_, OperationType::Subscription) => Err(Refused::new(
                400,
                "SUBSCRIPTION_TRANSPORT",
                "subscriptions need accept: text/event-stream, or a WebSocket of graphql-transport-ws",
            )),
            _ => Ok(self.execute(ready).await),
        }
    }

    async fn execute(&self, ready: Ready) -> HttpResponse {
        let mut entry = Entry::new(self.record.clone(), ready);
        let executed = match execute::execute(&self.shared, &entry.ready).await {
            Ok(executed) => executed,
            Err(refused) => {
                let status = Some(refused.status(self.media));
                entry.ended(Ended { status, ..Ended::given_up(&refused) });
                return headers::refuse(&refused, self.media);
            }
        };
        let invalid = executed.outcome == Outcome::Invalid;
        let status = if invalid && self.media == Media::Response { 400 } else { 200 };
        entry.ended(Ended { status: Some(status), ..executed.ended() });
        let mut answer = headers::begin(status, self.media);
        answer.insert_header(("x-request-id", executed.request_id));
        encode::respond(&self.http, answer, executed.bytes).await
    }
}
