//! Full syncs, recordings, and the rows of a page.

use crate::domain::shape::FieldType;
use crate::values::row::{Cell, Row};

use super::super::data_selector::DataSelector;
use super::*;
use crate::sources::rows::json::JsonRow;

const NUMBERED: &str = r#"
    paginator = { type = "page_number", param = "page", size_param = "n", size = 2 }
    recording = "recordings/coins"
"#;

/// A fake API with two records on page 1 and one on page 2.
async fn two_pages() -> MockServer {
    let server = MockServer::start().await;
    for (number, body) in [
        ("1", "[{\"id\":\"a\",\"p\":8.397908418131883e-07},\n{\"id\":\"b\"}]"),
        ("2", "[ {\"id\":\"c\"} ]"),
    ] {
        Mock::given(query_param("page", number))
            .and(query_param("n", "2"))
            .respond_with(ResponseTemplate::new(200).set_body_string(body))
            .mount(&server)
            .await;
    }
    server
}

async fn full_sync(source: &RestApiSource, access: Access) -> Vec<Page> {
    let mut pages = Vec::new();
    let mut position = Some(source.first());
    while let Some(at) = position {
        let page = source.fetch(&at, access).await.unwrap();
        position = page.next.clone();
        pages.push(page);
    }
    pages
}

#[tokio::test]
async fn what_was_recorded_is_read_offline_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let server = two_pages().await;
    let online = source_with(&server.uri(), NUMBERED, folder.path(), &[]);
    let recorded = full_sync(&online, Access::Record).await;
    drop(server);
    let offline = source_with("http://127.0.0.1:1", NUMBERED, folder.path(), &[]);
    let read = full_sync(&offline, Access::Offline).await;

    let facts = |pages: &[Page]| -> Vec<_> {
        let fact = |page: &Page| (page.body.clone(), page.hash, page.records, page.shape.clone());
        pages.iter().map(fact).collect()
    };
    assert_eq!(facts(&recorded), facts(&read));
    assert_ne!(read[0].request, read[1].request);
    // The last two say that there is no such page.
    assert_eq!(read.len(), 4);
    assert!(read[0].body.contains("8.397908418131883e-07"));
    assert!(read[1].url.starts_with("recordings/coins/page-0002-"), "{}", read[1].url);
}

/// The key, the number of the attempt and where the page comes from do not matter.
#[tokio::test]
async fn the_same_request_has_one_fingerprint_from_the_network_and_from_a_recording() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key"), CANARY).unwrap();
    let server = two_pages().await;
    let auth = |key: &str| {
        let auth = "{ type = 'api_key', in = 'query', name = 'k', value = { file = 'KEY' } }";
        format!("{NUMBERED}auth = {}\n", auth.replace("KEY", key))
    };
    let fingerprints = async |lines: &str, access| -> Vec<ContentHash> {
        let source = source_with(&server.uri(), lines, folder.path(), &[]);
        full_sync(&source, access).await.iter().map(|page| page.request).collect()
    };
    let with_key = fingerprints(&auth("key"), Access::Record).await;
    assert_eq!(with_key.len(), 4);
    assert_eq!(with_key[0], {
        let asked = format!("GET\n{}/coins?n=2&page=1\n", server.uri());
        ContentHash::of(asked.as_bytes())
    });
    assert_eq!(fingerprints(NUMBERED, Access::Network).await, with_key);
    assert_eq!(fingerprints(&auth("no-such-key"), Access::Offline).await, with_key);
}

#[tokio::test]
async fn a_recording_is_read_where_the_address_is_not_known() {
    let folder = tempfile::tempdir().unwrap();
    let recording = folder.path().join("recordings/coins");
    std::fs::create_dir_all(&recording).unwrap();
    std::fs::write(recording.join("page-0001.json"), "[{}]").unwrap();
    let text = "base_url = { env = 'KASPARRO_TEST_NEVER_SET' }\nrecording = 'recordings/coins'";
    let params = toml::from_str(text).unwrap();
    let source = RestApiSource::new(params, folder.path().to_owned(), vec![]).unwrap();
    let page = source.fetch(&source.first(), Access::Offline).await.unwrap();
    assert_eq!((page.records, page.next), (1, None));
}

