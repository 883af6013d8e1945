//! What the documents say about the code is true.

use super::tree::{FILES, none};

/// The words in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_invariant_names_tests_that_exist() {
    let map = FILES.iter().find(|file| file.path == "crates/README.md").unwrap();
    let (_, invariants) = map.text.split_once("\n## Invariants\n").unwrap();
    let (invariants, _) = invariants.split_once("\n## ").unwrap();
    let exists = |name: &str| {
        let function = format!("fn {name}(");
        FILES.iter().any(|file| file.is_rust() && file.text.contains(&function))
    };
    // A name of a test is a sentence; those of columns and of parameters are shorter.
    let named = quoted(invariants)
        .filter(|word| {
            word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        })
        .filter(|word| word.matches('_').count() >= 3);
    let (mut count, mut wrong) = (0, Vec::new());
    for name in named {
        count += 1;
        if !exists(name) {
            wrong.push(name.to_owned());
        }
    }
    assert!(count > 20, "these are not all tests: {count}");
    none("crates/README.md names a test that does not exist", wrong);
}

#[test]
fn every_file_that_the_map_names_exists() {
    let map = FILES.iter().find(|file| file.path == "crates/README.md").unwrap();
    let mut wrong = Vec::new();
    for path in quoted(&map.text).filter(|word| word.contains('/') && word.ends_with(".rs")) {
        // Paths are relative to the workspace, to `crates` or to `src` of a crate; `<…>` stands for any name.
        let exists = FILES.iter().any(|file| {
            file.path == path
                || file.path == format!("crates/{path}")
                || file.path.ends_with(&format!("/src/{path}"))
        });
        if !exists && !path.contains('<') {
            wrong.push(path.to_owned());
        }
    }
    none("crates/README.md names a file that does not exist", wrong);
}
