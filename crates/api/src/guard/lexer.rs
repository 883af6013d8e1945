//! The first look at a document: how many words and signs it has, and how deep its brackets go. It keeps a counter and
//! no stack, so that what the parser will have to descend into is known before it does.

use super::limits::{Kind, Limits, Refusal};

/// Refuses what is too large to be parsed.
pub(crate) fn scan(text: &str, limits: &Limits) -> Result<(), Refusal> {
    if text.len() > limits.document_bytes {
        return Err(Refusal::over(Kind::DocumentBytes, limits.document_bytes, text.len()));
    }
    let (tokens, deepest) = count(text.as_bytes());
    if tokens > limits.tokens {
        return Err(Refusal::over(Kind::Tokens, limits.tokens, tokens));
    }
    if deepest > limits.nesting {
        return Err(Refusal::over(Kind::Nesting, limits.nesting, deepest));
    }
    Ok(())
}

/// How many tokens, and the most brackets that are open at once.
fn count(bytes: &[u8]) -> (usize, usize) {
    let (mut tokens, mut open, mut deepest) = (0_usize, 0_usize, 0_usize);
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let rest = &bytes[at..];
        let length = match byte {
            b' ' | b'\t' | b'\r' | b'\n' | b',' => {
                at += 1;
                continue;
            }
            // A byte order mark.
            0xef if rest.starts_with(b"\xef\xbb\xbf") => {
                at += 3;
                continue;
            }
            b'#' => {
                at += run(rest, |byte| byte != b'\n' && byte != b'\r');
                continue;
            }
            b'"' => string(rest),
            b'.' if rest.starts_with(b"...") => 3,
            byte if is_name(byte) || byte == b'-' => {
                1 + run(&rest[1..], |byte| is_name(byte) || byte == b'.')
            }
            _ => 1,
        };
        tokens += 1;
        match byte {
            b'{' | b'[' | b'(' => {
                open += 1;
                deepest = deepest.max(open);
            }
            b'}' | b']' | b')' => open = open.saturating_sub(1),
            _ => {}
        }
        at += length;
    }
    (tokens, deepest)
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn run(bytes: &[u8], is: impl Fn(u8) -> bool) -> usize {
    bytes.iter().take_while(|byte| is(**byte)).count()
}

/// Bytes of the string that begins here. One that never ends is an error that the parser will find.
fn string(bytes: &[u8]) -> usize {
    if bytes.starts_with(b"\"\"\"") {
        let mut at = 3;
        while at < bytes.len() {
            if bytes[at..].starts_with(b"\\\"\"\"") {
                at += 4;
            } else if bytes[at..].starts_with(b"\"\"\"") {
                return at + 3;
            } else {
                at += 1;
            }
        }
        return bytes.len();
    }
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            // What follows on the next line is no part of it: it is counted.
            b'\n' | b'\r' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_counted_as_the_language_defines_them() {
        for (text, tokens, deepest) in [
            ("", 0, 0),
            ("{a}", 3, 1),
            ("\u{feff}query Q($a: [Int!]! = -1.5e3) { b(c: $a) @d ...E }", 27, 2),
            ("# { { {\n{ a }", 3, 1),
            (r#"{ a(b: "} \" {", c: """ \""" } """) }"#, 11, 2),
            ("{ a(b: \"open\n{ { { c", 10, 5),
            ("}}}}{", 5, 1),
            ("\"", 1, 0),
            ("\"\"\"", 1, 0),
            ("\\", 1, 0),
        ] {
            assert_eq!(count(text.as_bytes()), (tokens, deepest), "{text}");
        }
    }
}
