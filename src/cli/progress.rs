//! Owns the live view of runs: bars on a terminal, lines elsewhere.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use console::{measure_text_width, truncate_str};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::out;
use crate::db::runs::Run;
use crate::domain::run::RunId;
use crate::domain::text::printable;
use crate::telemetry::{NotesAreShown, StepAside};

/// Bars on standard output; cheap to clone. Log lines make them step aside.
#[derive(Clone)]
pub(super) struct Progress {
    bars: MultiProgress,
    draws: bool,
    notes_replace_log: bool,
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
    /// `notes_replace_log`: the log goes to the same person, who has asked for nothing of it.
    pub fn new(draws: bool, notes_replace_log: bool) -> Self {
        let target =
            if draws { ProgressDrawTarget::stdout() } else { ProgressDrawTarget::hidden() };
        Self { bars: MultiProgress::with_draw_target(target), draws, notes_replace_log }
    }

    /// Whether bars are drawn.
    pub fn draws(&self) -> bool {
        self.draws
    }

    /// Until the runs that are followed have ended, what their notes will say is not logged as well.
    pub fn until_notes_are_shown(&self) -> Option<NotesAreShown> {
        self.notes_replace_log.then(NotesAreShown::begin)
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
            bar: progress.draws.then(|| new_bar(&progress.bars)),
            last_line: String::new(),
        });
        match &shown.bar {
            Some(bar) => {
                let width = out::style().width.unwrap_or(usize::MAX);
                // The spinner and the space behind it.
                bar.set_message(bar_line(run, bar.elapsed(), width.saturating_sub(2)));
                if !run.status.is_active() {
                    bar.finish();
                }
            }
            None => {
                let text = describe(run);
                let line = format!(
                    "{}: run {} {text}, {} of {} tasks done",
                    run.source,
                    run.id,
                    run.completed_tasks(),
                    run.tasks
                );
                if line != shown.last_line {
                    out::line(&line);
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

fn new_bar(bars: &MultiProgress) -> ProgressBar {
    let bar = bars.add(ProgressBar::new_spinner());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// Characters of a bar.
const BAR: usize = 20;
const SHORTEST_NAME: usize = 8;

/// A run under way in one line. Where it has no room for everything, the bar goes first, then the
/// time, then the end of the name, then whole figures from the right: none is ever cut through.
fn bar_line(run: &Run, elapsed: Duration, width: usize) -> String {
    let (completed, tasks) = (run.completed_tasks().unsigned_abs(), run.tasks.unsigned_abs());
    let full = usize::try_from(u64::from(completed) * BAR as u64 / u64::from(tasks.max(1)));
    let full = full.unwrap_or(BAR).min(BAR);
    let bar = format!("[{}{}]", "=".repeat(full), " ".repeat(BAR - full));
    let tasks = format!("{completed}/{tasks} tasks");
    let elapsed = format!("{} s", elapsed.as_secs());
    let mut figures = figures(run);
    let source = printable(&run.source).into_owned();
    let name = |room: usize| truncate_str(&source, room, "…").into_owned();
    let figures_text = figures.join(", ");
    for parts in [
        &[&source, &bar, &tasks, &elapsed, &figures_text] as &[&String],
        &[&source, &tasks, &elapsed, &figures_text],
        &[&source, &tasks, &figures_text],
    ] {
        let line = parts.iter().map(|part| part.as_str()).collect::<Vec<_>>().join("  ");
        if measure_text_width(&line) <= width {
            return line;
        }
    }
    loop {
        let rest = format!("  {tasks}  {}", figures.join(", "));
        let room = width.saturating_sub(measure_text_width(&rest));
        if room >= SHORTEST_NAME || figures.len() <= 1 {
            return format!("{}{rest}", name(room.max(SHORTEST_NAME)));
        }
        figures.pop();
    }
}

/// What a run did so far; what matters least comes last.
fn figures(run: &Run) -> Vec<String> {
    let counters = &run.counters;
    let mut figures = vec![format!("{} read", counters.rows_read)];
    for (number, word) in [
        (run.failed_tasks.into(), "tasks failed"),
        (counters.quarantined, "quarantined"),
        (counters.inserted, "inserted"),
        (counters.updated, "updated"),
        (counters.unchanged, "unchanged"),
    ] {
        if number > 0 {
            figures.push(format!("{number} {word}"));
        }
    }
    figures
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

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use proptest::prelude::*;

    use super::*;
    use crate::domain::counters::Counters;
    use crate::domain::hash::ContentHash;
    use crate::domain::run::{Mode, RunStatus, Trigger};

    fn run(source: &str, counters: Counters) -> Run {
        let at = DateTime::UNIX_EPOCH;
        Run {
            id: RunId(7),
            source: source.to_owned(),
            status: RunStatus::Running,
            mode: Mode::Incremental,
            trigger: Trigger::Cli,
            access: "network".to_owned(),
            created_at: at,
            started_at: Some(at),
            finished_at: None,
            open_tasks: 7,
            failed_tasks: 0,
            counters,
            error: None,
            stop_reason: None,
            config_hash: ContentHash::of(b"").into(),
            replay: None,
            dry_run: false,
            range: None,
            tasks: 10,
            sequence: 0,
            last_progress_at: at,
            stalled: false,
        }
    }

    #[test]
    fn a_line_loses_the_bar_first_and_figures_last() {
        let counters = Counters {
            rows_read: 400_000,
            inserted: 390_000,
            unchanged: 9_000,
            quarantined: 1_000,
            ..Counters::default()
        };
        let line = |width| bar_line(&run("products_of_vendors", counters), Duration::ZERO, width);
        assert_eq!(
            line(200),
            "products_of_vendors  [======              ]  3/10 tasks  0 s  400000 read, 1000 \
             quarantined, 390000 inserted, 9000 unchanged"
        );
        assert_eq!(
            line(90),
            "products_of_v…  3/10 tasks  400000 read, 1000 quarantined, 390000 inserted, 9000 \
             unchanged"
        );
        assert_eq!(line(60), "products_of_vend…  3/10 tasks  400000 read, 1000 quarantined");
        assert_eq!(line(10), "product…  3/10 tasks  400000 read");
    }

    proptest! {
        #[test]
        fn a_line_fits_and_its_figures_are_whole(
            width in 40usize..200, read in 0i64..1_000_000_000, name in "[a-z_]{1,63}",
        ) {
            let counters = Counters { rows_read: read, unchanged: read, ..Counters::default() };
            let line = bar_line(&run(&name, counters), Duration::from_secs(100), width);
            prop_assert!(measure_text_width(&line) <= width, "{line}");
            prop_assert!(line.contains(&format!(" {read} read")), "{line}");
        }
    }
}
