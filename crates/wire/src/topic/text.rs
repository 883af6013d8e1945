//! The text form of topics. Topics are bytes: text in V1 to V3, a kind byte and an identifier in the later generations.

use std::borrow::Cow;

/// Kinds of binary topics, by their first byte.
const KINDS: [&str; 4] =
    ["group_messages_v1", "welcome_messages_v1", "identity_updates_v1", "key_packages_v1"];
/// Of topics whose bytes are neither text nor of a known kind, and of texts that look like another's text form.
const OTHER: &str = "bytes";

/// The text form of these bytes: text topics as they are, binary ones as `<kind>/<lower-case hex>`. Different
/// bytes have different texts, and [`from_text`] returns the bytes.
#[must_use]
pub fn to_text(topic: &[u8]) -> Cow<'_, str> {
    if let [kind, identifier @ ..] = topic
        && let Some(kind) = KINDS.get(usize::from(*kind))
    {
        return format!("{kind}/{}", hex::encode(identifier)).into();
    }
    match std::str::from_utf8(topic) {
        Ok(text) if !text.contains('\0') && from_text(text) == topic => text.into(),
        _ => format!("{OTHER}/{}", hex::encode(topic)).into(),
    }
}

/// The bytes of a text form.
#[must_use]
pub fn from_text(text: &str) -> Cow<'_, [u8]> {
    let own = || Cow::Borrowed(text.as_bytes());
    let Some((kind, digits)) = text.split_once('/') else { return own() };
    if digits.starts_with("0x") || digits.bytes().any(|digit| digit.is_ascii_uppercase()) {
        return own();
    }
    let Ok(bytes) = hex::decode(digits) else { return own() };
    if kind == OTHER {
        return bytes.into();
    }
    match KINDS.iter().zip(0_u8..).find(|(known, _)| **known == kind) {
        Some((_, kind)) => [[kind].as_slice(), &bytes].concat().into(),
        None => own(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_of_known_topics() {
        for (topic, text) in [
            (b"/xmtp/0/m-x/proto".as_slice(), "/xmtp/0/m-x/proto"),
            (b"\x00\x0a\x1b", "group_messages_v1/0a1b"),
            (b"\x03", "key_packages_v1/"),
            (b"\xff\xfe", "bytes/fffe"),
            (b"group_messages_v1/0a1b", "bytes/67726f75705f6d657373616765735f76312f30613162"),
            (b"group_messages_v1/0A", "group_messages_v1/0A"),
            (b"bytes/", "bytes/62797465732f"),
        ] {
            assert_eq!(to_text(topic), text);
            assert_eq!(from_text(text), topic);
        }
    }

    proptest! {
        #[test]
        fn every_topic_comes_back_from_its_text(topic in prop::collection::vec(any::<u8>(), 0..40)) {
            let text = to_text(&topic).into_owned();
            prop_assert!(!text.contains('\0'));
            prop_assert_eq!(from_text(&text).into_owned(), topic);
        }

        #[test]
        fn every_text_topic_comes_back_from_its_text(topic in "(bytes|key_packages_v1|[a-z/])?/?[0-9a-f]{0,6}") {
            let text = to_text(topic.as_bytes()).into_owned();
            prop_assert_eq!(from_text(&text).into_owned(), topic.into_bytes());
        }
    }
}
