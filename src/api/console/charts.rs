//! Owns charts: SVG that can be read by a screen reader, a test, and without script.

use std::fmt::Write;

use askama::filters::Safe;
use chrono::{NaiveDate, TimeDelta};

use super::escape::escaped;
use super::html::{Html, nothing, number};
use crate::db::source_health::RunBar;
use crate::domain::run::RunStatus;

const HEIGHT: f64 = 24.0;
const WIDTH: f64 = 10.0;
/// What is set aside is seen, however little it is of a bar.
const LEAST: f64 = 2.0;

/// There is room for so many runs, the newest at the right. Rows read by each run, what was set aside at the top of each bar, and runs that failed as such.
pub(crate) fn run_bars(runs: &[RunBar], slots: usize, tall: bool) -> Html {
    if runs.is_empty() {
        return nothing();
    }
    let most = runs.iter().map(|run| run.rows_read).max().unwrap_or(0).max(1) as f64;
    let mut bars = String::new();
    let slots = slots.max(runs.len());
    for (at, run) in (slots - runs.len()..).zip(runs) {
        bar(&mut bars, at as f64 * WIDTH, run, most);
    }
    let failed = runs.iter().filter(|run| run.status == RunStatus::Failed).count();
    let set_aside: i64 = runs.iter().map(|run| run.quarantined).sum();
    let label = format!(
        "{} runs, oldest first: at most {} rows a run, {} set aside in all, {failed} failed",
        runs.len(),
        number(most as i64),
        number(set_aside)
    );
    let width = slots as f64 * WIDTH;
    let class = if tall { "bars tall" } else { "bars" };
    Safe(format!(
        "<svg class=\"{class}\" viewBox=\"0 0 {width} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-label=\"{}\">{bars}</svg>",
        escaped(&label)
    ))
}

/// How many were found on each of the last days, the oldest first; `last` is the day of the last of them.
pub(crate) fn day_bars(days: &[i64], last: NaiveDate) -> Html {
    let most = days.iter().copied().max().unwrap_or(0).max(1) as f64;
    let mut bars = String::new();
    for (at, rows) in days.iter().enumerate() {
        let day = last - TimeDelta::days((days.len() - 1 - at) as i64);
        let height = match rows {
            0 => 0.5,
            rows => (*rows as f64 / most * HEIGHT).max(LEAST),
        };
        let (x, y, width) = (at as f64 * WIDTH, HEIGHT - height, WIDTH - 2.0);
        // Writing into a string does not fail.
        let _ = write!(
            bars,
            "<rect class=\"warn\" x=\"{x}\" y=\"{y:.2}\" width=\"{width}\" height=\"{height:.2}\">\
             <title>{day}: {}</title></rect>",
            number(*rows)
        );
    }
    let label = format!(
        "{} new in {} days, at most {} a day; today {}",
        number(days.iter().sum::<i64>()),
        days.len(),
        number(days.iter().copied().max().unwrap_or(0)),
        number(days.last().copied().unwrap_or(0)),
    );
    let width = days.len() as f64 * WIDTH;
    Safe(format!(
        "<svg class=\"bars days\" viewBox=\"0 0 {width} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-label=\"{}\">{bars}</svg>",
        escaped(&label)
    ))
}

fn bar(bars: &mut String, x: f64, run: &RunBar, most: f64) {
    let title = format!(
        "run {}: {}, {} rows, {} set aside",
        run.id,
        run.status.as_str().replace('_', " "),
        number(run.rows_read),
        number(run.quarantined)
    );
    let (width, title) = (WIDTH - 2.0, escaped(&title));
    let rect = |class: &str, y: f64, height: f64| {
        format!(
            "<rect class=\"{class}\" x=\"{x}\" y=\"{y:.2}\" width=\"{width}\" height=\"{height:.2}\">"
        )
    };
    let whole = (run.rows_read as f64 / most * HEIGHT).max(1.0);
    let aside = match run.quarantined {
        0 => 0.0,
        rows => (rows as f64 / most * HEIGHT).max(LEAST).min(whole.max(LEAST)),
    };
    let mut draw = |class: &str, y: f64, height: f64| {
        if height > 0.0 {
            // Writing into a string does not fail.
            let _ = write!(bars, "{}<title>{title}</title></rect>", rect(class, y, height));
        }
    };
    match run.status {
        // Whatever it had read, what counts is that it failed.
        RunStatus::Failed => draw("bad", 0.0, HEIGHT),
        RunStatus::Running | RunStatus::Queued => draw("active", HEIGHT - whole, whole),
        _ => {
            let top = HEIGHT - whole.max(aside);
            draw("warn", top, aside);
            draw("rows", top + aside, (whole - aside).max(0.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(id: i64, status: RunStatus, rows_read: i64, quarantined: i64) -> RunBar {
        RunBar { source: "s".to_owned(), id, status, rows_read, quarantined, seconds: None }
    }

    #[test]
    fn one_row_of_a_million_that_was_set_aside_is_seen() {
        let chart = run_bars(&[run(1, RunStatus::Success, 1_000_000, 1)], 1, false).to_string();
        assert!(
            chart.contains("class=\"warn\" x=\"0\" y=\"0.00\" width=\"8\" height=\"2.00\""),
            "{chart}"
        );
        assert!(chart.contains("1 set aside"), "{chart}");
    }

    #[test]
    fn days_without_a_row_are_seen_and_the_others_have_their_dates() {
        let last = NaiveDate::from_ymd_opt(2026, 3, 1).unwrap();
        let chart = day_bars(&[0, 1_000, 1], last).to_string();
        assert!(chart.contains("1,001 new in 3 days, at most 1,000 a day; today 1"), "{chart}");
        assert!(chart.contains("<title>2026-02-28: 1,000</title>"), "{chart}");
        assert!(chart.contains("height=\"2.00\"><title>2026-03-01: 1</title>"), "{chart}");
    }

    #[test]
    fn a_chart_says_in_a_sentence_what_it_shows() {
        let runs = [run(1, RunStatus::Success, 10, 0), run(2, RunStatus::Failed, 0, 0)];
        let chart = run_bars(&runs, 2, false).to_string();
        assert!(chart.contains("aria-label=\"2 runs, oldest first: at most 10 rows a run, 0 set aside in all, 1 failed\""));
        assert!(chart.contains("<title>run 2: failed"), "{chart}");
        assert_eq!(run_bars(&[], 30, false).to_string(), "");
    }
}
