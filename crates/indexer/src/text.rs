//! Texts that people give in files: UTF-8, with or without the mark that some editors put before it.

use std::{
    fs,
    io::{self, BufRead, ErrorKind},
    path::Path,
};

use anyhow::Context as _;

const UTF8_MARK: &[u8] = &[0xef, 0xbb, 0xbf];

/// Skips the byte order mark of UTF-8 at the beginning of a text.
///
/// # Errors
/// An error that says how to convert the text when it is UTF-16.
pub fn skip_mark(reader: &mut impl BufRead) -> io::Result<()> {
    let start = reader.fill_buf()?;
    let is_utf16 = start.starts_with(&[0xff, 0xfe])
        || start.starts_with(&[0xfe, 0xff])
        // Without a mark: JSON, names and addresses begin with ASCII.
        || matches!(start, [0, first, ..] | [first, 0, ..] if *first != 0);
    if is_utf16 {
        let message = "the text is UTF-16: convert it with `iconv -f UTF-16 -t UTF-8`";
        return Err(io::Error::new(ErrorKind::InvalidData, message));
    }
    if start.starts_with(UTF8_MARK) {
        reader.consume(UTF8_MARK.len());
    }
    Ok(())
}

/// Reads a small file of text.
///
/// # Errors
/// A sentence with the path and the reason.
pub fn read(path: &Path) -> anyhow::Result<String> {
    let read = || {
        let bytes = fs::read(path)?;
        let mut rest = bytes.as_slice();
        skip_mark(&mut rest)?;
        io::read_to_string(rest)
    };
    read().with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_skipped_and_utf16_is_explained() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wallets.txt");
        let read_back = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            read(&path).map_err(|error| format!("{error:#}"))
        };
        assert_eq!(read_back("\u{feff}0x1\nü".as_bytes()).unwrap(), "0x1\nü");
        assert_eq!(read_back(b"").unwrap(), "");
        assert_eq!(read_back(b"a").unwrap(), "a");
        for utf16 in [&b"\xff\xfe0\0"[..], b"\xfe\xff\x000", b"0\0x\0", b"\x000\0x"] {
            let said = read_back(utf16).unwrap_err();
            assert!(said.contains("iconv") && said.contains("wallets.txt"), "{said}");
        }
        assert!(read_back(b"\xff\xff").unwrap_err().contains("UTF-8"));
    }
}
