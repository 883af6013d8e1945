//! Live readers. One task of the process follows the log ([`Hub`]); what it finds goes to groups of readers who want the
//! same thing in the same words ([`group`]), which find out what each row says once for all of them; a [`reader`]
//! replays from the database what it missed, and then takes what its group tells.
//!
//! **Why nothing is missed or told twice.** Everything goes by position. What a group tells carries the span of
//! positions that it speaks for, `(from, upto]`, and a reader knows the position up to which it has told everything. A
//! span that begins behind that position is told from there; one that begins beyond it leaves a gap, which the reader
//! fills from the database before it goes on. So a group may drop what it likes, and a reader may come at any moment.
//!
//! **Why memory is bounded.** A reader takes the next span when its connection took the last one. Groups keep what they
//! told for a while, bounded in number and bytes; a live reader for whom it was forgotten is too slow: it is told so,
//! with the cursor to resume from.

mod group;
mod hub;
mod past;
mod reader;
mod ring;
mod telling;
mod wanted;

pub(crate) use hub::Hub;
pub(crate) use reader::{Event, follow};
pub(crate) use wanted::{Item, Opened, Wanted};
