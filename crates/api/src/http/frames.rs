//! The length that a frame of a WebSocket announces is looked at before the frame is there: the library gathers a frame to
//! its end, however long it says it is, and looks only then.

use actix_web::{FromRequest as _, HttpRequest, dev, error::PayloadError, web};
use futures::StreamExt as _;

/// Bytes of the longest header: two, eight of length, four of mask.
const HEADER: usize = 14;

/// The same bytes, until a frame announces more than a limit: there it ends with an overflow.
pub(super) fn bounded(
    http: &HttpRequest,
    payload: web::Payload,
    limit: usize,
) -> Result<web::Payload, actix_web::Error> {
    let mut frames = Frames::new(limit);
    let bytes = payload.map(move |bytes| {
        let bytes = bytes?;
        if frames.pass(&bytes) { Ok(bytes) } else { Err(PayloadError::Overflow) }
    });
    let mut stream = dev::Payload::Stream { payload: bytes.boxed_local() };
    web::Payload::from_request(http, &mut stream).into_inner()
}

/// Where the bytes of frames begin and end.
struct Frames {
    limit: u64,
    header: Vec<u8>,
    /// Of the frame that is under way.
    left: u64,
}

impl Frames {
    fn new(limit: usize) -> Frames {
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        Frames { limit, header: Vec::with_capacity(HEADER), left: 0 }
    }

    /// Looks at what comes next. Whether no frame in it is too long.
    fn pass(&mut self, mut bytes: &[u8]) -> bool {
        loop {
            let skipped = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            bytes = &bytes[skipped..];
            self.left -= skipped as u64;
            let Some((first, rest)) = bytes.split_first() else { return true };
            self.header.push(*first);
            bytes = rest;
            if let Some(length) = length(&self.header) {
                self.header.clear();
                self.left = length;
                if length > self.limit {
                    return false;
                }
            }
        }
    }
}

/// The length that a header tells, once it is whole.
fn length(header: &[u8]) -> Option<u64> {
    let second = *header.get(1)?;
    let more = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    if header.len() < 2 + more + mask {
        return None;
    }
    let told = &header[2..2 + more];
    let length = told.iter().fold(0, |length, byte| length << 8 | u64::from(*byte));
    Some(if more == 0 { u64::from(second & 0x7f) } else { length })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(length: u64, masked: bool) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut bytes = match length {
            0..126 => vec![0x81, mask | length as u8],
            126..0x1_0000 => {
                [vec![0x81, mask | 126], (length as u16).to_be_bytes().to_vec()].concat()
            }
            _ => [vec![0x81, mask | 127], length.to_be_bytes().to_vec()].concat(),
        };
        if masked {
            bytes.extend([7; 4]);
        }
        bytes
    }

    #[test]
    fn a_frame_is_refused_when_it_says_how_long_it_is() {
        let whole = |length: u64| [frame(length, true), vec![0xff; length as usize]].concat();
        let fine = [whole(0), whole(125), whole(126), whole(70_000), frame(3, false), vec![1; 3]];
        let fine = fine.concat();
        for size in [1, 2, 3, 7, 1_000, fine.len()] {
            let mut frames = Frames::new(70_000);
            assert!(fine.chunks(size).all(|part| frames.pass(part)), "in pieces of {size}");
            for long in [70_001, 5 << 20, u64::MAX] {
                let mut frames = Frames::new(70_000);
                let head = frame(long, true);
                let parts: Vec<bool> = head.chunks(size).map(|part| frames.pass(part)).collect();
                assert_eq!(parts.last(), Some(&false), "{long} in pieces of {size}");
            }
        }
    }
}