#[tokio::test]
async fn a_page_that_was_not_recorded_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let source = source_with("http://127.0.0.1:1", NUMBERED, folder.path(), &[]);
    let error = source.fetch(&source.first(), Access::Offline).await.unwrap_err();
    assert_eq!(error.class(), FailureClass::Permanent);
    assert!(error.text().contains("recordings/coins"), "{error}");

    let recording = folder.path().join("recordings/coins");
    std::fs::create_dir_all(&recording).unwrap();
    std::fs::write(recording.join("page-0001.json"), "[{},{}]").unwrap();
    let page = source.fetch(&source.first(), Access::Offline).await.unwrap();
    let error = source.fetch(&page.next.unwrap(), Access::Offline).await.unwrap_err();
    assert!(error.text().contains("page-0002.json"), "{error}");

    std::fs::write(recording.join("page-0001.json"), "[{},").unwrap();
    let error = source.fetch(&source.first(), Access::Offline).await.unwrap_err();
    assert_eq!(error.class(), FailureClass::Permanent, "a file does not fix itself: {error}");
}

#[tokio::test]
async fn without_a_recording_neither_record_nor_offline_is_possible() {
    let server = MockServer::start().await;
    Mock::given(method("GET")).respond_with(html()).expect(0).mount(&server).await;
    let source = source(&server.uri(), "");
    for access in [Access::Record, Access::Offline] {
        let error = source.fetch(&source.first(), access).await.unwrap_err();
        assert_eq!(error.class(), FailureClass::Permanent);
        assert!(error.text().contains("recording = "), "{error}");
    }
}

#[tokio::test]
async fn an_api_that_answers_the_same_page_for_ever_is_found_out() {
    let server = api(ResponseTemplate::new(200).set_body_string("[{},{}]")).await;
    let source = source(&server.uri(), NUMBERED);
    let page = source.fetch(&source.first(), Access::Network).await.unwrap();
    let error = source.fetch(&page.next.unwrap(), Access::Network).await.unwrap_err();
    assert_eq!(error.class(), FailureClass::Permanent);
    assert!(error.text().contains("the paginator repeats itself"), "{error}");
}

#[tokio::test]
async fn the_shape_of_a_page_tells_types_apart_and_counts_nulls() {
    let body = r#"[{"a":1,"b":null},{"a":1.0,"b":{}},7,{"a":1e3,"c":[],"d":true,"e":"1"}]"#;
    let server = api(ResponseTemplate::new(200).set_body_string(body)).await;
    let source = source(&server.uri(), "data_selector = \"$[*]\"");
    let page = source.fetch(&source.first(), Access::Network).await.unwrap();
    assert_eq!((page.records, page.shape.rows, page.shape.types_inferred), (4, 3, false));
    let types = |field: &str| -> Vec<_> {
        let seen = page.shape.fields[field].types.iter();
        seen.map(|(kind, seen)| (*kind, seen.count, seen.first.row)).collect()
    };
    assert_eq!(types("a"), [(FieldType::Integer, 1, 1), (FieldType::Number, 2, 2)]);
    assert_eq!(types("b"), [(FieldType::Object, 1, 2)]);
    assert_eq!(page.shape.fields["b"].nulls, 1);
    assert_eq!(types("c"), [(FieldType::Array, 1, 4)]);
    assert_eq!(types("d"), [(FieldType::Boolean, 1, 4)]);
    assert_eq!(types("e"), [(FieldType::String, 1, 4)]);
    let first = &page.shape.fields["a"].types[&FieldType::Integer].first;
    assert_eq!(first.raw_ref, RawRef::Page(page.hash.into()).to_string());
}

#[tokio::test]
async fn the_shipped_recording_is_five_pages_of_1200_coins() {
    let jobs = Path::new(env!("CARGO_MANIFEST_DIR")).join("jobs");
    let text = std::fs::read_to_string(jobs.join("coingecko_api.toml")).unwrap();
    let file: toml::Table = toml::from_str(&text).unwrap();
    let params = file["rest_api"].clone().try_into().unwrap();
    let source = RestApiSource::new(params, jobs, vec![]).unwrap();
    let pages = full_sync(&source, Access::Offline).await;
    assert_eq!(pages.len(), 5);
    assert_eq!(pages.iter().map(|page| page.records).sum::<i64>(), 1200);
    assert_eq!(pages[0].shape.fields["roi"].types.len(), 1);
}

