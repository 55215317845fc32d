//! Owns how a run is shown: by the API, by `--json` and in the events of a run.

use chrono::{DateTime, Utc};
use poem_openapi::Object;
use poem_openapi::types::Example;

use crate::db::run_chains::RunChain;
use crate::db::runs;
use crate::domain::chain_end::StopReason;
use crate::domain::counters;
use crate::domain::run::{Mode, RunStatus, Trigger};

/// One execution of a source.
#[derive(Debug, Object)]
#[oai(example)]
pub(crate) struct Run {
    /// Its id; later runs have larger ones.
    pub(crate) id: i64,
    /// Name of the source.
    pub(crate) source: String,
    pub(crate) status: RunStatus,
    pub(crate) mode: Mode,
    pub(crate) trigger: Trigger,
    /// Where API pages come from: `network`, `record` or `offline`.
    pub(crate) access: String,
    /// When it was asked for.
    pub(crate) created_at: DateTime<Utc>,
    /// When its first task began.
    #[oai(nullable)]
    pub(crate) started_at: Option<DateTime<Utc>>,
    /// When its last task completed.
    #[oai(nullable)]
    pub(crate) finished_at: Option<DateTime<Utc>>,
    /// Tasks that have not completed.
    pub(crate) open_tasks: i32,
    /// Tasks that were given up.
    pub(crate) failed_tasks: i32,
    pub(crate) counters: Counters,
    /// The first failure.
    #[oai(nullable)]
    pub(crate) error: Option<String>,
    /// Why it ended as it did, when that is no failure, and the most frequent reasons of rows that were
    /// quarantined. A success may have one.
    #[oai(nullable)]
    pub(crate) stop_reason: Option<String>,
    /// Runs with the same value had the same job file.
    pub(crate) config_hash: String,
    /// Whether it only shows what it would do; its counters are those of a run that would.
    pub(crate) dry_run: bool,
    /// The first run whose rows a replay normalizes again.
    #[oai(nullable)]
    pub(crate) replay_from: Option<i64>,
    /// The last.
    #[oai(nullable)]
    pub(crate) replay_to: Option<i64>,
    /// For a backfill: from where on it reads, in the words of the watermark. It leaves the checkpoint where it is.
    #[oai(nullable)]
    pub(crate) from: Option<String>,
    /// Up to where.
    #[oai(nullable)]
    pub(crate) to: Option<String>,
    /// Tasks known so far.
    pub(crate) tasks: i32,
    /// Those that have completed: all but the open ones.
    pub(crate) completed_tasks: i32,
    /// When a task of it completed or an attempt of one ended last, or the run began, was retried or resumed.
    pub(crate) last_progress_at: DateTime<Utc>,
    /// Whether there was no progress for 2 minutes though there could be: the source is not paused and a
    /// task is due.
    pub(crate) stalled: bool,
    /// How its chains of pages ended: first those that may lack something, 100 at most. Only where one run is asked for
    /// and some have ended: in lists and events it is not there.
    #[oai(nullable, skip_serializing_if_is_none)]
    pub(crate) chains: Option<Vec<Chain>>,
}

/// The most chains that are shown with a run.
pub(crate) const MOST_CHAINS: i64 = 100;

/// Pages of an API that led from one to the next, such as those of a window or of a parent.
#[derive(Debug, Object)]
pub(crate) struct Chain {
    /// Its lane.
    pub(crate) lane: u32,
    /// The number of its last page within the lane, from 0.
    pub(crate) last_page: u32,
    pub(crate) stop_reason: StopReason,
    /// Whether it has everything that it was to read.
    pub(crate) complete: bool,
    /// What was seen and what to do, where it may lack something.
    #[oai(nullable)]
    pub(crate) note: Option<String>,
    /// When it ended.
    pub(crate) ended_at: DateTime<Utc>,
}

