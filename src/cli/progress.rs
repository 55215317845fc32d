//! Owns the live view of runs: bars on a terminal, lines elsewhere.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::db::runs::Run;
use crate::domain::run::RunId;
use crate::telemetry::StepAside;

/// Bars on standard output; cheap to clone. Log lines make them step aside.
#[derive(Clone)]
pub(super) struct Progress {
    bars: MultiProgress,
    draws: bool,
}

/// The runs that are shown.
pub(super) struct RunsView {
    progress: Progress,
    shown: HashMap<RunId, Shown>,
}

struct Shown {
    bar: Option<ProgressBar>,
    last_line: String,
}

impl Progress {
    pub fn new(draws: bool) -> Self {
        let target =
            if draws { ProgressDrawTarget::stdout() } else { ProgressDrawTarget::hidden() };
        Self { bars: MultiProgress::with_draw_target(target), draws }
    }

    /// Whether bars are drawn.
    pub fn draws(&self) -> bool {
        self.draws
    }

    pub fn runs(&self) -> RunsView {
        RunsView { progress: self.clone(), shown: HashMap::new() }
    }
}

impl StepAside for Progress {
    fn step_aside(&self, write: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        if self.draws { self.bars.suspend(write) } else { write() }
    }
}

impl RunsView {
    /// Shows where a run stands.
    pub fn show(&mut self, run: &Run) {
        let progress = &self.progress;
        let shown = self.shown.entry(run.id).or_insert_with(|| Shown {
            bar: progress.draws.then(|| new_bar(&progress.bars, &run.source)),
            last_line: String::new(),
        });
        let text = describe(run);
        match &shown.bar {
            Some(bar) => {
                bar.set_length(u64::from(run.tasks.unsigned_abs().max(1)));
                bar.set_position(run.settled_tasks().unsigned_abs().into());
                bar.set_message(text);
                if !run.status.is_active() {
                    bar.finish();
                }
            }
            None => {
                let line = format!(
                    "{}: run {} {text}, {} of {} tasks done",
                    run.source,
                    run.id,
                    run.settled_tasks(),
                    run.tasks
                );
                if line != shown.last_line {
                    println!("{line}");
                    shown.last_line = line;
                }
            }
        }
    }

    /// Takes the bars away: a table with the same figures follows.
    pub fn clear(self) {
        for shown in self.shown.into_values() {
            if let Some(bar) = shown.bar {
                bar.finish_and_clear();
            }
        }
    }
}

fn new_bar(bars: &MultiProgress, source: &str) -> ProgressBar {
    let bar = bars.add(ProgressBar::new(1));
    let template = "{spinner} {prefix:24} [{bar:24}] {pos}/{len} tasks  {elapsed}  {wide_msg}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_prefix(source.to_owned());
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

fn describe(run: &Run) -> String {
    let counters = &run.counters;
    let mut text = format!("{}: {} rows read", run.status, counters.rows_read);
    for (number, word) in [
        (counters.inserted, "inserted"),
        (counters.updated, "updated"),
        (counters.unchanged, "unchanged"),
        (counters.quarantined, "quarantined"),
    ] {
        if number > 0 {
            text.push_str(&format!(", {number} {word}"));
        }
    }
    text
}
