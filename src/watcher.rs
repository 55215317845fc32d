//! Floor 5: the watcher: starts runs of sources whose files have changed, once these change no more. Any number of
//! watchers may run; noting what a source has in `watched_sources` decides which of them acts.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::{StreamExt, stream};
use sqlx::PgPool;

use crate::db::clock::Clock;
use crate::db::{Transaction, in_time, watched_sources};
use crate::domain::failure::chain;
use crate::domain::hash::ContentHash;
use crate::domain::run::{Mode, Trigger};
use crate::domain::source_name::SourceName;
use crate::job_file::{Definition, JobsFolder};
use crate::sources::{self, Access, AllowedRoots, SourceError};
use crate::tasks::start_run::{RawRange, RunRequest, Started, start_run};
use crate::telemetry::Seldom;

/// Between two looks at files. What is the same in two of them is being written no more.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Between two looks at job files, as long as none is to be watched.
const IDLE: Duration = Duration::from_secs(15);
/// Sources that are looked at side by side: a slow file system holds up few others.
const AT_ONCE: usize = 8;
/// A place that takes longer is asked again later.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);

/// Watches until `stop` resolves.
pub async fn run(
    pool: &PgPool,
    jobs: &JobsFolder,
    access: Access,
    allowed_roots: &AllowedRoots,
    stop: impl Future<Output = ()> + Send,
) {
    let mut stop = std::pin::pin!(stop);
    let mut watcher = Watcher::new(pool, jobs, access, allowed_roots);
    loop {
        let sleep = tokio::select! {
            () = &mut stop => return,
            sleep = watcher.look() => sleep,
        };
        tokio::select! {
            () = &mut stop => return,
            () = tokio::time::sleep(sleep) => {}
        }
    }
}

/// What was seen of the sources that are watched.
#[derive(Debug)]
pub struct Watcher {
    pool: PgPool,
    jobs: JobsFolder,
    access: Access,
    allowed_roots: AllowedRoots,
    seen: HashMap<SourceName, Seen>,
    clock: Clock,
    said: Seldom,
}

/// What a source had in the last look.
#[derive(Debug, Clone, Copy)]
struct Seen {
    listing: ContentHash,
    /// When it was seen first, by the database's clock.
    since: DateTime<Utc>,
    /// Whether nothing is to be done about it any more.
    done: bool,
    /// When the next look at it is due.
    next: tokio::time::Instant,
}

impl Watcher {
    /// One that has seen nothing.
    pub fn new(
        pool: &PgPool,
        jobs: &JobsFolder,
        access: Access,
        allowed_roots: &AllowedRoots,
    ) -> Self {
        Self {
            pool: pool.clone(),
            jobs: jobs.clone(),
            access,
            allowed_roots: allowed_roots.clone(),
            seen: HashMap::new(),
            clock: Clock::default(),
            said: Seldom::default(),
        }
    }

    /// Looks at every source that is to be watched and due, and starts runs of those whose files have changed;
    /// returns when to look again. A source that fails does not stop the others.
    pub async fn look(&mut self) -> Duration {
        let definitions = match self.jobs.load(sources::kinds()) {
            Ok(definitions) => definitions,
            Err(error) => {
                self.warn("jobs", "the job files cannot be read; nothing is watched", &error);
                return IDLE;
            }
        };
        let watched = definitions.into_iter().flatten().filter(|definition| definition.on_change);
        let watched: Vec<Definition> = watched.collect();
        self.seen.retain(|source, _| watched.iter().any(|of| of.source == *source));
        if watched.is_empty() {
            return IDLE;
        }
        let now = tokio::time::Instant::now();
        let due = watched.into_iter().filter(|definition| {
            self.seen.get(&definition.source).is_none_or(|seen| seen.next <= now)
        });
        let (roots, access) = (&self.allowed_roots, self.access);
        let list = |definition: Definition| async move {
            let listing =
                tokio::time::timeout(ANSWERS_WITHIN, list(&definition, roots, access)).await;
            (definition, listing)
        };
        let listed: Vec<_> = stream::iter(due.collect::<Vec<_>>())
            .map(list)
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        for (definition, listing) in listed {
            match listing {
                Ok(Ok(Some((listing, every)))) => self.compare(&definition, listing, every).await,
                Ok(Ok(None)) => {}
                Ok(Err(error)) => self.lost(&definition, &error),
                Err(elapsed) => self.lost(&definition, &elapsed),
            }
        }
        LOOK_EVERY
    }

