//! The envelopes of files, one after the other, in every form in which people have them.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, ErrorKind, Read},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, anyhow, bail};
use flate2::read::MultiGzDecoder;
use serde::Deserialize as _;
use serde_json::value::RawValue;
use wire::Envelope;

use crate::text;

/// A line or an object longer than this is not read: the largest storable message in base64, and some more.
const MAX_LINE: u64 = 32 << 20;

/// What went wrong while reading.
#[derive(Default)]
pub(super) struct Problems {
    /// Why reading ended before the end.
    pub(super) fatal: Option<anyhow::Error>,
    /// Lines and objects that are no envelopes and were skipped.
    pub(super) skipped: u64,
    /// What was wrong with the first of them.
    pub(super) first: String,
}

/// The envelopes of several files. What goes wrong is noted in the problems that it shares with its maker.
pub(super) struct Envelopes {
    files: std::vec::IntoIter<PathBuf>,
    open: Option<Open>,
    ready: std::vec::IntoIter<Envelope>,
    problems: Arc<Mutex<Problems>>,
    skip: bool,
}

struct Open {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    /// Whether each line is a text of its own. Otherwise objects follow one another, with any white space in and between
    /// them, perhaps in a list.
    lines: bool,
    /// Lines or objects that were read.
    count: u64,
    /// Envelopes that were taken from them.
    envelopes: u64,
    /// Lists that were opened and not closed yet.
    depth: usize,
}

impl Envelopes {
    /// Those of these files; `-` is stdin. With `skip` it goes on behind what is no envelope.
    pub(super) fn new(files: Vec<PathBuf>, skip: bool, problems: Arc<Mutex<Problems>>) -> Self {
        let ready = Vec::new().into_iter();
        Envelopes { files: files.into_iter(), open: None, ready, problems, skip }
    }

    /// Reads the next text and parses its envelopes. Returns whether there may be more.
    fn read(&mut self) -> anyhow::Result<bool> {
        let Some(open) = &mut self.open else {
            let Some(path) = self.files.next() else { return Ok(false) };
            self.open = Some(Open::new(path)?);
            return Ok(true);
        };
        let Some(text) = open.next().map_err(|error| open.failed(error))? else {
            self.open = None;
            return Ok(true);
        };
        match wire::json::from_object(&text) {
            Ok(envelopes) => {
                open.envelopes += envelopes.len() as u64;
                self.ready = envelopes.into_iter();
            }
            Err(reason) => self.bad(&reason.to_string())?,
        }
        Ok(true)
    }

    /// Notes a text that is no envelope.
    fn bad(&mut self, reason: &str) -> anyhow::Result<()> {
        let at = self.open.as_ref().map(Open::place).unwrap_or_default();
        if !self.skip {
            bail!("{at}: {reason}; --skip-bad-lines skips what is no envelope");
        }
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        problems.skipped += 1;
        if problems.first.is_empty() {
            problems.first = format!("{at}: {reason}");
        }
        Ok(())
    }
}

impl Iterator for Envelopes {
    type Item = Envelope;

    fn next(&mut self) -> Option<Envelope> {
        loop {
            if let Some(envelope) = self.ready.next() {
                return Some(envelope);
            }
            match self.read() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    self.files = Vec::new().into_iter();
                    self.open = None;
                    let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
                    problems.fatal = Some(error);
                    return None;
                }
            }
        }
    }
}

impl Open {
    fn new(path: PathBuf) -> anyhow::Result<Open> {
        let mut reader = decompressed(&path).with_context(|| cannot_read(&path))?;
        text::skip_mark(&mut reader).with_context(|| cannot_read(&path))?;
        let lines = is_lines(&mut reader).with_context(|| cannot_read(&path))?;
        Ok(Open { path, reader, lines, count: 0, envelopes: 0, depth: 0 })
    }

    /// The text of the next line or object; none at the end.
    fn next(&mut self) -> io::Result<Option<String>> {
        if self.lines { self.next_line() } else { self.next_object() }
    }

    fn next_line(&mut self) -> io::Result<Option<String>> {
        loop {
            let mut line = Vec::new();
            let read = (&mut self.reader).take(MAX_LINE).read_until(b'\n', &mut line)?;
            if read == 0 {
                return Ok(None);
            }
            self.count += 1;
            if !line.trim_ascii().is_empty() {
                // Text that is not UTF-8 is not JSON either, and gets the same error.
                return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
            }
        }
    }

    fn next_object(&mut self) -> io::Result<Option<String>> {
        loop {
            let Some(byte) = self.reader.fill_buf()?.first().copied() else {
                return match self.depth {
                    0 => Ok(None),
                    _ => Err(io::Error::new(ErrorKind::UnexpectedEof, "the list is not closed")),
                };
            };
            match byte {
                b'[' => self.depth += 1,
                b']' => self.depth = self.depth.saturating_sub(1),
                b',' | b' ' | b'\t' | b'\r' | b'\n' => {}
                _ => {
                    self.count += 1;
                    let mut limited = (&mut self.reader).take(MAX_LINE);
                    let mut json = serde_json::Deserializer::from_reader(&mut limited);
                    let text = Box::<RawValue>::deserialize(&mut json)?;
                    return Ok(Some(text.get().to_owned()));
                }
            }
            self.reader.consume(1);
        }
    }

    /// Where it is, for a person.
    fn place(&self) -> String {
        let what = if self.lines { "line" } else { "object" };
        format!("{what} {} of {}", self.count, self.path.display())
    }

    fn failed(&self, error: io::Error) -> anyhow::Error {
        let (path, count) = (self.path.display(), self.envelopes);
        match error.kind() {
            ErrorKind::UnexpectedEof => anyhow!(
                "{path} is cut off after {count} envelopes ({error}): fetch or copy the whole file, and import it again"
            ),
            _ => anyhow::Error::from(error)
                .context(format!("{} ({count} envelopes before it)", self.place())),
        }
    }
}

fn cannot_read(path: &Path) -> String {
    format!("cannot read {}", path.display())
}

/// Opens a file; its first bytes show whether it is gzipped.
fn decompressed(path: &Path) -> io::Result<Box<dyn BufRead + Send>> {
    let raw: Box<dyn Read + Send> = match path.as_os_str() == "-" {
        true => Box::new(io::stdin()),
        false => Box::new(File::open(path)?),
    };
    let mut reader = BufReader::with_capacity(1 << 16, raw);
    if reader.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
        return Ok(Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(reader))));
    }
    Ok(Box::new(reader))
}

/// Whether the text is newline-delimited JSON, judged by its beginning: it is not where a list begins, or where the first line
/// ends within an object.
fn is_lines(reader: &mut Box<dyn BufRead + Send>) -> io::Result<bool> {
    while let [b' ' | b'\t' | b'\r' | b'\n', ..] = reader.fill_buf()? {
        reader.consume(1);
    }
    let mut first = Vec::new();
    reader.take(MAX_LINE).read_until(b'\n', &mut first).or_else(|error| {
        // What came before the cut is read first, and then the cut is met again.
        if error.kind() == ErrorKind::UnexpectedEof { Ok(0) } else { Err(error) }
    })?;
    let lines = match serde_json::from_slice::<&RawValue>(&first) {
        Ok(text) => !text.get().starts_with('['),
        Err(error) => !(first.starts_with(b"[") || error.is_eof() && first.ends_with(b"\n")),
    };
    let rest = std::mem::replace(reader, Box::new(io::empty()));
    *reader = Box::new(io::Cursor::new(first).chain(rest));
    Ok(lines)
}

#[cfg(test)]
mod tests;
