//! Owns how a command gets its database: the one named by DATABASE_URL, or a private one.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use sqlx::PgPool;
use tokio_util::task::AbortOnDropHandle;

use super::out;
use crate::config::Settings;
use crate::db::OpenError;
use crate::db::waits::Wait;
use crate::domain::failure::chain;
use crate::domain::secret_url::SecretUrl;
use crate::embedded::{self, DownloadSource, PrivatePostgres, Project};
use crate::telemetry::Seldom;
use crate::{db, queue};

/// An open database; close it to let a private server stop.
pub(super) struct Database {
    pub pool: PgPool,
    url: String,
    private: Option<PrivatePostgres>,
    watch: Option<Watch>,
}

/// Tells of locks that are waited for, until it is dropped.
type Watch = AbortOnDropHandle<()>;

/// What a command needs of the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Schema {
    /// Create or update it.
    Migrate,
    /// It must be there; a private database is migrated all the same.
    Expect,
}

/// Who is informed of locks that are waited for.
type Tell = fn(&Wait);

impl Database {
    /// Finds or starts the database and opens a pool of up to `connections`, for a command that somebody
    /// has typed.
    pub async fn open(
        settings: &Settings,
        connections: u32,
        schema: Schema,
    ) -> anyhow::Result<Self> {
        Self::open_telling(settings, connections, schema, |wait| out::remark(wait)).await
    }

    /// For a process that serves, and logs.
    pub async fn open_as_service(
        settings: &Settings,
        connections: u32,
        schema: Schema,
    ) -> anyhow::Result<Self> {
        Self::open_telling(settings, connections, schema, |wait| tracing::warn!("{wait}")).await
    }

    async fn open_telling(
        settings: &Settings,
        connections: u32,
        schema: Schema,
        tell: Tell,
    ) -> anyhow::Result<Self> {
        let (url, private) = find(settings).await?;
        let opening = async {
            let pool =
                db::connect(&url, connections, settings.database_wait, waiting(settings)).await?;
            let watch = watch(&pool, tell);
            migrate_or_check(&pool, schema, private.is_some()).await?;
            Ok((pool, Some(watch)))
        };
        let opened = opening.await;
        Self::of(opened, url, private).await
    }

    /// The database for other programs, who can fix what keeps kasparro from using it: it is not checked,
    /// and changed only in that a new one gets its tables.
    pub async fn open_for_others(settings: &Settings) -> anyhow::Result<Self> {
        let (url, private) = find(settings).await?;
        let opening = async {
            let mut reached = db::reach(&url, settings.database_wait, waiting(settings)).await?;
            let usable = db::check(&mut reached).await.is_ok();
            let pool = reached.into_pool(1).await?;
            if usable && !db::has_tables(&pool).await.unwrap_or(true) {
                let made = migrate_or_check(&pool, Schema::Migrate, private.is_some()).await;
                if let Err(error) = made {
                    let why = chain(error.as_ref());
                    out::remark(format!("note: kasparro's tables are not there: {why}"));
                }
            }
            Ok((pool, None))
        };
        let opened = opening.await;
        Self::of(opened, url, private).await
    }

    /// A private server that is of no use is stopped.
    async fn of(
        opened: anyhow::Result<(PgPool, Option<Watch>)>,
        url: String,
        private: Option<PrivatePostgres>,
    ) -> anyhow::Result<Self> {
        match opened {
            Ok((pool, watch)) => Ok(Self { pool, url, private, watch }),
            Err(error) => {
                if let Some(private) = private {
                    private.stop().await.context("the private PostgreSQL did not stop")?;
                }
                Err(error)
            }
        }
    }

    /// The URL, for programs that are started with it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Closes the pool and, as its last user, stops a private server.
    pub async fn close(self) -> anyhow::Result<()> {
        drop(self.watch);
        self.pool.close().await;
        if let Some(private) = self.private {
            private.stop().await.context("the private PostgreSQL did not stop")?;
        }
        Ok(())
    }
}

/// The address of the database that the settings name, else of the private one.
async fn find(settings: &Settings) -> anyhow::Result<(String, Option<PrivatePostgres>)> {
    if let Some(url) = &settings.database_url {
        return Ok((url.expose().to_owned(), None));
    }
    let options = private_options(settings)?;
    let mut private = embedded::find_or_start(&options).await?;
    private.keep_running(&options);
    tracing::info!("{}", private.description());
    Ok((private.url().to_owned(), Some(private)))
}

