//! GitHub: `Link` headers, `since` that includes, `ETag`s whose 304 is free, and 403 in place of 429.

use kasparro::domain::run::RunStatus;
use serde_json::{Value, json};
use wiremock::{Request, ResponseTemplate};

use super::{Example, Shared, header, query};

/// What the double holds.
struct Repository {
    /// By number, from 1: when each was updated, in minutes since the year began.
    updated: Vec<u32>,
    /// How many requests are refused next, as the limit is used up.
    refuse: usize,
    /// Issues that were deleted, which the list of issues does not tell.
    gone: Vec<usize>,
}

impl Repository {
    fn new(issues: u32) -> Self {
        Self { updated: (1..=issues).collect(), refuse: 0, gone: Vec::new() }
    }

    fn time(minutes: u32) -> String {
        let (days, hours, minutes) = (minutes / 1440, minutes / 60 % 24, minutes % 60);
        format!("2026-01-{:02}T{hours:02}:{minutes:02}:00Z", days + 1)
    }

    fn issue(number: usize, updated: u32) -> Value {
        let mut issue = json!({
            "id": 1_000_000 + number, "number": number, "title": format!("Issue {number}"),
            "html_url": format!("https://github.com/dlt-hub/dlt/issues/{number}"),
            "labels": [{ "name": "bug" }], "state": "open", "updated_at": Self::time(updated),
        });
        // Pull requests are listed among the issues.
        if number.is_multiple_of(5) {
            issue["pull_request"] = json!({ "url": "https://api.github.com/x" });
        }
        issue
    }

    fn answer(&mut self, request: &Request) -> ResponseTemplate {
        assert_eq!(header(request, "authorization"), "Bearer t0ken");
        if self.refuse > 0 {
            self.refuse -= 1;
            return ResponseTemplate::new(403)
                .insert_header("x-ratelimit-remaining", "0")
                .insert_header("retry-after", "1")
                .set_body_json(json!({ "message": "API rate limit exceeded for user ID 1." }));
        }
        if let Some(issue) = request.url.path().strip_suffix("/comments") {
            let number = issue.rsplit('/').next().and_then(|number| number.parse().ok()).unwrap();
            return self.comments(number, request);
        }
        let query = query(request);
        let size: usize = query["per_page"].parse::<usize>().unwrap().min(100);
        let page: usize = query.get("page").map_or(1, |page| page.parse().unwrap());
        assert_eq!(request.url.path(), "/repos/dlt-hub/dlt/issues");
        let items = self.issues(&query["since"]);
        let of_page: Vec<_> = items.iter().skip((page - 1) * size).take(size).collect();
        let body = serde_json::to_string(&of_page).unwrap();
        let etag = format!(
            "W/\"{:x}\"",
            body.bytes()
                .fold(7u64, |hash, byte| { hash.wrapping_mul(31).wrapping_add(byte.into()) })
        );
        if header(request, "if-none-match") == etag {
            return ResponseTemplate::new(304).insert_header("etag", etag.as_str());
        }
        let answer = ResponseTemplate::new(200).insert_header("etag", etag.as_str());
        match page * size < items.len() {
            true => answer
                .insert_header("link", link(request, page, items.len().div_ceil(size)).as_str()),
            false => answer,
        }
        .set_body_raw(body, "application/json")
    }

    /// As many comments as the number of the issue says; one that was deleted has none, and is not known.
    fn comments(&self, issue: usize, request: &Request) -> ResponseTemplate {
        if self.gone.contains(&issue) {
            return ResponseTemplate::new(410)
                .set_body_json(json!({ "message": "This issue was deleted" }));
        }
        let size: usize = query(request)["per_page"].parse::<usize>().unwrap().min(100);
        let page: usize = query(request).get("page").map_or(1, |page| page.parse().unwrap());
        let all = (1..=issue).map(|n| {
            json!({ "id": issue * 1_000 + n, "body": format!("Comment {n}"), "updated_at": Self::time(1) })
        });
        let of_page: Vec<_> = all.skip((page - 1) * size).take(size).collect();
        let answer = ResponseTemplate::new(200).set_body_json(of_page);
        match page * size < issue {
            true => {
                answer.insert_header("link", link(request, page, issue.div_ceil(size)).as_str())
            }
            false => answer,
        }
    }

