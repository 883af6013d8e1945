//! The way to the reader of a WebSocket. Only so many bytes are on it: answers that nobody takes would fill the memory.

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_web::{
    HttpResponse,
    body::{BodySize, BoxBody, MessageBody},
    web::Bytes,
};
use actix_ws::{CloseReason, Closed, Session};
use tokio::{sync::Notify, time::timeout};

use crate::transport::ws::SocketLimits;

/// Bytes on the way: while there are more, nothing is added.
const ON_THE_WAY: usize = 256 << 10;

/// Why nothing more can be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// Nobody took what was said before.
    Slow,
    /// The connection is gone.
    Gone,
}

/// Says frames to a connection.
pub(super) struct Outlet {
    session: Session,
    way: Rc<Way>,
    write: Duration,
    farewell: Duration,
}

#[derive(Default)]
struct Way {
    bytes: Cell<usize>,
    left: Notify,
}

impl Way {
    fn enter(&self, bytes: usize) {
        self.bytes.set(self.bytes.get().saturating_add(bytes));
    }

    fn leave(&self, bytes: usize) {
        self.bytes.set(self.bytes.get().saturating_sub(bytes));
        self.left.notify_one();
    }

    async fn room(&self) {
        while self.bytes.get() > ON_THE_WAY {
            self.left.notified().await;
        }
    }
}

/// Bytes of a frame from a server: two, and two or eight more where the length needs them.
fn framed(payload: usize) -> usize {
    payload
        + match payload {
            0..126 => 2,
            126..0x1_0000 => 4,
            _ => 10,
        }
}

impl Outlet {
    /// The way through a response that was made for a session.
    pub(super) fn new(
        session: Session,
        response: HttpResponse,
        limits: &SocketLimits,
    ) -> (HttpResponse, Outlet) {
        let way = Rc::<Way>::default();
        let metered = way.clone();
        let response = response.map_body(|_, body| BoxBody::new(Metered { body, way: metered }));
        (response, Outlet { session, way, write: limits.write, farewell: limits.farewell })
    }

    /// Says something, as soon as there is room for it.
    pub(super) async fn text(&mut self, text: String) -> Result<(), Lost> {
        let length = text.len();
        self.say(length, async move |session| session.text(text).await).await
    }

    /// Asks whether somebody is there.
    pub(super) async fn ping(&mut self) -> Result<(), Lost> {
        self.say(0, async |session| session.ping(b"").await).await
    }

    /// Answers that question.
    pub(super) async fn pong(&mut self, bytes: &[u8]) -> Result<(), Lost> {
        self.say(bytes.len(), async |session| session.pong(bytes).await).await
    }

    async fn say(
        &mut self,
        length: usize,
        say: impl AsyncFnOnce(&mut Session) -> Result<(), Closed>,
    ) -> Result<(), Lost> {
        let saying = async {
            self.way.room().await;
            self.way.enter(framed(length));
            say(&mut self.session).await
        };
        match timeout(self.write, saying).await {
            Ok(said) => said.map_err(|Closed| Lost::Gone),
            Err(_) => Err(Lost::Slow),
        }
    }

    /// Says the last frame, behind all that is on the way, if that moves soon.
    pub(super) async fn close(&self, reason: Option<CloseReason>) {
        let _ = timeout(self.farewell, self.session.clone().close(reason)).await;
    }
}

/// A body that tells what leaves it.
struct Metered {
    body: BoxBody,
    way: Rc<Way>,
}

impl MessageBody for Metered {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let next = ready!(Pin::new(&mut self.body).poll_next(cx));
        if let Some(Ok(bytes)) = &next {
            self.way.leave(bytes.len());
        }
        Poll::Ready(next)
    }
}

impl Drop for Metered {
    /// Whoever waits for room shall see that the connection is gone.
    fn drop(&mut self) {
        self.way.leave(usize::MAX);
    }
}
