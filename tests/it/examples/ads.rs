//! An advertising network: an export job for each day, a refresh token that is replaced, packed files.

use std::collections::BTreeMap;
use std::io::Write;

use chrono::{Days, NaiveDate, Utc};
use flate2::Compression;
use flate2::write::GzEncoder;
use kasparro::domain::run::RunStatus;
use kasparro::job_file::setting::SecretText;
use serde_json::{Value, json};
use wiremock::{Request, ResponseTemplate};

use super::{Example, Shared, header};

/// The jobs by their ids: from when until when, and how often they were looked at.
type Jobs = BTreeMap<String, (String, String, u32)>;

fn report(since: &str, until: &str) -> Vec<u8> {
    let mut text = "date,campaign_id,campaign_name,spend\n".to_owned();
    let (mut day, end): (NaiveDate, NaiveDate) = (since.parse().unwrap(), until.parse().unwrap());
    while day < end {
        (1..=3)
            .for_each(|id| text.push_str(&format!("{day},{id},\"Campaign {id}, all\",{id}.50\n")));
        day = day + Days::new(1);
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn answer(jobs: &mut Jobs, request: &Request) -> ResponseTemplate {
    let path = request.url.path().to_owned();
    if path == "/oauth/token" {
        let answer =
            json!({ "access_token": "access", "expires_in": 3600, "refresh_token": "refresh-2" });
        return ResponseTemplate::new(200).set_body_json(answer);
    }
    assert_eq!(header(request, "authorization"), "Bearer access", "{path}");
    if path == "/reports" {
        let asked: Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(asked["level"], "campaign");
        let bound = |key: &str| asked[key].as_str().unwrap().to_owned();
        let id = format!("r-{}", jobs.len() + 1);
        jobs.insert(id.clone(), (bound("since"), bound("until"), 0));
        return ResponseTemplate::new(202).set_body_json(json!({ "report_id": id }));
    }
    if let Some(id) = path.strip_prefix("/reports/") {
        let (_, _, looks) = jobs.get_mut(id).unwrap();
        *looks += 1;
        let done = match *looks {
            1 => json!({ "status": "PROCESSING" }),
            _ => {
                json!({ "status": "COMPLETED", "download_url": [format!("/files/{id}.csv.gz?sig=x")] })
            }
        };
        return ResponseTemplate::new(200).set_body_json(done);
    }
    let id = path.trim_start_matches("/files/").trim_end_matches(".csv.gz");
    let (since, until, _) = &jobs[id];
    ResponseTemplate::new(200).set_body_bytes(report(since, until))
}

#[tokio::test]
async fn each_day_is_a_report_of_its_own_and_the_next_run_asks_for_the_last_seven_again() {
    let jobs = Shared::new(Jobs::new());
    let mut example = Example::new(&["ads_report"], {
        let jobs = jobs.clone();
        move |request| jobs.with(|held| answer(held, request))
    })
    .await;
    example.app.secret_key = Some(SecretText::from("0123456789abcdef0123456789abcdef".to_owned()));
    for name in ["ADS_ID", "ADS_SECRET", "ADS_REFRESH"] {
        example.app.write(&format!("secrets/{name}"), name);
    }
    let begin = (Utc::now() - chrono::TimeDelta::days(12)).date_naive().to_string();
    let text = example.app.read("ads_report.toml");
    let text = text.replace("2025-01-01", &begin).replace("every = \"15s\"", "every = \"20ms\"");
    example.app.write("ads_report.toml", text);
    let run = example.run("ads_report").await;
    assert_eq!(run.status, RunStatus::Success, "{run:?}");
    let days = jobs.with(|held| held.len() as i64);
    assert!((11..=13).contains(&days), "{days}");
    let rows = run.counters.rows_read;
    assert!(rows >= 33 && rows == run.counters.inserted, "{run:?}");
    let name =
        "select distinct name || ' ' || price from unified_records where external_id like '%|2'";
    assert_eq!(example.app.texts(name).await, ["Campaign 2, all 2.50"]);

    let run = example.run("ads_report").await;
    assert_eq!(run.status, RunStatus::SuccessWithDuplicates, "{run:?}");
    assert!((6..=8).contains(&jobs.with(|held| held.len() as i64 - days)));
    assert_eq!(run.counters.unchanged, run.counters.rows_read);
    example.end().await;
}
