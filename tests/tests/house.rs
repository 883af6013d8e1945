//! The rules of the house, held by a test where a compiler or a linter cannot hold them.
#![cfg(test)]

mod house {
    mod floors;
    mod metrics;
    mod rooms;
    mod tree;
    mod walls;
}
