//! The rules of `crates/README.md` that neither a compiler nor a linter can check.
#![cfg(test)]

mod structure {
    mod code;
    mod dependencies;
    mod documentation;
    mod files;
    mod metrics;
    mod tree;
}
