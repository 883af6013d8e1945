//! The welcomes of two captures of official V3 clients, held against what is known about them.

use std::collections::BTreeMap;

use wire::{Generation, Payload, PayloadKind, Welcome, WrapperAlgorithm, admit, json, read};

use crate::material::{VERIFIER, lines, rows};

fn welcome(line: &str) -> (String, Welcome) {
    let envelope = json::from_line(line).unwrap();
    let name = admit(&envelope).unwrap();
    let reading = read(name, envelope.timestamp_ns, &envelope.message, &VERIFIER);
    assert_eq!((reading.generation, reading.kind()), (Generation::V3, PayloadKind::Welcome));
    let Ok(Payload::Welcome(welcome)) = reading.payload else { panic!() };
    assert_eq!(welcome.created_ns, envelope.timestamp_ns);
    assert!(0 < welcome.data_bytes && welcome.data_bytes < envelope.message.len());
    (name.to_owned(), welcome)
}

#[test]
fn every_welcome_reads_as_the_truth_says() {
    let (lines, truth) = (lines("v3-a/welcomes.ndjson.gz"), rows("v3-a/welcomes.truth.ndjson.gz"));
    assert_eq!((lines.len(), truth.len()), (148, 148));
    let mut forms = BTreeMap::new();
    for (line, row) in lines.iter().zip(&truth) {
        let (topic, welcome) = welcome(line);
        assert_eq!(topic, row["topic"]);
        assert_eq!(welcome.id, row["id"].as_u64().unwrap());
        assert_eq!(hex::encode(welcome.installation_key), row["installationId"]);
        assert_eq!(welcome.is_pointer, row["form"] == "welcome_pointer");
        assert_eq!(i64::from(welcome.wrapper_algorithm.code()), row["wrapperAlgorithm"]);
        let hpke = welcome.hpke_public_key.map(|key| key.len());
        let symmetric = welcome.wrapper_algorithm == WrapperAlgorithm::SYMMETRIC_KEY;
        assert_eq!(hpke, (!symmetric).then_some(1_216), "{row}");
        *forms.entry((welcome.is_pointer, welcome.wrapper_algorithm.code())).or_insert(0) += 1;
    }
    assert_eq!(forms, BTreeMap::from([((false, 2), 39), ((false, 3), 15), ((true, 2), 94)]));
}

#[test]
fn clients_before_pointers_sealed_with_the_curve() {
    let lines = lines("v3-old/welcomes.ndjson.gz");
    assert_eq!(lines.len(), 17);
    for line in &lines {
        let (_, welcome) = welcome(line);
        assert!(!welcome.is_pointer);
        assert_eq!(welcome.wrapper_algorithm, WrapperAlgorithm::CURVE25519);
        assert_eq!(welcome.hpke_public_key.unwrap().len(), 32);
    }
}