/// Collects what the rows of `body` show in their cells.
fn cells(body: &str, from: &[&str]) -> (Vec<String>, Mapped) {
    let source = source_with("http://127.0.0.1:1", "", Path::new("."), from);
    let mut out = Mapped::default();
    let seen = std::cell::RefCell::new(Vec::new());
    let raw = RawRef::Page(ContentHash::of(body.as_bytes()).into());
    let map = |row: &JsonRow<'_>, _: &str, raw_row: i64, _: &mut Mapped| {
        for locator in 0..from.len() {
            seen.borrow_mut().push(match row.cell(locator) {
                Cell::Missing => format!("{raw_row} missing"),
                Cell::Null => format!("{raw_row} null"),
                Cell::Text(text) => format!("{raw_row} {text}"),
                Cell::Json(value) => format!("{raw_row} json {value}"),
            });
        }
        Ok(())
    };
    source.reader.each_row((body, None), raw, &mut out, map).unwrap();
    (seen.into_inner(), out)
}

#[test]
fn cells_are_found_by_key_path_and_query() {
    let body = r#"[{"id":"007","a":{"b":8.397908418131883e-07},"n":null,"l":[1,2.50],"x y":true}]"#;
    let from = ["id", "x y", "$.a.b", "$.n", "$.no", "$.l[1]", "$.l[*]", "$.l[9]", "$.a.b.c"];
    let expected = [
        "1 007",
        "1 json true",
        "1 json 8.397908418131883e-07",
        "1 null",
        "1 missing",
        "1 json 2.50",
        "1 json [1,2.50]",
        "1 missing",
        "1 missing",
    ];
    assert_eq!(cells(body, &from).0, expected);
}

#[test]
fn what_is_no_object_is_set_aside_and_the_others_keep_their_number() {
    let (seen, out) = cells(r#"[{"id":"a"}, "b", [1.50], null, {"id":"c"}]"#, &["id"]);
    assert_eq!(seen, ["1 a", "5 c"]);
    let rejects: Vec<_> = out
        .rejects
        .iter()
        .map(|(_, reject)| {
            assert_eq!(reject.defects[0].reason, ReasonCode::NotAnObject);
            (reject.raw_row, String::from_utf8_lossy(&reject.raw).into_owned())
        })
        .collect();
    assert_eq!(rejects, [(2, "\"b\"".into()), (3, "[1.50]".into()), (4, "null".into())]);
}

#[test]
fn a_selector_takes_a_list_one_object_or_nothing() {
    for (selector, body, count) in [
        ("$", "[{},{}]", 2),
        ("$", "{\"id\":1}", 1),
        ("$.data", "{\"data\":[{}]}", 1),
        ("$.data", "{\"data\":null}", 0),
        ("$.data[*]", "{\"data\":null}", 0),
        ("$.groups[*].rows[*]", "{\"groups\":[{\"rows\":[{},{}]},{\"rows\":[{}]}]}", 3),
        ("$.groups[*].rows[*]", "{\"groups\":[]}", 0),
        ("$.rows[?@.live]", "{\"rows\":[{\"live\":1},{},{\"live\":1}]}", 2),
    ] {
        let records = DataSelector::new(selector).unwrap();
        assert_eq!(records.select(body).unwrap().len(), count, "{selector} of {body}");
    }
}

#[tokio::test]
async fn one_unreadable_record_does_not_take_its_page_with_it() {
    let body = r#"[ {"id":"a"}, {"id" : "\ud83d", "n":1} , {"id":"c"} ]"#;
    let server = api(ResponseTemplate::new(200).set_body_string(body)).await;
    let source = source(&server.uri(), "");
    let page = source.fetch(&source.first(), Access::Network).await.unwrap();
    assert_eq!((page.records, page.shape.rows), (3, 2));

    let (seen, out) = cells(&page.body, &["id"]);
    assert_eq!(seen, ["1 a", "3 c"]);
    let (_, reject) = out.rejects.iter().next().unwrap();
    assert_eq!((reject.raw_row, reject.defects[0].reason), (2, ReasonCode::InvalidJson));
    assert_eq!(reject.raw, br#"{"id" : "\ud83d", "n":1}"#);
}
