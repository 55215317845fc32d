//! Rate limits that are shown and changed while runs are under way, over the HTTP API and the command line.

use std::time::Duration;

use kasparro::db::rate_limits::{self, Limit};
use serde_json::{Value, json};

use crate::api::{TestApi, problem};
use crate::app::TestApp;
use crate::process::call;

const HOUR: Duration = Duration::from_secs(3600);

async fn take(app: &TestApp, key: &str) -> Result<(), Duration> {
    let limit = Some(Limit { requests: 1, per: HOUR });
    rate_limits::take(&app.pool, key, limit).await.unwrap().map_err(|none| none.delay)
}

#[tokio::test]
async fn a_limit_that_is_changed_counts_from_the_next_request_on_until_it_is_taken_back() {
    let api = TestApi::admitting_this_machine().await;
    let app = &api.app;
    let body = json!({ "requests": 3600, "per_seconds": 3600 });
    problem(api.patch_json("/rate-limits/shop", body.clone()).await, 404, "unknown-rate-limit")
        .await;
    assert_eq!(take(app, "shop").await, Ok(()));
    assert!(take(app, "shop").await.unwrap_err() > HOUR / 2);
    for bad in [
        json!({}),
        json!({ "requests": 1 }),
        json!({ "requests": 0, "per_seconds": 1 }),
        json!({ "requests": 1, "per_seconds": 0 }),
        json!({ "until": "2030-01-01T00:00:00Z" }),
        json!({ "requests": 1, "per_seconds": 1, "back_to_job_file": true }),
        json!({ "reqests": 1 }),
    ] {
        problem(api.patch_json("/rate-limits/shop", bad).await, 422, "invalid-request").await;
    }
    let changed: Value = api.patch_json("/rate-limits/shop", body).await.json().await.unwrap();
    assert_eq!((&changed["key"], &changed["requests"]), (&json!("shop"), &json!(1)));
    assert_eq!(changed["changed"]["requests"], 3600);
    assert!(changed["changed"]["changed_by"].as_str().unwrap().starts_with("address:"));
    // A token a second.
    let wait = take(app, "shop").await.unwrap_err();
    assert!(wait <= Duration::from_secs(1), "{wait:?}");

    rate_limits::block(&app.pool, "shop", HOUR).await.unwrap();
    let listed: Value = api.get("/rate-limits").await.json().await.unwrap();
    assert!(listed["items"][0]["blocked_until"].is_string(), "{listed}");
    let body = json!({ "back_to_job_file": true, "unblock": true });
    let back: Value = api.patch_json("/rate-limits/shop", body).await.json().await.unwrap();
    assert_eq!((&back["changed"], &back["blocked_until"]), (&Value::Null, &Value::Null));
    assert!(take(app, "shop").await.unwrap_err() > HOUR / 2);
    api.app.database.close().await;
}

#[tokio::test]
async fn a_change_ends_by_itself_and_a_source_without_a_limit_can_be_given_one() {
    let app = TestApp::empty().await;
    let free = async || rate_limits::take(&app.pool, "source:a", None).await.unwrap().is_ok();
    rate_limits::correct(&app.pool, "source:a", 9, None).await.unwrap();
    assert!(free().await && free().await);
    let done =
        call(&app, &["rate-limits", "set", "source:a", "--requests", "1", "--per", "1h"]).await;
    done.code(0).prints(&["the rate limit \"source:a\" is 1 request per 1h now"]);
    let mut taken = 0;
    while free().await {
        taken += 1;
    }
    assert!(taken <= 1, "{taken}");
    let done = call(&app, &["rate-limits"]).await;
    done.code(0).prints(&["source:a", "1 request per 1h", "by cli:"]);
    let ended = "update rate_limits set override_until = now() - interval '1 second'";
    sqlx::query(ended).execute(&app.pool).await.unwrap();
    assert!(free().await && free().await);
    let listed = call(&app, &["rate-limits", "--json"]).await.code(0).json();
    assert_eq!(listed["items"][0]["changed"], Value::Null, "{listed}");
    let done = call(&app, &["rate-limits", "reset", "nobody"]).await;
    done.code(1).complains(&["no request has drawn from a rate limit \"nobody\""]);
    app.database.close().await;
}

#[tokio::test]
async fn there_are_never_more_requests_in_a_period_than_the_limit_however_many_ask() {
    let app = TestApp::empty().await;
    let limit = Some(Limit { requests: 20, per: Duration::from_secs(1) });
    let worker = async || {
        let mut granted = Vec::new();
        loop {
            let mut transaction = app.pool.begin().await.unwrap();
            let taken = rate_limits::take(&mut *transaction, "shop", limit).await.unwrap();
            let now = "select extract(epoch from clock_timestamp())::double precision";
            let now: f64 = sqlx::query_scalar(now).fetch_one(&mut *transaction).await.unwrap();
            transaction.commit().await.unwrap();
            match taken {
                Ok(()) => granted.push(now),
                Err(none) => tokio::time::sleep(none.delay.min(Duration::from_millis(50))).await,
            }
            if granted.first().is_some_and(|first| now - first > 2.6) {
                return granted;
            }
        }
    };
    let (one, two, three) = tokio::join!(worker(), worker(), worker());
    let mut granted = [one, two, three].concat();
    granted.sort_by(f64::total_cmp);
    // A little less than a period, for what lies between a decision and its time here.
    for (place, first) in granted.iter().enumerate() {
        let within = granted[place..].iter().take_while(|at| *at - first < 0.9).count();
        assert!(within <= 20, "{within} from {first}: {granted:?}");
    }
    // And not much fewer: twice and a half of a period.
    assert!(granted.len() >= 40, "{granted:?}");
    let left = rate_limits::list(&app.pool, None, None, 9).await.unwrap()[0].tokens.unwrap();
    assert!((0.0..=20.0).contains(&left), "{left}");
    // Of a limit that was lowered meanwhile more were made than it allows.
    let low = async |requests| {
        let limit = Some(Limit { requests, per: HOUR });
        rate_limits::take(&app.pool, "low", limit).await.unwrap().is_ok()
    };
    assert_eq!([low(9).await, low(9).await, low(1).await], [true, true, false]);
    let low = rate_limits::list(&app.pool, Some("low"), None, 9).await.unwrap();
    assert_eq!(low[0].tokens, Some(0.0));
    app.database.close().await;
}
