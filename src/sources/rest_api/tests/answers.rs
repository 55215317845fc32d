//! What an answer means: statuses behind the last page, and what is no page.

use super::*;
use crate::sources::rest_api::http::said;
use crate::sources::{RawSlice, SliceContent};

const NUMBERED: &str = "paginator = { type = \"page_number\" }\nretry = { max_attempts = 3 }";

/// The second page of an API that answers it like this.
async fn second_page(answer: ResponseTemplate) -> Result<Page, SourceError> {
    let server = MockServer::start().await;
    Mock::given(query_param("page", "1"))
        .respond_with(ResponseTemplate::new(200).set_body_string("[{\"id\":1}]"))
        .mount(&server)
        .await;
    Mock::given(query_param("page", "2")).respond_with(answer).mount(&server).await;
    let source = source(&server.uri(), NUMBERED);
    let first = source.fetch(&source.first(), Access::Network).await.unwrap();
    source.fetch(&first.next.unwrap(), Access::Network).await
}

#[tokio::test]
async fn what_apis_answer_behind_the_last_page_is_evidence_there_and_an_error_on_the_first() {
    let words = json!({ "message": "no such page" });
    for status in [400, 404, 410, 416, 422] {
        let answer = || ResponseTemplate::new(status).set_body_json(&words);
        let page = second_page(answer()).await.unwrap();
        assert_eq!((page.said, page.status, page.records), (Said::Nothing, status, 0));
        assert!(page.more.unwrap().contains("no such page"), "{status}");
        let error = failure_of(NUMBERED, answer()).await;
        assert_eq!(error.class(), FailureClass::Permanent);
        assert!(error.text().contains("no such page"), "{error}");
    }
    for (status, class) in [(204, FailureClass::Permanent), (200, FailureClass::Transient)] {
        let page = second_page(ResponseTemplate::new(status)).await.unwrap();
        assert_eq!((page.said, page.records), (Said::Nothing, 0));
        let error = failure_of(NUMBERED, ResponseTemplate::new(status)).await;
        assert_eq!(error.class(), class);
        assert!(error.text().contains("without a body"), "{error}");
    }
}

#[tokio::test]
async fn an_answer_that_is_no_page_gives_no_record_whatever_it_holds() {
    let answer = ResponseTemplate::new(404).set_body_json(json!([{ "id": 7 }]));
    let page = second_page(answer).await.unwrap();
    let SliceContent { raw: RawSlice::Document(document), rows: 0, .. } =
        page.into_slice(crate::domain::slice::SliceId::FIRST)
    else {
        panic!("expected a document without rows");
    };
    assert!(said::is_no_page(&document.context) && said::unkept(&document.text).is_some());
}

#[tokio::test]
async fn an_error_of_graphql_fails_its_page_also_beside_records() {
    let lines = r#"
        graphql = { query = "{ things { id } }" }
        data_selector = "$.data.things[*]"
    "#;
    let with = |errors: &str| format!(r#"{{"data":{{"things":[{{"id":1}}]}},"errors":{errors}}}"#);
    assert_eq!(read(lines, &with("[]")).unwrap().records, 1);
    let error = read(lines, &with(r#"[{"message":"no access to `b`"}]"#)).unwrap_err();
    assert_eq!(error.class(), FailureClass::Permanent);
    assert!(error.text().contains("no access to `b`"), "{error}");
    let throttled = r#"[{"message":"Throttled","extensions":{"code":"THROTTLED"}}]"#;
    let error = read(lines, &with(throttled)).unwrap_err();
    assert!(matches!(error.class(), FailureClass::NotYet(_)), "{error}");
    let heedless = format!("{lines}\nignore_errors = true");
    assert_eq!(read(&heedless, &with(throttled)).unwrap().records, 1);
}
