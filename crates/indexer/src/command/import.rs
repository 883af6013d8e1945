//! `import`: envelopes from files, through the queue like everything else.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use anyhow::{Context as _, bail};
use flate2::read::MultiGzDecoder;
use ingest::import::{self, Import, Imported};
use tokio::sync::watch;
use wire::Envelope;

use super::Context;
use crate::{progress, reach, role};

/// A line longer than this is no envelope: the largest storable message in base64, and some room.
const MAX_LINE: u64 = 32 << 20;

/// Reads envelopes from newline-delimited JSON, plain or gzipped, and sends them through the queue.
/// Importing the same again changes nothing.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The files; `-` is stdin
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The name that the envelopes are labelled with
    #[arg(long, default_value = "import")]
    source: String,
    /// Goes on behind lines that are no envelopes, and counts them
    #[arg(long)]
    skip_bad_lines: bool,
}

/// Runs the command.
pub async fn run(args: Args, context: Context) -> anyhow::Result<()> {
    let store = reach::migrated_store(&context.config).await?;
    let queue = reach::queue(&context.config).await?;
    let pages = role::pages(&context.config)?;
    let import = Import { queue, store, source: args.source.clone(), pages };
    let trouble = Arc::new(Mutex::new(Trouble::default()));
    let lines = Lines {
        files: args.files.into_iter(),
        open: None,
        trouble: trouble.clone(),
        skip: args.skip_bad_lines,
    };

    let bar = progress::counter("envelopes sent");
    let (tell, mut told) = watch::channel(Imported::default());
    let showing = tokio::spawn({
        let bar = bar.clone();
        async move {
            while told.changed().await.is_ok() {
                bar.set_position(told.borrow().envelopes);
            }
        }
    });
    let done = import::run(import, lines, tell, context.shutdown.token()).await?;
    showing.abort();
    bar.finish_and_clear();

    let trouble =
        std::mem::take(&mut *trouble.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    println!("{} envelopes ({} bytes) are in the queue, confirmed", done.envelopes, done.bytes);
    if trouble.skipped > 0 {
        println!(
            "{} lines were no envelopes and were skipped; the first: {}",
            trouble.skipped, trouble.first
        );
    }
    if let Some(error) = trouble.fatal {
        return Err(error
            .context("stopped early; what was sent before it stays, and importing again is free"));
    }
    if !done.complete {
        bail!("interrupted; import again to go on: what is there already vanishes as duplicates");
    }
    Ok(())
}

#[derive(Default)]
struct Trouble {
    fatal: Option<anyhow::Error>,
    skipped: u64,
    first: String,
}

struct Open {
    path: PathBuf,
    number: u64,
    reader: Box<dyn BufRead + Send>,
}

/// The envelopes of several files, one after the other; what is wrong with a line is told outside.
struct Lines {
    files: std::vec::IntoIter<PathBuf>,
    open: Option<Open>,
    trouble: Arc<Mutex<Trouble>>,
    skip: bool,
}

impl Iterator for Lines {
    type Item = Envelope;

    fn next(&mut self) -> Option<Envelope> {
        loop {
            match self.step() {
                Ok(None) => return None,
                Ok(Some(Some(envelope))) => return Some(envelope),
                Ok(Some(None)) => {}
                Err(error) => {
                    self.trouble.lock().unwrap_or_else(std::sync::PoisonError::into_inner).fatal =
                        Some(error);
                    return None;
                }
            }
        }
    }
}

impl Lines {
    /// One line. `None`: the end; `Some(None)`: nothing on this one.
    fn step(&mut self) -> anyhow::Result<Option<Option<Envelope>>> {
        let Some(open) = &mut self.open else {
            let Some(path) = self.files.next() else { return Ok(None) };
            let reader = open(&path).with_context(|| format!("cannot read {}", path.display()))?;
            self.open = Some(Open { path, number: 0, reader });
            return Ok(Some(None));
        };
        let mut line = Vec::new();
        open.number += 1;
        let read = (&mut open.reader).take(MAX_LINE).read_until(b'\n', &mut line);
        let read = read.with_context(|| format!("cannot read {}", open.path.display()))?;
        if read == 0 {
            self.open = None;
            return Ok(Some(None));
        }
        if line.trim_ascii().is_empty() {
            return Ok(Some(None));
        }
        let parsed = std::str::from_utf8(&line)
            .map_err(|_| "it is not UTF-8".to_owned())
            .and_then(|text| wire::json::from_line(text).map_err(|error| error.to_string()));
        match parsed {
            Ok(envelope) => Ok(Some(Some(envelope))),
            Err(reason) => {
                let what = format!("line {} of {}: {reason}", open.number, open.path.display());
                if !self.skip {
                    bail!("{what}; --skip-bad-lines goes on behind such lines");
                }
                let mut trouble =
                    self.trouble.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                trouble.skipped += 1;
                if trouble.first.is_empty() {
                    trouble.first = what;
                }
                Ok(Some(None))
            }
        }
    }
}

/// Opens a file, gzipped or not: the first bytes tell.
fn open(path: &Path) -> std::io::Result<Box<dyn BufRead + Send>> {
    let raw: Box<dyn Read + Send> = match path.as_os_str() == "-" {
        true => Box::new(std::io::stdin()),
        false => Box::new(File::open(path)?),
    };
    let mut reader = BufReader::with_capacity(1 << 16, raw);
    if reader.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
        return Ok(Box::new(BufReader::new(MultiGzDecoder::new(reader))));
    }
    Ok(Box::new(reader))
}
