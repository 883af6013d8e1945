//! Opaque texts, as ids and cursors are: base64 with the alphabet that needs no escapes in JSON and in addresses.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// The text of bytes.
pub(crate) fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The same, written into an answer.
pub(crate) fn spell(bytes: &[u8], to: &mut Vec<u8>) {
    let begins = to.len();
    // Four characters for three bytes, and as many at most for the last ones.
    to.resize(begins + bytes.len() / 3 * 4 + 4, 0);
    let (_, free) = to.split_at_mut(begins);
    let written = URL_SAFE_NO_PAD.encode_slice(bytes, free).unwrap_or(0);
    to.truncate(begins + written);
}

/// The bytes of a text. None where it is no such text.
pub(crate) fn read(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_any_length_come_back() {
        for length in 0..100_u8 {
            let bytes: Vec<u8> = (0..length).map(|byte| byte.wrapping_mul(37)).collect();
            let mut answer = b"\"".to_vec();
            spell(&bytes, &mut answer);
            assert_eq!(answer, format!("\"{}", text(&bytes)).as_bytes());
            assert_eq!(read(&text(&bytes)), Some(bytes));
        }
        assert_eq!(read("="), None);
    }
}
