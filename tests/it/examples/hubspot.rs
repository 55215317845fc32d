//! HubSpot: search by POST, the cursor in the body, and no more than 10,000 results of one search.

use kasparro::domain::run::RunStatus;
use serde_json::{Value, json};
use wiremock::{Request, ResponseTemplate};

use super::{Example, Shared, header};

const LIMIT: usize = 10_000;
/// 2026-01-01T00:00:00Z in milliseconds.
const BEGIN: i64 = 1_767_225_600_000;

fn answer(times: &[i64], request: &Request) -> ResponseTemplate {
    assert_eq!(
        (request.method.as_str(), request.url.path()),
        ("POST", "/crm/v3/objects/contacts/search")
    );
    assert_eq!(header(request, "authorization"), "Bearer pat");
    let body: Value = request.body_json().expect("JSON");
    let filter = &body["filterGroups"][0]["filters"][0];
    assert_eq!(
        (&filter["propertyName"], &filter["operator"]),
        (&json!("lastmodifieddate"), &json!("GTE"))
    );
    let from: i64 = match &filter["value"] {
        Value::String(text) => text.parse().expect("milliseconds"),
        other => other.as_i64().expect("milliseconds"),
    };
    let after: usize =
        body.get("after").map_or(0, |after| after.as_str().unwrap().parse().unwrap());
    let limit = body["limit"].as_u64().unwrap().min(200) as usize;
    if after + limit > LIMIT {
        let message = "The maximum value for 'after' is 10000";
        return ResponseTemplate::new(400)
            .set_body_json(json!({ "status": "error", "message": message }));
    }
    let mut found: Vec<_> = (0..times.len()).filter(|n| BEGIN + times[*n] >= from).collect();
    found.sort_by_key(|n| (times[*n], *n));
    let results: Vec<_> = found
        .iter()
        .skip(after)
        .take(limit)
        .map(|n| {
            let when = chrono::DateTime::from_timestamp_millis(BEGIN + times[*n]).unwrap();
            let when = when.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
            json!({ "id": n.to_string(), "properties": { "email": format!("c{n}@example.com"),
                    "lastmodifieddate": when } })
        })
        .collect();
    let mut body = json!({ "total": found.len(), "results": results });
    if after + limit < found.len() {
        body["paging"] = json!({ "next": { "after": (after + limit).to_string() } });
    }
    ResponseTemplate::new(200).set_body_json(body)
}

#[tokio::test]
async fn contacts_beyond_what_one_search_shows_are_read_by_another_that_goes_on_from_the_last() {
    // Three of each moment, so that the boundary between two searches is within a moment.
    let times = Shared::new((0..10_400).map(|n| n / 3 * 1000).collect::<Vec<i64>>());
    let example = Example::new(&["hubspot_contacts"], {
        let times = times.clone();
        move |request| times.with(|held| answer(held, request))
    })
    .await;
    example.app.write("secrets/HUBSPOT_TOKEN", "pat");
    // The limit of four searches a second would take longer than the test is worth.
    let text = example.app.read("hubspot_contacts.toml").replace("requests = 4", "requests = 4000");
    example.app.write("hubspot_contacts.toml", text);
    let run = example.run("hubspot_contacts").await;
    assert!(matches!(run.status, RunStatus::Success | RunStatus::SuccessWithDuplicates), "{run:?}");
    assert_eq!(run.counters.inserted, 10_400, "{run:?}");
    times.with(|held| held[5] = 99_000_000);
    let run = example.run("hubspot_contacts").await;
    assert_eq!((run.counters.inserted, run.counters.updated), (0, 1), "{run:?}");
    example.end().await;
}
