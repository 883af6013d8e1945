//! Live readers. One task of the process follows the log ([`Hub`]); what it finds goes to groups of readers who want the
//! same thing in the same words ([`group`]), which find out what each row says once for all of them; a [`reader`]
//! replays what it missed from pages of the [`past`], which are worked out once for its group as well, and then takes what
//! the group tells.
//!
//! **Why nothing is missed or told twice.** Everything goes by position. What a group tells carries the span of
//! positions that it speaks for, `(from, upto]`, and a reader knows the position up to which it has told everything. A
//! span that begins behind that position is told from there; one that begins beyond it leaves a gap, which the reader
//! fills from the past before it goes on. So a group may drop what it likes, and a reader may come at any moment.
//!
//! Each table has a position of its own, up to which no row will appear any more: the served head, or less where the table's
//! projection is stale. Nobody is told beyond the position of the table that he follows.
//!
//! A page of the past speaks for a span as well, up to its last row, or to the table's position when it was read: no
//! row becomes visible there later, so it is true for everybody who stands in it, however he came there, and for as long
//! as it is kept. Whoever stands in the middle of a page leaves out what is at or before his own position; whoever goes
//! beyond the head that he looked at leaves out what his group tells of it. A page that fails is a failure for those who
//! wait for it, and for nobody else.
//!
//! **Why memory is bounded.** A reader takes the next span when its connection took the last one. Groups keep what they
//! told for a while, bounded in number and bytes; a live reader for whom it was forgotten is too slow: it is told so,
//! with the cursor to resume from. Pages of the past are bounded in rows and bytes each, and together in number, bytes
//! and age. They are worked out by tasks of their own, a few at once: however many come back, questions get
//! connections, and a reader who stands still holds none.

mod group;
mod hub;
mod past;
mod reader;
mod ring;
mod telling;
mod wanted;

pub(crate) use hub::Hub;
pub(crate) use reader::{Event, follow};
pub(crate) use wanted::{Asked, Item, Opened, Wanted};
