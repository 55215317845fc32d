//! Floor 2: where log lines go and how they look. Standard error, so that standard output stays
//! for results.

use std::io::{self, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Something that draws on the terminal and must step aside for a log line.
pub trait StepAside: Send + Sync + 'static {
    /// Runs `write` while nothing is drawn.
    fn step_aside(&self, write: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()>;
}

/// Starts logging, as text for people or as one JSON object a line. `filter` is in the syntax of
/// tracing's `EnvFilter`; `drawing` steps aside for each line.
///
/// # Errors
/// When the filter cannot be read.
pub fn init(
    filter: &str,
    json: bool,
    drawing: Option<Box<dyn StepAside>>,
) -> Result<(), tracing_subscriber::filter::ParseError> {
    // Notices about objects that exist already, and a server's own account of its start and stop.
    let filter =
        EnvFilter::builder().parse(format!("sqlx::postgres::notice=off,poem=warn,{filter}"))?;
    let lines = Lines { drawing: drawing.map(std::sync::Arc::from) };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(lines);
    if json {
        builder.json().flatten_event(true).init();
    } else {
        let ansi = io::IsTerminal::is_terminal(&io::stderr());
        builder.with_target(false).with_ansi(ansi).init();
    }
    Ok(())
}

#[derive(Clone)]
struct Lines {
    drawing: Option<std::sync::Arc<dyn StepAside>>,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut write = || io::stderr().lock().write_all(line);
        match &self.drawing {
            Some(drawing) => drawing.step_aside(&mut write)?,
            None => write()?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