    /// As [`Watcher::look`], whether or not it is time for that.
    pub async fn look_again(&mut self) {
        let now = tokio::time::Instant::now();
        self.seen.values_mut().for_each(|seen| seen.next = now);
        self.look().await;
    }

    /// What a source has is compared with what it had.
    async fn compare(&mut self, definition: &Definition, listing: ContentHash, every: Duration) {
        let known = self.seen.get(&definition.source).copied();
        // A mended job file may read what the one before could not.
        let listing = ContentHash::of(&[listing.as_bytes(), definition.hash.as_bytes()].concat());
        let next = tokio::time::Instant::now() + every;
        let seen = match known.filter(|seen| seen.listing == listing) {
            Some(seen) if seen.done => Ok(Seen { next, ..seen }),
            Some(seen) => match in_time(ANSWERS_WITHIN, self.act(definition, &seen)).await {
                Ok(done) => Ok(Seen { done, next, ..seen }),
                Err(error) => Err(error),
            },
            None => {
                let now = in_time(ANSWERS_WITHIN, self.clock.now(&self.pool)).await;
                now.map(|since| Seen { listing, since, done: false, next })
            }
        };
        match seen {
            Ok(seen) => {
                self.seen.insert(definition.source.clone(), seen);
            }
            Err(error) => {
                let text = "no run is started for changed files: the database fails";
                self.warn(definition.source.as_str(), text, &error);
            }
        }
    }

    /// Starts a run for what a source has, unless one has read it; answers whether nothing is left to do.
    async fn act(&self, definition: &Definition, seen: &Seen) -> Result<bool, sqlx::Error> {
        let source = definition.source.as_str();
        let mut transaction = Transaction::begin(&self.pool).await?;
        if !watched_sources::claim(&mut transaction, source, seen.listing).await? {
            transaction.rollback().await?;
            return Ok(true);
        }
        let read = watched_sources::read_since(&mut *transaction, source, seen.since).await?;
        if let Some(run) = read {
            watched_sources::conclude(&mut transaction, source, run).await?;
            transaction.commit().await?;
            return Ok(true);
        }
        let request = RunRequest {
            mode: Mode::Incremental,
            trigger: Trigger::Schedule,
            access: self.access,
            idempotency_key: None,
            raw: RawRange::default(),
            dry_run: false,
            range: None,
        };
        match start_run(&mut transaction, definition, &request).await? {
            Started::New(run) | Started::Same(run) => {
                watched_sources::conclude(&mut transaction, source, run).await?;
                transaction.commit().await?;
                tracing::info!(source, run_id = run.0, "run started: files have changed");
                Ok(true)
            }
            // Once it has ended, it is seen whether it began in time.
            Started::Busy(_) | Started::Paused(_) => {
                transaction.rollback().await?;
                Ok(false)
            }
            Started::NothingToReplay(_) | Started::NoRange(_) | Started::Invalid(_) => {
                transaction.rollback().await?;
                Ok(true)
            }
        }
    }

    /// A source cannot be listed, as when no file is there yet: whatever comes then is a change.
    fn lost(&mut self, definition: &Definition, error: &dyn std::error::Error) {
        self.seen.remove(&definition.source);
        let source = definition.source.as_str();
        if let Some(left_out) = self.said.say(source) {
            tracing::info!(
                source,
                error = chain(error),
                left_out,
                "watched files cannot be listed"
            );
        }
    }

    fn warn(&self, kind: &str, text: &'static str, error: &dyn std::error::Error) {
        if let Some(left_out) = self.said.say(kind) {
            tracing::warn!(error = chain(error), left_out, of = kind, "{text}");
        }
    }
}

/// What tells whether the files of a source have changed, and how often to ask.
async fn list(
    definition: &Definition,
    allowed_roots: &AllowedRoots,
    access: Access,
) -> Result<Option<(ContentHash, Duration)>, SourceError> {
    let source = sources::open(definition, allowed_roots)?;
    let listing = source.listing(access).await?;
    Ok(listing.map(|listing| (listing.hash, listing.every.max(LOOK_EVERY))))
}
