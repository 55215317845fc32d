//! Owns the places where tests make a task fail in ways that no input can: panic, never end, take the
//! process along. Builds without debug assertions, such as every release, have none of it.
//!
//! `KASPARRO_FAULTS=normalize_batch/stored=panic,fetch_page/gathered=hang` names them.

use crate::domain::task::TaskKind;

/// A place in the life of a task.
#[derive(Debug, Clone, Copy)]
pub(super) enum Failpoint {
    /// Nothing has been done yet.
    Begun,
    /// What the task needs is there; no transaction is open.
    Gathered,
    /// Everything is written, nothing committed.
    Stored,
    /// Everything is committed.
    Committed,
}

/// Does what the tests want to happen here.
#[cfg(debug_assertions)]
pub(super) async fn failpoint(kind: TaskKind, point: Failpoint) {
    let Ok(faults) = std::env::var("KASPARRO_FAULTS") else { return };
    let point = match point {
        Failpoint::Begun => "begun",
        Failpoint::Gathered => "gathered",
        Failpoint::Stored => "stored",
        Failpoint::Committed => "committed",
    };
    let here = format!("{kind}/{point}=");
    match faults.split(',').find_map(|fault| fault.strip_prefix(&here)) {
        None => {}
        #[expect(clippy::panic, reason = "that is the fault")]
        Some("panic") => panic!("injected at {here}panic"),
        Some("hang") => std::future::pending().await,
        Some("kill") => std::process::abort(),
        Some(other) => tracing::error!("KASPARRO_FAULTS: {here}{other} is unknown"),
    }
}

#[cfg(not(debug_assertions))]
pub(super) async fn failpoint(_: TaskKind, _: Failpoint) {}
