//! Owns `source_pauses`: which sources are paused, by whom, since when and why; and those that were.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use sqlx::{PgConnection, PgExecutor};

use crate::domain::actor::Actor;
use crate::domain::pause::PauseReason;
use crate::domain::text::Shown;

/// A pause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourcePause {
    /// Name of the source.
    pub source: String,
    /// Since when.
    pub paused_at: DateTime<Utc>,
    /// Who did it.
    pub paused_by: String,
    /// Why.
    pub reason: String,
}

impl fmt::Display for SourcePause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, paused_by, reason, .. } = self;
        let since = self.paused_at.to_rfc3339_opts(SecondsFormat::Secs, true);
        let (paused_by, reason) = (Shown(paused_by), Shown(reason));
        write!(f, "source {source:?} is paused since {since} by {paused_by}: {reason}")
    }
}

/// Pauses a source and returns the pause in force: this one, or the one that was there before.
///
/// # Errors
/// Database errors.
pub async fn pause(
    connection: &mut PgConnection,
    source: &str,
    actor: &Actor,
    reason: &PauseReason,
) -> Result<SourcePause, sqlx::Error> {
    loop {
        let paused = sqlx::query_as!(
            SourcePause,
            "insert into source_pauses (source, paused_by, reason) values ($1, $2, $3)
             on conflict (source) where resumed_at is null do nothing
             returning source, paused_at, paused_by, reason",
            source,
            actor.as_str(),
            reason.as_str(),
        )
        .fetch_optional(&mut *connection)
        .await?;
        let before = match paused {
            Some(paused) => Some(paused),
            None => in_force(&mut *connection, source).await?,
        };
        if let Some(pause) = before {
            return Ok(pause);
        }
        // What stood in the way has ended between the two statements: once more.
    }
}

/// Ends the pause in force and returns it; `None` when there is none.
///
/// # Errors
/// Database errors.
pub async fn resume(
    connection: &mut PgConnection,
    source: &str,
    actor: &Actor,
    reason: Option<&PauseReason>,
) -> Result<Option<SourcePause>, sqlx::Error> {
    sqlx::query_as!(
        SourcePause,
        "update source_pauses
         set resumed_at = clock_timestamp(), resumed_by = $2, resume_reason = $3
         where source = $1 and resumed_at is null
         returning source, paused_at, paused_by, reason",
        source,
        actor.as_str(),
        reason.map(PauseReason::as_str),
    )
    .fetch_optional(connection)
    .await
}

/// The pause in force of a source.
///
/// # Errors
/// Database errors.
pub async fn in_force(
    executor: impl PgExecutor<'_>,
    source: &str,
) -> Result<Option<SourcePause>, sqlx::Error> {
    sqlx::query_as!(
        SourcePause,
        "select source, paused_at, paused_by, reason from source_pauses
         where source = $1 and resumed_at is null",
        source,
    )
    .fetch_optional(executor)
    .await
}

/// Every pause in force.
///
/// # Errors
/// Database errors.
pub async fn all_in_force(executor: impl PgExecutor<'_>) -> Result<Vec<SourcePause>, sqlx::Error> {
    sqlx::query_as!(
        SourcePause,
        "select source, paused_at, paused_by, reason from source_pauses
         where resumed_at is null order by source",
    )
    .fetch_all(executor)
    .await
}
