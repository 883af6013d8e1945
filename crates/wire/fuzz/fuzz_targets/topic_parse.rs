//! Any name of a topic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::{Topic, topic::name};

fuzz_target!(|name: &str| {
    let topic = Topic::parse(name);
    topic.generation(name);
    if let Topic::Contact(owner) = topic {
        assert!(name.eq_ignore_ascii_case(&name::contact(owner)));
    }
});
