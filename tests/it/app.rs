//! A kasparro of its own for each test: database, jobs folder, and a worker that runs on demand.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use kasparro::api::{ApiState, UploadFolder, Uploads};
use kasparro::db::{self, runs, totals};
use kasparro::domain::run::{Mode, RunId, Trigger};
use kasparro::job_file::JobsFolder;
use kasparro::job_file::setting::SecretText;
use kasparro::queue;
use kasparro::sources::{Access, AllowedRoots, kinds};
use kasparro::tasks::perform::RetryPolicy;
use kasparro::tasks::start_run::{RawRange, RunRequest, Started, start_run};
use kasparro::tasks::tokens::ProcessTokens;
use kasparro::worker::{self, WorkerOptions};
use sqlx::PgPool;
use tempfile::TempDir;

use crate::cluster::TestDatabase;
use crate::shipped;

/// Long enough for a busy machine; a test that needs it has failed.
const TIMEOUT: Duration = Duration::from_secs(120);
/// The largest file that is taken over HTTP, in bytes.
pub const UPLOAD: u64 = 3 << 20;

pub struct TestApp {
    pub database: TestDatabase,
    pub pool: PgPool,
    pub folder: TempDir,
    pub retry: RetryPolicy,
    pub workers: usize,
    pub secret_key: Option<SecretText>,
}

/// The migrations and whatever else the template is made of: its name is their hash.
async fn database() -> TestDatabase {
    let mut migrations: Vec<&[u8]> =
        db::MIGRATIONS.iter().map(|migration| &*migration.checksum).collect();
    migrations.push(queue::GET_JOBS.as_bytes());
    TestDatabase::create(&migrations, migrate).await
}

async fn migrate(pool: &PgPool) {
    db::migrate(pool).await.expect("our migrations run");
    queue::setup(pool).await.expect("the queue's migrations run");
}

/// What a run without the network asks for.
pub fn request(mode: Mode) -> RunRequest<'static> {
    RunRequest {
        mode,
        trigger: Trigger::Api,
        access: Access::Offline,
        idempotency_key: None,
        raw: RawRange::default(),
        dry_run: false,
        range: None,
    }
}

impl TestApp {
    /// An app without any source.
    pub async fn empty() -> Self {
        Self::with(database().await)
    }

    /// An app with the sources that kasparro ships, on a server of the test's own.
    pub async fn shipped_on(server: &str) -> Self {
        let app = Self::with(TestDatabase::on(server, migrate).await);
        app.add_shipped();
        app
    }

    fn with(database: TestDatabase) -> Self {
        let pool = database.pool().clone();
        let folder = tempfile::tempdir().expect("a folder for jobs");
        let retry = RetryPolicy {
            max_attempts: 4,
            first_delay: Duration::from_millis(1),
            longest_delay: Duration::from_millis(20),
            time_limit: Duration::from_secs(30),
            longest_wait: Duration::from_secs(3600),
        };
        Self { database, pool, folder, retry, workers: 2, secret_key: None }
    }

    /// An app with the sources that kasparro ships.
    pub async fn shipped() -> Self {
        let app = Self::empty().await;
        app.add_shipped();
        app
    }

    fn add_shipped(&self) {
        shipped::copy_to(self.folder.path()).expect("what ships is copied");
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file of the jobs folder.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder is made");
        std::fs::write(path, content).expect("a file is written");
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("a file is read")
    }

    /// What an API of this app works with: recordings in place of a network.
    pub fn api_state(&self) -> ApiState {
        ApiState {
            pool: self.pool.clone(),
            jobs: self.jobs(),
            access: Access::Offline,
            allowed_roots: AllowedRoots::default(),
            uploads: Some(Uploads::Folder(UploadFolder::new(self.path("uploads"), Some(UPLOAD)))),
            tokens: ProcessTokens::new(self.pool.clone(), None),
            public_url: None,
        }
    }

    pub fn jobs(&self) -> JobsFolder {
        JobsFolder::new(self.folder.path())
    }

    /// Starts a run without working on it.
    pub async fn start(&self, source: &str, mode: Mode) -> Started {
        self.start_as(source, &request(mode)).await
    }

    pub async fn start_as(&self, source: &str, request: &RunRequest<'_>) -> Started {
        let definition = self.jobs().get(source, kinds()).expect("a good job file");
        let mut transaction = self.pool.begin().await.unwrap();
        let started = start_run(&mut transaction, &definition, request).await.unwrap();
        transaction.commit().await.unwrap();
        started
    }

    /// Starts a run and works until it has ended.
    pub async fn run(&self, source: &str) -> runs::Run {
        self.run_mode(source, Mode::Incremental).await
    }

    pub async fn run_mode(&self, source: &str, mode: Mode) -> runs::Run {
        self.run_as(source, &request(mode)).await
    }

    /// Starts a run that uses the network, and works until it has ended.
    pub async fn run_online(&self, source: &str) -> runs::Run {
        let online = RunRequest { access: Access::Network, ..request(Mode::Incremental) };
        self.run_as(source, &online).await
    }

    pub async fn run_as(&self, source: &str, request: &RunRequest<'_>) -> runs::Run {
        let Started::New(id) = self.start_as(source, request).await else {
            panic!("{source} cannot start");
        };
        self.drain().await;
        self.get(id).await
    }

    pub async fn get(&self, id: RunId) -> runs::Run {
        runs::get(&self.pool, id).await.unwrap().expect("the run is there")
    }

    /// Works on the queue until nothing is open.
    pub async fn drain(&self) {
        let options = WorkerOptions {
            name: "test".to_owned(),
            computing: self.workers,
            allowed_roots: AllowedRoots::default(),
            jobs: Some(self.jobs()),
            secret_key: self.secret_key.clone(),
            retry: self.retry,
            grace: Duration::from_secs(5),
        };
        let idle = async {
            while totals::open_tasks(&self.pool).await.unwrap() > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let working = worker::run(&self.pool, &options, idle);
        tokio::time::timeout(TIMEOUT, working).await.expect("the queue drains").unwrap();
    }

    /// One text column of a query, a row each.
    pub async fn texts(&self, query: &'static str) -> Vec<String> {
        answered(async || sqlx::query_scalar(query).fetch_all(&self.pool).await).await
    }

    pub async fn number(&self, query: &'static str) -> i64 {
        answered(async || sqlx::query_scalar(query).fetch_one(&self.pool).await).await
    }
}

/// A server that has just come back may have no room for one more connection to wait in.
async fn answered<T>(mut ask: impl AsyncFnMut() -> Result<T, sqlx::Error>) -> T {
    let asking = async {
        loop {
            match ask().await {
                Err(sqlx::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                answer => return answer.unwrap(),
            }
        }
    };
    tokio::time::timeout(TIMEOUT, asking).await.expect("the server has room")
}
