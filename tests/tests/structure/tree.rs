//! The files of the project.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

/// The folder of the project.
pub(super) static ROOT: LazyLock<PathBuf> =
    LazyLock::new(|| Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf());

/// A file, by its path within the project.
pub(super) struct File {
    pub(super) path: String,
    pub(super) text: String,
}

/// Every text file of the project: those that git tracks, and new ones that it does not ignore.
pub(super) static FILES: LazyLock<Vec<File>> = LazyLock::new(|| {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(&*ROOT)
        .output();
    let paths = match listed {
        Ok(output) if output.status.success() => {
            let names = String::from_utf8(output.stdout).unwrap();
            names.split_terminator('\0').map(str::to_owned).collect()
        }
        // Not a clone: every file, except for those that a build creates.
        _ => walk(&ROOT),
    };
    let read = |path: String| Some(File { text: fs::read_to_string(ROOT.join(&path)).ok()?, path });
    let files: Vec<File> = paths.into_iter().filter_map(read).collect();
    assert!(files.len() > 100, "these are not all files: {}", files.len());
    files
});

fn walk(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            if ![".git", "target", "data", "node_modules"].iter().any(|other| name == *other) {
                found.extend(walk(&path));
            }
        } else {
            found.push(path.strip_prefix(&*ROOT).unwrap().to_str().unwrap().to_owned());
        }
    }
    found
}

impl File {
    /// Whether it is Rust.
    pub(super) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The crate that the file is product code of; None for tests and for files outside of crates.
    pub(super) fn product(&self) -> Option<&str> {
        let (name, rest) = self.path.strip_prefix("crates/")?.split_once('/')?;
        let test = rest.contains("/tests/")
            || rest.ends_with("/tests.rs")
            || rest.ends_with("/testing.rs");
        (rest.starts_with("src/") && !test && !rest.ends_with("_tests.rs")).then_some(name)
    }

    /// Its code, without comments and without the tests at its end.
    pub(super) fn code(&self) -> String {
        let text = self.text.split("\n#[cfg(test)]\nmod ").next().unwrap();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// Fails with a line for each violation.
pub(super) fn none(what: &str, wrong: Vec<String>) {
    assert!(wrong.is_empty(), "{what}:\n{}", wrong.join("\n"));
}
