//! Floor 5: the watcher: starts runs of sources whose files have changed, once these change no more. Any number of
//! watchers may run; noting what a source has in `watched_sources` decides which of them acts.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::db::clock::Clock;
use crate::db::{Transaction, in_time, watched_sources};
use crate::domain::failure::chain;
use crate::domain::hash::ContentHash;
use crate::domain::run::{Mode, Trigger};
use crate::domain::source_name::SourceName;
use crate::job_file::{Definition, JobsFolder};
use crate::sources::{self, Access, AllowedRoots, Listing, SourceError, SourceErrorKind};
use crate::tasks::start_run::{RawRange, RunRequest, Started, start_run};
use crate::telemetry::Seldom;

/// Between two looks at files. What is the same in two of them is being written no more.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Between two looks at job files, as long as none is to be watched.
const IDLE: Duration = Duration::from_secs(15);
/// How long a look waits for places that take long; those that take longer are heard in a later one.
const WAITS: Duration = Duration::from_secs(1);
/// The longest pause behind a look that failed.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// How long files may change all the time until they are read all the same.
const CHANGING_TIMEOUT: Duration = Duration::from_secs(300);
/// A database that takes longer is asked again later.
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
    patience: Duration,
    watched: HashMap<SourceName, Watched>,
    clock: Clock,
    said: Seldom,
}

/// A source that is watched.
#[derive(Debug)]
struct Watched {
    seen: Option<Seen>,
    /// Since when it has been changing all the time.
    unrest: Option<Instant>,
    /// A look that is under way: there is no other before it ends, be it days.
    listing: Option<JoinHandle<Listed>>,
    /// When the next look at it is due.
    next: Instant,
    /// What the pause was behind the last look that failed.
    pause: Duration,
}

/// How often a source may be looked at, and what the look gave.
type Listed = (Duration, Result<Option<Listing>, SourceError>);