/// Says what is waited for.
fn waiting(settings: &Settings) -> impl FnOnce(&sqlx::Error) {
    let seconds = settings.database_wait.as_secs();
    move |error| {
        let why = chain(error);
        out::remark(format!("waiting up to {seconds} s for the database: {why}"));
    }
}

/// Each holder of a lock is reported once a minute.
fn watch(pool: &PgPool, tell: Tell) -> Watch {
    let said = Seldom::default();
    let watching = db::waits::watch(pool, move |wait| {
        if said.say(&wait.pid.to_string()).is_some() {
            tell(wait);
        }
    });
    AbortOnDropHandle::new(tokio::spawn(watching))
}

async fn migrate_or_check(pool: &PgPool, schema: Schema, private: bool) -> anyhow::Result<()> {
    if schema == Schema::Expect && !private {
        // A user who may not see the tables would be told that they are not there.
        db::rights::check_use(pool, queue::SCHEMA).await?;
        let version = db::check_version(pool).await;
        if matches!(version, Err(OpenError::Older))
            && let Err(OpenError::Rights { user, lacking }) =
                db::rights::check_migrate(pool, queue::SCHEMA).await
        {
            // A user who is sent to `migrate` has to be allowed to.
            return Err(OpenError::OlderAndNotOurs { user, lacking }.into());
        }
        return Ok(version?);
    }
    db::rights::check_migrate(pool, queue::SCHEMA).await?;
    // Ours first: it refuses a newer schema before anything is touched.
    db::migrate(pool).await?;
    queue::setup(pool).await.context(
        "the queue's tables could not be created; the database user needs the right to create \
         a schema and the extensions pgcrypto and hstore",
    )
}

fn data_dir(settings: &Settings) -> PathBuf {
    settings.data_dir.clone().unwrap_or_else(embedded::default_data_dir)
}

fn private_options(settings: &Settings) -> anyhow::Result<embedded::Options> {
    let mut options = embedded::Options::new(data_dir(settings));
    options.project = project(&settings.jobs_dir);
    options.announce = announce;
    options.binaries.clone_from(&settings.pg_bin);
    options.download = match settings.pg_download_url.as_ref().map(SecretUrl::expose) {
        Some("none") => None,
        mirror => DownloadSource::pinned(mirror),
    };
    Ok(options)
}

/// On the terminal when the log would keep it to itself.
fn announce(line: &str) {
    if tracing::enabled!(tracing::Level::INFO) {
        tracing::info!("{line}");
    } else {
        out::remark(line);
    }
}

/// The project that we are in. Without a job file it claims no cluster; without a folder for them any
/// cluster will do, since nothing can be loaded.
fn project(jobs_dir: &Path) -> Option<Project> {
    let jobs = jobs_dir.canonicalize().ok().filter(|jobs| jobs.is_dir())?;
    Some(Project { may_claim: holds_job_files(&jobs), jobs })
}

fn holds_job_files(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| path.extension().is_some_and(|e| e == "toml"))
}

/// `claim`: makes the private database belong to the current job files.
pub(super) async fn claim(settings: &Settings) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(
        settings.database_url.is_none(),
        "DATABASE_URL is set, and only a private database belongs to a project"
    );
    let jobs = settings.jobs_dir.canonicalize().with_context(|| {
        format!("{} cannot be read; run this in the project's folder, or name its job files with --jobs-dir", settings.jobs_dir.display())
    })?;
    let data_dir = data_dir(settings);
    let before = embedded::claim(&data_dir, &jobs).await?.filter(|before| *before != jobs);
    let (data_dir, jobs) = (data_dir.display(), jobs.display());
    out::line(format!("the private database in {data_dir} belongs to {jobs}"));
    if let Some(before) = before {
        out::line(format!("it belonged to {}", before.display()));
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_without_a_job_file_claims_nothing() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let jobs = root.join("jobs");
        assert!(project(&jobs).is_none());
        std::fs::create_dir(&jobs).unwrap();
        assert!(!project(&jobs).unwrap().may_claim);
        std::fs::write(jobs.join("shop.toml"), "").unwrap();
        let found = project(&jobs).unwrap();
        assert_eq!((found.jobs, found.may_claim), (jobs, true));
    }
}