    fn issues(&self, since: &str) -> Vec<Value> {
        let mut all: Vec<_> =
            self.updated.iter().enumerate().map(|(at, when)| (*when, at + 1)).collect();
        all.sort_unstable();
        let seen = |when: u32| Self::time(when).as_str() >= since;
        all.into_iter()
            .filter(|(when, _)| seen(*when))
            .map(|(when, n)| Self::issue(n, when))
            .collect()
    }
}

fn link(request: &Request, page: usize, last: usize) -> String {
    let to = |page: usize| {
        let mut url = request.url.clone();
        // The host as it was asked for.
        let host = format!("http://{}{}", header(request, "host"), request.url.path());
        url = url.join(&host).unwrap();
        let others: Vec<_> =
            request.url.query_pairs().into_owned().filter(|(name, _)| name != "page").collect();
        url.query_pairs_mut().clear().extend_pairs(others).append_pair("page", &page.to_string());
        url
    };
    format!("<{}>; rel=\"next\", <{}>; rel=\"last\"", to(page + 1), to(last))
}

async fn example(names: &[&str], repository: &Shared<Repository>) -> Example {
    let repository = repository.clone();
    let example =
        Example::new(names, move |request| repository.with(|held| held.answer(request))).await;
    example.app.write("secrets/GITHUB_TOKEN", "t0ken");
    example
}

#[tokio::test]
async fn issues_are_read_by_links_and_then_only_what_changed() {
    let repository = Shared::new(Repository::new(237));
    let example = example(&["github_issues"], &repository).await;
    repository.with(|held| held.refuse = 1);
    let run = example.run("github_issues").await;
    // Every fifth is a pull request, which the job file leaves out.
    assert_eq!(run.status, RunStatus::Success, "{run:?}");
    assert_eq!((run.counters.rows_read, run.counters.inserted), (190, 190));
    let asked = example.requests().await.len();
    assert_eq!(asked, 4, "three pages, one of them refused for a second");

    repository.with(|held| held.updated[3] = 20_000);
    let run = example.run("github_issues").await;
    assert_eq!(run.counters.updated, 1, "{run:?}");
    let second = example.requests().await.split_off(asked);
    assert_eq!(second.len(), 1, "one page holds what changed since");
    assert_eq!(query(&second[0])["since"], "2026-01-01T03:55:00Z", "two minutes before the last");
    let records = example.app.number("select count(*) from unified_records").await;
    assert_eq!(records, 190);
    example.end().await;
}

#[tokio::test]
async fn comments_are_read_of_the_issues_that_changed_when_the_run_of_these_has_ended() {
    let repository = Shared::new(Repository::new(104));
    repository.with(|held| held.gone = vec![7]);
    let example = example(&["github_issues", "github_comments"], &repository).await;
    let ended = "select status from etl_runs where source = 'github_comments' order by id";
    example.run("github_issues").await;
    assert_eq!(example.app.texts(ended).await, ["success"]);
    let comments = "select count(*) from unified_records where source = 'github_comments'";
    let all = (1..=104).filter(|number: &i64| number % 5 != 0 && *number != 7).sum::<i64>();
    assert_eq!(example.app.number(comments).await, all);
    let of =
        "select attributes ->> 'issue_title' from unified_records where external_id = '103101'";
    assert_eq!(example.app.texts(of).await, ["Issue 103"]);

    let asked = example.requests().await.len();
    repository.with(|held| held.updated[2] = 20_000);
    example.run("github_issues").await;
    let second = example.requests().await.split_off(asked);
    let paths: Vec<_> = second.iter().map(|request| request.url.path()).collect();
    let of_third = "/repos/dlt-hub/dlt/issues/3/comments";
    assert_eq!(paths, ["/repos/dlt-hub/dlt/issues", of_third], "one issue has changed");
    assert_eq!(
        example
            .app
            .number("select failed_tasks::bigint from etl_runs order by id desc limit 1")
            .await,
        0
    );
    example.end().await;
}
