//! Owns what can go wrong with a task and what each error means for it.

use std::any::Any;
use std::time::Duration;

use humantime_serde::re::humantime::format_duration;

use crate::db;
use crate::domain::failure::{FailureClass, chain};
use crate::job_file::DefinitionError;
use crate::sources::SourceError;

/// When the slower of two deliveries of a task looks again.
const GO_ON_BEHIND: Duration = Duration::from_secs(1);

/// How often and how long an API may make a task wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How often.
    pub max_waits: i32,
    /// How long in all.
    pub max_wait: Duration,
}

/// Why a task could not be done.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// The source could not be read, or the contract stops the run.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A request to an API failed.
    #[error("{error}")]
    Request {
        /// What happened.
        #[source]
        error: SourceError,
        /// The most attempts that a page of this source gets after such an error.
        max_attempts: i32,
        /// How long the API may make the task wait.
        patience: Option<Patience>,
    },
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// The run's definition cannot be used by this version of kasparro.
    #[error("the run's job file cannot be used")]
    Definition(#[from] DefinitionError),
    /// The shared rate limit is used up.
    #[error("waiting {} ms for the rate limit {key:?}", .delay.as_millis())]
    RateLimited {
        /// The bucket.
        key: String,
        /// Until there is a token.
        delay: Duration,
    },
    /// A bug in kasparro or a library.
    #[error("the task panicked: {0}")]
    Panicked(String),
    /// The task took too long.
    #[error("the task took longer than {} s", .0.as_secs())]
    TimedOut(Duration),
    /// The attempts before ended without a report, and so may the next.
    #[error("the last attempt did not end: the worker was killed or lost; going on in {} ms", .delay.as_millis())]
    WorkerLost {
        /// Until the next attempt.
        delay: Duration,
    },
    /// Every attempt ended without a report.
    #[error(
        "given up after {max_attempts} attempts, the last of which did not end: the worker was \
         killed or lost"
    )]
    Abandoned {
        /// The most attempts there are.
        max_attempts: i32,
    },
    /// It was never the time.
    #[error("given up after {} h of waiting, the last time since {reason}", .waited.as_secs() / 3600)]
    Overdue {
        /// How long.
        waited: Duration,
        /// Why it was not the time.
        reason: String,
    },
    /// What it waited for did not come in the time that the job file allows.
    #[error("{reason}: given up after {}", format_duration(Duration::from_secs(.waited.as_secs())))]
    NeverReady {
        /// How long.
        waited: Duration,
        /// What it waited for.
        reason: String,
    },
    /// The API asked to come later again and again.
    #[error(
        "the API asked to wait {times} times, {} in all, and `rest_api.retry` allows {max_times} times and \
         `max_wait` = \"{}\"; the last time: {reason}",
        format_duration(Duration::from_secs(.waited.as_secs())),
        format_duration(*.max_wait)
    )]
    ToldToWait {
        /// How often, with this time.
        times: i32,
        /// How often it may.
        max_times: i32,
        /// How long, with this time.
        waited: Duration,
        /// How long it may.
        max_wait: Duration,
        /// What it said the last time.
        reason: String,
    },
    /// The ledger and the raw tables contradict each other.
    #[error("{0}")]
    Inconsistent(String),
    /// The task was delivered twice, and the other delivery has read further.
    #[error("another delivery of the task has read further; going on behind it")]
    Overtaken,
    /// Another worker has the task now.
    #[error("another worker has taken the task over")]
    LeaseLost,
    /// The task was completed while it was worked on: by a second delivery of it, or by a cancelled
    /// run.
    #[error("the task was completed meanwhile")]
    AlreadyCompleted,
}

impl TaskError {
    /// What the error means for the task.
    pub fn class(&self) -> FailureClass {
        match self {
            Self::Source(error) | Self::Request { error, .. } => error.class(),
            Self::Database(error) => db::failure_class(error),
            Self::RateLimited { delay, .. } | Self::WorkerLost { delay } => {
                FailureClass::NotYet(*delay)
            }
            Self::Overtaken => FailureClass::NotYet(GO_ON_BEHIND),
            Self::Panicked(_) | Self::TimedOut(_) => FailureClass::Transient,
            Self::Definition(_)
            | Self::Inconsistent(_)
            | Self::Abandoned { .. }
            | Self::Overdue { .. }
            | Self::NeverReady { .. }
            | Self::ToldToWait { .. } => FailureClass::Permanent,
            Self::LeaseLost | Self::AlreadyCompleted => FailureClass::Cancelled,
        }
    }

    /// The word of its kind, for programs: that of the source, or of the engine.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Source(error) | Self::Request { error, .. } => error.kind.word(),
            Self::Database(_) => "database",
            Self::Definition(_) => "invalid_config",
            Self::RateLimited { .. } => "rate_limited",
            Self::Panicked(_) => "panicked",
            Self::TimedOut(_) => "task_timed_out",
            Self::WorkerLost { .. } | Self::Abandoned { .. } => "worker_lost",
            Self::Overdue { .. } | Self::NeverReady { .. } | Self::ToldToWait { .. } => {
                "wait_too_long"
            }
            Self::Inconsistent(_) => "inconsistent",
            Self::Overtaken | Self::LeaseLost | Self::AlreadyCompleted => "taken_over",
        }
    }

    /// What the ledger says, which the API shows: without the database's own words, which are for
    /// the log.
    pub fn for_ledger(&self) -> String {
        match self {
            Self::Database(error) => {
                let code = error.as_database_error().and_then(|e| e.code().map(String::from));
                let code = code.map(|code| format!(" (SQLSTATE {code})")).unwrap_or_default();
                format!("{self}{code}; the log says more")
            }
            // No error beneath contains a secret.
            _ => chain(self),
        }
    }
}

/// What a panic said.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}
