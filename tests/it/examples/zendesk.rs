//! Zendesk: an export that goes on where the last one ended, and says of records that they are deleted.

use kasparro::domain::run::RunStatus;
use serde_json::{Value, json};
use wiremock::{Request, ResponseTemplate};

use super::{Example, Shared, header, query};

/// Events in their order: the ticket, and its status. A cursor is the number of those that were read.
fn answer(events: &[(u64, &str)], request: &Request) -> ResponseTemplate {
    const PAGE: usize = 1000;
    assert_eq!(request.url.path(), "/incremental/tickets/cursor.json");
    assert_eq!(header(request, "authorization"), "Basic YUBiL3Rva2VuOnQ=");
    let query = query(request);
    // Either of the two, never both.
    assert!(query.contains_key("cursor") != query.contains_key("start_time"), "{query:?}");
    let from: usize = query.get("cursor").map_or(0, |cursor| cursor[1..].parse().unwrap());
    let page = &events[from.min(events.len())..(from + PAGE).min(events.len())];
    let tickets: Vec<Value> = page
        .iter()
        .enumerate()
        .map(|(at, (id, status))| {
            json!({ "id": id, "subject": format!("Ticket {id}"), "status": status,
                    "generated_timestamp": 1_767_225_600 + from + at, "updated_at": "2026-01-01T00:00:00Z" })
        })
        .collect();
    let end = from + page.len();
    let body = json!({ "tickets": tickets, "after_cursor": format!("c{end}"), "before_cursor": null,
                       "end_of_stream": end == events.len() });
    ResponseTemplate::new(200).set_body_json(body)
}

#[tokio::test]
async fn an_export_goes_on_at_its_cursor_and_what_it_says_is_deleted_is() {
    let events = Shared::new((0..2_500).map(|id| (id, "open")).collect::<Vec<_>>());
    let example = Example::new(&["zendesk_tickets"], {
        let events = events.clone();
        move |request| events.with(|held| answer(held, request))
    })
    .await;
    example.app.write("secrets/ZENDESK_USER", "a@b/token");
    example.app.write("secrets/ZENDESK_TOKEN", "t");
    let run = example.run("zendesk_tickets").await;
    assert_eq!((run.status, run.counters.inserted), (RunStatus::Success, 2_500), "{run:?}");
    events.with(|held| held.extend([(3, "solved"), (4, "deleted")]));
    let asked = example.requests().await.len();
    let run = example.run("zendesk_tickets").await;
    assert_eq!(run.counters.rows_read, 2, "{run:?}");
    let second = example.requests().await.split_off(asked);
    assert_eq!(query(&second[0])["cursor"], "c2500");
    let gone = "select external_id from unified_records where deleted_at is not null";
    assert_eq!(example.app.texts(gone).await, ["4"]);
    let solved = "select attributes ->> 'status' from unified_records where external_id = '3'";
    assert_eq!(example.app.texts(solved).await, ["solved"]);
    example.end().await;
}
