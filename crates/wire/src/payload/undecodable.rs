//! Why bytes could not be understood.

use std::fmt;

const MAX_CHARS: usize = 300;

/// Why an envelope could not be decoded, for people; at most 300 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecodable(String);

impl Undecodable {
    pub(crate) fn because(reason: impl fmt::Display) -> Self {
        let mut text = reason.to_string();
        if let Some((end, _)) = text.char_indices().nth(MAX_CHARS) {
            text.truncate(end);
        }
        Self(text)
    }
}

impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Undecodable {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_bounded() {
        assert_eq!(Undecodable::because("ü".repeat(400)).to_string(), "ü".repeat(300));
        assert_eq!(Undecodable::because("short").to_string(), "short");
    }
}
