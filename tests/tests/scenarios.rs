//! What the program does, seen from outside.
#![cfg(test)]

mod scenarios {
    mod broker;
    mod failures;
    mod hostile;
    mod log;
    mod paging;
    mod rebuilds;
    mod refusals;
    mod tour;
    mod truth;
}
