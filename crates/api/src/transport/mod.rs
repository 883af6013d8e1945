//! The languages that requests and answers travel in, without any IO: what a request says, what an answer looks like,
//! and the WebSocket protocol as a machine that is given frames and times. The layer that moves the bytes is `http`.

pub(crate) mod media;
pub(crate) mod origin;
pub(crate) mod params;
pub(crate) mod persisted;
pub(crate) mod refused;
pub(crate) mod reply;
pub(crate) mod sse;
pub(crate) mod ws;

#[cfg(test)]
mod tests;
