//! What becomes of records in whose keys a secret of the request stood.

use proptest::prelude::*;

use super::*;
use crate::domain::slice::SliceId;
use crate::job_file::Definition;
use crate::mapping::Mapping;
use crate::sources::rest_api::http::redact::Secrets;
use crate::sources::{RawRows, RawSlice, Source};

const JOB: &str = r#"
kind = "rest_api"
primary_key = ["id", "$.of.kind"]
[rest_api]
base_url = "https://api.example.com/"
[fields]
name = {}
"#;
const ONE: &str = "canary-one/é";
const TWO: &str = "canary-two";
/// What ids are made of: secrets, spellings of them, what stands in their place, and what is none.
const IDS: [&str; 9] = [
    ONE,
    TWO,
    "canary-one%2F%C3%A9",
    "Y2FuYXJ5LXR3bw==",
    "a canary-two",
    "***",
    "a ***",
    "canary",
    "7",
];

/// The ids of the records that rows with these ids become, and why the others are set aside.
fn mapped(ids: &[(&str, &str)]) -> (Vec<String>, Vec<ReasonCode>) {
    let name = "keys".parse().unwrap();
    let definition =
        Definition::parse(name, "keys.toml".as_ref(), JOB.to_owned(), &["rest_api"]).unwrap();
    let params = definition.params().unwrap();
    let source = RestApiSource::new(params, "".into(), definition.locators()).unwrap();
    let rows: Vec<_> = ids
        .iter()
        .map(|(id, kind)| json!({ "id": id, "of": { "kind": kind }, "name": TWO, "x": { *id: 1, TWO: 2 } }))
        .collect();
    let body = json!(rows).to_string().into_bytes();
    let response = Response { status: 200, body, ..Response::default() };
    let response = Secrets::of([ONE, TWO]).redact_response(response);
    let page = source.read(&source.first(), response).unwrap();
    let RawSlice::Document(document) = page.into_slice(SliceId::FIRST).raw else {
        panic!("expected a document");
    };
    let rows = RawRows::Document { text: &document.text, context: &document.context };
    let (mapping, mut out) = (Mapping::new(&definition, None), Mapped::default());
    source.map(rows, RawRef::Page(document.hash.into()), &mapping, &mut out).unwrap();
    let ids =
        (0..out.records.len()).map(|at| out.records.get(at).external_id().to_owned()).collect();
    let reasons = out.rejects.iter().map(|(_, reject)| reject.defects[0].reason).collect();
    (ids, reasons)
}

#[test]
fn a_record_whose_key_is_a_secret_is_set_aside_and_merged_with_no_other() {
    let (ids, reasons) = mapped(&[(ONE, "k"), ("7", TWO), ("7", "k"), (TWO, "k")]);
    assert_eq!(ids, ["7|k"]);
    assert_eq!(reasons, [ReasonCode::RedactedKey; 3]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    /// However ids and secrets meet: each row is one record or one reject, and no two ids become one.
    #[test]
    fn rows_stay_apart_or_are_set_aside(
        ids in prop::collection::btree_set(
            (prop::sample::select(&IDS[..]), prop::sample::select(&IDS[..])), 1..12,
        ),
    ) {
        let ids: Vec<_> = ids.into_iter().collect();
        let (records, reasons) = mapped(&ids);
        prop_assert_eq!(records.len() + reasons.len(), ids.len());
        prop_assert!(reasons.iter().all(|reason| *reason == ReasonCode::RedactedKey));
        let told: std::collections::BTreeSet<_> = records.iter().collect();
        prop_assert_eq!(told.len(), records.len());
        let expected: Vec<_> = ids
            .iter()
            .filter(|(id, kind)| [id, kind].iter().all(|part| ["canary", "7"].contains(part)))
            .map(|(id, kind)| format!("{id}|{kind}"))
            .collect();
        prop_assert_eq!(records, expected);
    }
}