impl From<RunChain> for Chain {
    fn from(chain: RunChain) -> Self {
        Self {
            lane: chain.slice.lane(),
            last_page: chain.slice.number(),
            stop_reason: chain.end.reason,
            complete: chain.end.complete,
            note: chain.end.note,
            ended_at: chain.ended_at,
        }
    }
}

impl Run {
    /// With how its chains ended.
    pub(crate) fn with_chains(self, chains: Vec<RunChain>) -> Self {
        let chains = chains.into_iter().map(Chain::from).collect();
        Self { chains: Some(chains).filter(|chains: &Vec<_>| !chains.is_empty()), ..self }
    }
}

/// What was done, in numbers: rows_read = inserted + updated + unchanged + quarantined.
#[derive(Debug, Object)]
pub(crate) struct Counters {
    /// API pages or CSV chunks read.
    pub(crate) slices: i64,
    /// Bytes read from the source.
    pub(crate) bytes: i64,
    /// Rows the source held, good or bad.
    pub(crate) rows_read: i64,
    /// Rows whose key was new.
    pub(crate) inserted: i64,
    /// Rows whose key was known with other content.
    pub(crate) updated: i64,
    /// Rows whose key was known with the same content.
    pub(crate) unchanged: i64,
    /// The same as `unchanged`, under its earlier name.
    pub(crate) duplicates: i64,
    /// Rows set aside with a reason.
    pub(crate) quarantined: i64,
}

impl From<runs::Run> for Run {
    fn from(run: runs::Run) -> Self {
        let completed_tasks = run.completed_tasks();
        let (from, to) = run.range.map_or((None, None), |range| (Some(range.from), range.to));
        Self {
            id: run.id.0,
            source: run.source,
            status: run.status,
            mode: run.mode,
            trigger: run.trigger,
            access: run.access,
            created_at: run.created_at,
            started_at: run.started_at,
            finished_at: run.finished_at,
            open_tasks: run.open_tasks,
            failed_tasks: run.failed_tasks,
            counters: run.counters.into(),
            error: run.error,
            stop_reason: run.stop_reason,
            config_hash: run.config_hash.to_string(),
            dry_run: run.dry_run,
            replay_from: run.replay.map(|range| range.from.0),
            replay_to: run.replay.map(|range| range.to.0),
            from,
            to,
            tasks: run.tasks,
            completed_tasks,
            last_progress_at: run.last_progress_at,
            stalled: run.stalled,
            chains: None,
        }
    }
}

impl From<counters::Counters> for Counters {
    fn from(counters: counters::Counters) -> Self {
        Self {
            slices: counters.slices,
            bytes: counters.bytes,
            rows_read: counters.rows_read,
            inserted: counters.inserted,
            updated: counters.updated,
            unchanged: counters.unchanged,
            duplicates: counters.unchanged,
            quarantined: counters.quarantined,
        }
    }
}

impl Example for Run {
    fn example() -> Self {
        let at =
            |second: i64| DateTime::from_timestamp(1_767_225_600 + second, 0).unwrap_or_default();
        let counters = counters::Counters {
            slices: 1,
            bytes: 512,
            rows_read: 4,
            inserted: 3,
            quarantined: 1,
            ..counters::Counters::default()
        };
        Self {
            id: 42,
            source: "products_csv".to_owned(),
            status: RunStatus::Success,
            mode: Mode::Incremental,
            trigger: Trigger::Api,
            access: "network".to_owned(),
            created_at: at(0),
            started_at: Some(at(1)),
            finished_at: Some(at(2)),
            open_tasks: 0,
            failed_tasks: 0,
            counters: counters.into(),
            error: None,
            stop_reason: None,
            config_hash: "5f1d7a84db00d2fce00b31a7fc73224f9c3be08a4d6712f5b8e0c1d2a3f49576"
                .to_owned(),
            dry_run: false,
            replay_from: None,
            replay_to: None,
            from: None,
            to: None,
            tasks: 4,
            completed_tasks: 4,
            last_progress_at: at(2),
            stalled: false,
            chains: None,
        }
    }
}
