//! Floor 2: where log lines go and how they look. Standard error, so that standard output stays
//! for results.

mod seldom;

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::Subscriber;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::dynamic_filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{self, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::domain::text::{MAX_LOGGED, Shown, cut, escape_in_json};
pub use seldom::Seldom;

/// Something that draws on the terminal and must step aside for a log line.
pub trait StepAside: Send + Sync + 'static {
    /// Runs `write` while nothing is drawn.
    fn step_aside(&self, write: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()>;
}

/// The target of lines that repeat what a run's note says.
pub const NOTED: &str = "kasparro::telemetry::noted";

/// Whether the notes of runs are about to be shown.
static NOTES_ARE_SHOWN: AtomicBool = AtomicBool::new(false);

/// While this lives, lines of the target [`NOTED`] are not logged: its holder shows the notes.
#[derive(Debug)]
pub struct NotesAreShown(());

impl NotesAreShown {
    /// From now on.
    pub fn begin() -> Self {
        NOTES_ARE_SHOWN.store(true, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for NotesAreShown {
    fn drop(&mut self) {
        NOTES_ARE_SHOWN.store(false, Ordering::Relaxed);
    }
}

fn what_notes_leave<S: Subscriber>() -> impl Layer<S> + Send + Sync + 'static {
    let is_said = |target: &str| target == NOTED && NOTES_ARE_SHOWN.load(Ordering::Relaxed);
    dynamic_filter_fn(move |line, _| !is_said(line.target()))
}

/// Starts logging, as text for people or as one JSON object a line. `filter` is in the syntax of
/// tracing's `EnvFilter`; `drawing` steps aside for each line. A line that cannot be written is lost:
/// who closed standard error does not want it, and the work goes on.
///
/// # Errors
/// When the filter cannot be read.
pub fn init(
    filter: &str,
    json: bool,
    colors: bool,
    drawing: Option<Box<dyn StepAside>>,
) -> Result<(), tracing_subscriber::filter::ParseError> {
    // Notices about objects that exist already, and a server's own account of its start and stop.
    let filter =
        EnvFilter::builder().parse(format!("sqlx::postgres::notice=off,poem=warn,{filter}"))?;
    let lines = Lines { drawing: drawing.map(std::sync::Arc::from), json };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(lines);
    if json {
        builder.json().flatten_event(true).finish().with(what_notes_leave()).init();
    } else {
        let builder = builder.with_target(false).with_ansi(colors).fmt_fields(escaped_fields());
        builder.finish().with(what_notes_leave()).init();
    }
    Ok(())
}

/// Fields as `name=value`. What an API or a file says is among them, so each is printable, in one
/// line and cut: nothing can forge a line of the log or speak to the terminal.
fn escaped_fields() -> impl for<'w> FormatFields<'w> + Send + Sync + 'static {
    format::debug_fn(|writer, field, value| {
        let text = format!("{value:?}");
        let text = cut(&text, MAX_LOGGED);
        match field.name() {
            "message" => write!(writer, "{}", Shown(text)),
            name => write!(writer, "{name}={}", Shown(text)),
        }
    })
    .delimited(" ")
}

#[derive(Clone)]
struct Lines {
    drawing: Option<std::sync::Arc<dyn StepAside>>,
    json: bool,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let text = if self.json { escape_in_json(&text) } else { text };
        let mut write = || io::stderr().lock().write_all(text.as_bytes());
        let _ = match &self.drawing {
            Some(drawing) => drawing.step_aside(&mut write),
            None => write(),
        };
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_an_api_says_stays_within_its_line_of_the_log() {
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .fmt_fields(escaped_fields())
            .finish();
        let said = "\u{1b}[2Jgone\n2026-01-01 ERROR forged\u{202e}";
        let long = "x".repeat(20 << 20);
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(header = said, error = %said, long, "the API says {said}");
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text:?}");
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text:?}");
        assert!(text.contains("the API says \\u{1b}[2Jgone\\n2026-01-01 ERROR"), "{text:?}");
        assert!(text.len() < 20 << 10, "{}", text.len());
    }
}
