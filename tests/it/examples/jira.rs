//! Jira Cloud: a token in the body, and a query language that knows minutes in the user's time zone.

use chrono::{DateTime, NaiveDateTime, TimeZone, Utc};
use chrono_tz::Europe::Berlin;
use kasparro::domain::run::RunStatus;
use serde_json::{Value, json};
use wiremock::{Request, ResponseTemplate};

use super::{Example, Shared, header};

fn answer(issues: &[DateTime<Utc>], request: &Request) -> ResponseTemplate {
    assert_eq!((request.method.as_str(), request.url.path()), ("POST", "/search/jql"));
    assert_eq!(header(request, "authorization"), "Basic bWU6dA==");
    let body: Value = request.body_json().expect("JSON");
    let jql = body["jql"].as_str().expect("a query");
    let from = jql.split('\'').nth(1).expect("a time in quotes");
    let from = NaiveDateTime::parse_from_str(from, "%Y-%m-%d %H:%M").expect("minutes, no seconds");
    let from = Berlin.from_local_datetime(&from).earliest().expect("a time").with_timezone(&Utc);
    let mut found: Vec<_> = (0..issues.len()).filter(|n| issues[*n] >= from).collect();
    found.sort_by_key(|n| (issues[*n], *n));
    let at: usize =
        body.get("nextPageToken").map_or(0, |token| token.as_str().unwrap().parse().unwrap());
    let size = body["maxResults"].as_u64().unwrap().min(100) as usize;
    let of_page = found.iter().skip(at).take(size).map(|n| {
        let updated = issues[*n].with_timezone(&Berlin).format("%Y-%m-%dT%H:%M:%S%.3f%z").to_string();
        json!({ "id": (10_000 + n).to_string(), "key": format!("K-{n}"),
                "fields": { "summary": format!("Issue {n}"), "status": { "name": "Done" }, "updated": updated } })
    });
    let mut body =
        json!({ "issues": of_page.collect::<Vec<_>>(), "isLast": at + size >= found.len() });
    if at + size < found.len() {
        body["nextPageToken"] = json!((at + size).to_string());
    }
    ResponseTemplate::new(200).set_body_json(body)
}

#[tokio::test]
async fn issues_are_asked_for_from_the_minute_of_the_last_in_the_users_zone() {
    let begin = Utc.with_ymd_and_hms(2026, 7, 1, 22, 0, 0).single().unwrap();
    let issues = Shared::new(
        (0..250).map(|n| begin + chrono::TimeDelta::seconds(n * 7)).collect::<Vec<_>>(),
    );
    let example = Example::new(&["jira_issues"], {
        let issues = issues.clone();
        move |request| issues.with(|held| answer(held, request))
    })
    .await;
    example.app.write("secrets/JIRA_USER", "me");
    example.app.write("secrets/JIRA_TOKEN", "t");
    let run = example.run("jira_issues").await;
    assert_eq!((run.status, run.counters.inserted), (RunStatus::Success, 250), "{run:?}");
    let asked = example.requests().await.len();
    issues.with(|held| held[9] = begin + chrono::TimeDelta::seconds(250 * 7));
    let run = example.run("jira_issues").await;
    assert_eq!((run.counters.inserted, run.counters.updated), (0, 1), "{run:?}");
    let second: Value = example.requests().await[asked].body_json().expect("JSON");
    // The last was at 22:29:03 UTC; ten minutes before, to the minute, two hours ahead in Berlin.
    let jql = second["jql"].as_str().expect("a query");
    assert!(jql.starts_with("updated >= '2026-07-02 00:19' ORDER BY"), "{jql}");
    example.end().await;
}