/// What a source had in the last look.
#[derive(Debug, Clone, Copy)]
struct Seen {
    listing: ContentHash,
    /// When it was seen first, by the database's clock.
    since: DateTime<Utc>,
    /// Whether nothing is to be done about it any more.
    done: bool,
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
            patience: CHANGING_TIMEOUT,
            watched: HashMap::new(),
            clock: Clock::default(),
            said: Seldom::default(),
        }
    }

    /// The same, which waits so long for files that change all the time.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Looks at every source that is to be watched and due, and starts runs of those whose files have changed;
    /// returns when to look again. A source that fails, or takes long, does not stop the others.
    pub async fn look(&mut self) -> Duration {
        let jobs = self.jobs.clone();
        // Its folder may hang, and others work on this thread.
        let loaded = tokio::task::spawn_blocking(move || jobs.load(sources::kinds())).await;
        let definitions = match loaded {
            Ok(Ok(definitions)) => definitions,
            Ok(Err(error)) => return self.not_loaded(&error),
            Err(error) => return self.not_loaded(&error),
        };
        let watched = definitions.into_iter().flatten().filter(|definition| definition.on_change);
        let definitions: Vec<Definition> = watched.collect();
        self.watched.retain(|source, _| definitions.iter().any(|of| of.source == *source));
        if definitions.is_empty() {
            return IDLE;
        }
        for definition in &definitions {
            self.begin(definition);
        }
        let until = Instant::now() + WAITS;
        for definition in &definitions {
            let Some(watched) = self.watched.get_mut(&definition.source) else { continue };
            let Some(listing) = &mut watched.listing else { continue };
            let Ok(listed) = tokio::time::timeout_at(until, listing).await else { continue };
            watched.listing = None;
            match listed {
                Ok((every, Ok(Some(listing)))) => self.compare(definition, every, listing).await,
                Ok((_, Ok(None))) => {}
                Ok((every, Err(error))) => self.lost(definition, every, &error),
                Err(error) => tracing::error!(error = %error, "a look at files panicked"),
            }
        }
        LOOK_EVERY
    }

    /// As [`Watcher::look`], whether or not it is time for that.
    pub async fn look_again(&mut self) {
        let now = Instant::now();
        self.watched.values_mut().for_each(|watched| watched.next = now);
        self.look().await;
    }

    fn not_loaded(&self, error: &dyn std::error::Error) -> Duration {
        self.warn("jobs", "the job files cannot be read; nothing is watched", error);
        IDLE
    }

    /// Begins a look at a source, if one is due and none is under way.
    fn begin(&mut self, definition: &Definition) {
        let now = Instant::now();
        let new =
            || Watched { seen: None, unrest: None, listing: None, next: now, pause: LOOK_EVERY };
        let watched = self.watched.entry(definition.source.clone()).or_insert_with(new);
        if watched.listing.is_none() && watched.next <= now {
            let (definition, roots) = (definition.clone(), self.allowed_roots.clone());
            watched.listing = Some(tokio::spawn(list(definition, roots, self.access)));
        }
    }

    /// What a source has is compared with what it had.
    async fn compare(&mut self, definition: &Definition, every: Duration, listing: Listing) {
        // A mended job file may read what the one before could not.
        let both = [listing.hash.as_bytes(), definition.hash.as_bytes()].concat();
        let (hash, now) = (ContentHash::of(&both), Instant::now());
        let Some(watched) = self.watched.get_mut(&definition.source) else { return };
        watched.next = now + every.max(LOOK_EVERY);
        watched.pause = LOOK_EVERY;
        let same = watched.seen.filter(|seen| seen.listing == hash);
        let changing_since = *watched.unrest.get_or_insert(now);
        let seen = match same {
            Some(seen) => seen,
            None => {
                let Some(since) = self.now().await else { return };
                Seen { listing: hash, since, done: false }
            }
        };
        // What always changes is read all the same: of a file that grows, what was there when it was planned.
        let acts = !seen.done && (same.is_some() || changing_since.elapsed() >= self.patience);
        let done = match acts {
            true => in_time(ANSWERS_WITHIN, self.act(definition, &seen)).await,
            false => Ok(seen.done),
        };
        let Some(watched) = self.watched.get_mut(&definition.source) else { return };
        match done {
            Ok(done) => {
                watched.seen = Some(Seen { done, ..seen });
                watched.unrest = watched.unrest.filter(|_| !done);
            }
            Err(error) => {
                let text = "no run is started for changed files: the database fails";
                self.warn(definition.source.as_str(), text, &error);
            }
        }
    }

    async fn now(&self) -> Option<DateTime<Utc>> {
        match in_time(ANSWERS_WITHIN, self.clock.now(&self.pool)).await {
            Ok(now) => Some(now),
            Err(error) => {
                self.warn("clock", "nothing is watched: the database fails", &error);
                None
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
            Started::Invalid(problem) | Started::NoRange(problem) => {
                transaction.rollback().await?;
                tracing::warn!(
                    source,
                    problem,
                    "files have changed, and the job file cannot be used"
                );
                Ok(true)
            }
            Started::NothingToReplay(_) => {
                transaction.rollback().await?;
                Ok(true)
            }
        }
    }

    /// A source cannot be listed, as when no file is there yet: whatever comes then is a change. It is asked less and less
    /// often, but for files that are not there.
    fn lost(&mut self, definition: &Definition, every: Duration, error: &SourceError) {
        let Some(watched) = self.watched.get_mut(&definition.source) else { return };
        let waits = error.kind == SourceErrorKind::FileMissing;
        (watched.seen, watched.unrest) = (None, None);
        watched.next = Instant::now() + watched.pause.max(every);
        watched.pause = if waits { LOOK_EVERY } else { (watched.pause * 2).min(LONGEST_PAUSE) };
        let source = definition.source.as_str();
        let Some(left_out) = self.said.say(source) else { return };
        let error = chain(error);
        match waits {
            true => tracing::info!(source, error, left_out, "no files are there to be watched"),
            false => tracing::warn!(source, error, left_out, "watched files cannot be listed"),
        }
    }

    fn warn(&self, kind: &str, text: &'static str, error: &dyn std::error::Error) {
        if let Some(left_out) = self.said.say(kind) {
            tracing::warn!(error = chain(error), left_out, of = kind, "{text}");
        }
    }
}

/// What tells whether the files of a source have changed, and how often to ask.
async fn list(definition: Definition, allowed_roots: AllowedRoots, access: Access) -> Listed {
    match sources::open(&definition, &allowed_roots) {
        Ok(source) => {
            let every = source.listed_every();
            (every, source.listing(access).await)
        }
        Err(error) => (LOOK_EVERY, Err(error)),
    }
}
