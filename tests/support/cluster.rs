//! A database of its own for every test, from one throw-away server for all of them.
//!
//! Owns the server under `target/` (or the one of TEST_DATABASE_URL), the migrated template, and
//! cleaning up. It must not know the schema: the caller says how to build it.
//!
//! - The server runs without any durability and is shared by every test process, be it `cargo test`
//!   (one process, many threads) or nextest (a process per test).
//! - The template's name is a hash of the migrations. It is built under another name beneath an
//!   advisory lock and then renamed, so that a template of that name is always whole.
//! - A test's database carries its process's number; the databases of dead processes are dropped by
//!   whoever comes next.
//! - libtest ends its process without dropping statics, and a test may be killed, so no test process
//!   can be relied upon to stop the server. A watcher does: this very test program started again,
//!   detached, with only [`stop_the_test_server_once_unused`] selected. It needs no shell and no tool
//!   that a system may lack, and it asks the same question as kasparro itself: does anybody hold the
//!   `users` lock?

use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use kasparro::embedded::{
    DownloadSource, EmbeddedError, Leaving, Options, PrivatePostgres, find_or_start, stop_if_unused,
};
use sqlx::postgres::{PgConnection, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection};
use tokio::sync::OnceCell;
use xxhash_rust::xxh3::xxh3_64;

/// Tells the watcher which server to watch.
const WATCH: &str = "KASPARRO_TEST_SERVER_WATCH";
const WATCH_EVERY: Duration = Duration::from_secs(2);
const TEMPLATE_PREFIX: &str = "kasparro_template_";
/// Any number will do, as long as nothing else on the server locks it.
const TEMPLATE_LOCK: i64 = 0x6b61_7370_6172_726f;
/// Five listeners, five fetches, the tasks under way and the test itself.
const CONNECTIONS_PER_TEST: u32 = 30;
/// Nothing of a test survives a power failure, nor needs to.
const SETTINGS: [(&str, &str); 6] = [
    ("fsync", "off"),
    ("synchronous_commit", "off"),
    ("full_page_writes", "off"),
    ("max_connections", "300"),
    ("autovacuum", "off"),
    ("max_wal_size", "4GB"),
];

/// A database of one test. [`TestDatabase::close`] drops it; so does going out of scope, also in a
/// panic, only that this blocks the thread for a moment.
pub struct TestDatabase {
    pool: PgPool,
    url: String,
    name: String,
    dropped: bool,
}

impl TestDatabase {
    /// A fresh copy of the template that `build` makes of an empty database. `build` is only called
    /// when there is no template yet for just these `migrations`.
    pub async fn create<B>(migrations: &[&[u8]], build: B) -> Self
    where
        B: AsyncFnOnce(&PgPool),
    {
        let server = server().await;
        let mut admin = PgConnection::connect(server).await.expect("the test server answers");
        let template = ensure_template(server, &mut admin, migrations, build).await;
        let name = next_database_name();
        run(&mut admin, format!("create database {name} template {template}")).await;
        admin.close().await.expect("the test server says goodbye");
        let url = with_database(server, &name);
        let pool = connect(&url, CONNECTIONS_PER_TEST).await;
        Self { pool, url, name, dropped: false }
    }

    /// A database on a server that the test brought along and takes away with all there is on it.
    pub async fn on<B>(server: &str, build: B) -> Self
    where
        B: AsyncFnOnce(&PgPool),
    {
        let mut admin = PgConnection::connect(server).await.expect("the test's server answers");
        let name = next_database_name();
        run(&mut admin, format!("create database {name}")).await;
        admin.close().await.expect("the test's server says goodbye");
        let url = with_database(server, &name);
        let pool = connect(&url, CONNECTIONS_PER_TEST).await;
        build(&pool).await;
        Self { pool, url, name, dropped: true }
    }

    /// Connections to the database.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// For programs that connect by themselves.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Drops the database, whoever is still connected, once what must hold in each was looked at.
    pub async fn close(mut self) {
        assert_kept(&self.pool).await;
        let goes_with_its_server = std::mem::replace(&mut self.dropped, true);
        self.pool.close().await;
        if !goes_with_its_server {
            drop_database(&self.name).await;
        }
    }
}

/// Sums that triggers keep are those of the rows.
async fn assert_kept(pool: &PgPool) {
    const DIFFERENT: &str = "
        select coalesce(t.fingerprint, q.fingerprint)::text from quarantine_totals as t
        full join (
            select source, fingerprint, count(*) as stored,
                   count(*) filter (where status in ('open', 'redriven')) as unresolved,
                   min(run_id) as first_run_id, max(run_id) as last_run_id
            from quarantined_rows group by source, fingerprint
        ) as q using (source, fingerprint)
        full join (
            select source, fingerprint, sum(rows) as stored from quarantine_days
            group by source, fingerprint
        ) as d using (source, fingerprint)
        where (t.stored, t.unresolved, t.first_run_id, t.last_run_id, d.stored)
            is distinct from (q.stored, q.unresolved, q.first_run_id, q.last_run_id, q.stored)";
    // Some tests end with a server that is gone, or with tables of an earlier version.
    let has_totals = "select to_regclass('quarantine_totals') is not null";
    if let Ok(true) = sqlx::query_scalar(has_totals).fetch_one(pool).await {
        let different: Result<Vec<String>, _> = sqlx::query_scalar(DIFFERENT).fetch_all(pool).await;
        assert_eq!(different.unwrap_or_default(), [""; 0], "quarantine_totals has drifted");
    }
}

impl Drop for TestDatabase {
    /// Dropping is synchronous and sqlx is not: a thread with a runtime of its own does it, and is
    /// waited for, because the process may end right after the last test.
    fn drop(&mut self) {
        if self.dropped {
            return;
        }
        let name = self.name.clone();
        let dropping = std::thread::spawn(move || block_on(drop_database(&name)));
        // Panicking here would hide the test's own panic; the next process sweeps.
        let _ = dropping.join();
    }
}

async fn drop_database(name: &str) {
    let dropping = async {
        let mut admin = PgConnection::connect(server().await).await?;
        let statement = format!("drop database if exists {name} with (force)");
        sqlx::query(AssertSqlSafe(statement)).execute(&mut admin).await?;
        admin.close().await
    };
    // A server that is gone takes its databases along; one that hangs must not hang the test.
    let _ = tokio::time::timeout(Duration::from_secs(20), dropping).await;
}

/// The URL of the server's maintenance database. The first caller of a process starts the server
/// and sweeps.
async fn server() -> &'static str {
    static SERVER: OnceCell<String> = OnceCell::const_new();
    SERVER
        .get_or_init(|| async {
            let url = match std::env::var("TEST_DATABASE_URL") {
                Ok(given) => given,
                Err(_) => private_server().await.url().to_owned(),
            };
            sweep(&url).await;
            url
        })
        .await
}

/// Kept in a static, so that the process counts as a user of the server until it ends.
async fn private_server() -> &'static PrivatePostgres {
    static PRIVATE: OnceCell<PrivatePostgres> = OnceCell::const_new();
    PRIVATE
        .get_or_init(|| async {
            let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target/tmp");
            let mut server = start(target.join("test-postgres")).await;
            // Run as root, the server's user may not get into our home, or an ordinary user may own a
            // folder above it.
            let tag = xxh3_64(target.as_os_str().as_encoded_bytes());
            for elsewhere in [std::env::temp_dir(), PathBuf::from("/tmp"), "/var/tmp".into()] {
                if !matches!(
                    server,
                    Err(EmbeddedError::Unreachable { .. } | EmbeddedError::NotOursAlone { .. })
                ) {
                    break;
                }
                let folder = format!("kasparro-test-postgres-{tag:016x}");
                server = start(elsewhere.join(folder)).await;
            }
            let server = server.unwrap_or_else(|error| {
                panic!("no test server (TEST_DATABASE_URL names another one): {error}")
            });
            watch_over(&server);
            server
        })
        .await
}

async fn start(data_dir: PathBuf) -> Result<PrivatePostgres, EmbeddedError> {
    let settings = SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let binaries = std::env::var_os("KASPARRO_PG_BIN").map(PathBuf::from);
    let mirror = std::env::var("KASPARRO_PG_DOWNLOAD_URL").ok();
    let download = DownloadSource::pinned(mirror.as_deref());
    let database = "postgres".to_owned();
    let usual = Options::new(data_dir);
    find_or_start(&Options { binaries, download, settings, database, ..usual }).await
}

/// Sees to it that the server has a watcher. Whoever started the server always gives it one: the
/// former server's watcher may be about to end.
fn watch_over(server: &PrivatePostgres) {
    if !server.started() && watch_lock(server.data_dir()).try_lock().is_err() {
        return;
    }
    let module =
        module_path!().split_once("::").map_or(String::new(), |(_, path)| format!("{path}::"));
    let watcher = Command::new(std::env::current_exe().expect("our own program"))
        .args(["--exact", &format!("{module}stop_the_test_server_once_unused"), "--ignored"])
        .env(WATCH, server.data_dir())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Ctrl-C and nextest's timeouts end our group, not the watcher.
        .process_group(0)
        .spawn();
    let mut watcher = watcher.expect("the watcher starts");
    // Collects it, should it end before us.
    std::thread::spawn(move || watcher.wait());
}

fn watch_lock(data_dir: &Path) -> File {
    let path = data_dir.join("watcher");
    let mut options = OpenOptions::new();
    options.append(true).create(true).open(path).expect("the watcher's lock file opens")
}

#[test]
#[ignore = "the watcher, started by the tests themselves"]
fn stop_the_test_server_once_unused() {
    let Some(data_dir) = std::env::var_os(WATCH).map(PathBuf::from) else { return };
    let lock = watch_lock(&data_dir);
    // Waits for the former server's watcher.
    lock.lock().expect("the watcher's lock");
    loop {
        std::thread::sleep(WATCH_EVERY);
        if !matches!(block_on(stop_if_unused(&data_dir)), Ok(Leaving::OthersRemain)) {
            return;
        }
    }
}

/// The template's name; built first if need be.
async fn ensure_template<B>(
    server: &str,
    admin: &mut PgConnection,
    migrations: &[&[u8]],
    build: B,
) -> String
where
    B: AsyncFnOnce(&PgPool),
{
    let template = template_name(migrations);
    if exists(admin, &template).await {
        return template;
    }
    run(admin, format!("select pg_advisory_lock({TEMPLATE_LOCK})")).await;
    if !exists(admin, &template).await {
        // Older templates, and what a killed builder left: nobody else builds now.
        for old in databases_beginning_with(admin, &template_prefix()).await {
            run(admin, format!("drop database if exists {old} with (force)")).await;
        }
        let unfinished = format!("{}unfinished", template_prefix());
        run(admin, format!("create database {unfinished} template template0")).await;
        let pool = connect(&with_database(server, &unfinished), CONNECTIONS_PER_TEST).await;
        build(&pool).await;
        pool.close().await;
        let rename = format!("alter database {unfinished} rename to {template}");
        run_once_free(admin, rename).await;
    }
    run(admin, format!("select pg_advisory_unlock({TEMPLATE_LOCK})")).await;
    template
}

/// Each migration's length counts as well: moving a boundary between two is a change.
fn template_name(migrations: &[&[u8]]) -> String {
    let mut all = Vec::new();
    for migration in migrations {
        all.extend_from_slice(&migration.len().to_le_bytes());
        all.extend_from_slice(migration);
    }
    format!("{}{:016x}", template_prefix(), xxh3_64(&all))
}

/// Test programs with migrations of their own run at the same time and keep a template each.
fn template_prefix() -> String {
    let program = module_path!().split("::").next().unwrap_or_default();
    format!("{TEMPLATE_PREFIX}{:08x}_", xxh3_64(program.as_bytes()) >> 32)
}

/// `kasparro_test_MACHINE_PID_START_NUMBER`.
fn next_database_name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    // A process number comes round again; the time tells its bearers apart.
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let pid = std::process::id();
    format!("{}{pid}_{:x}_{number}", own_prefix(), since.as_micros())
}

/// Process numbers mean something within one machine (and container) only; a server named in
/// TEST_DATABASE_URL may serve several.
fn own_prefix() -> String {
    let mut machine = String::new();
    for file in ["/proc/sys/kernel/hostname", "/proc/sys/kernel/random/boot_id"] {
        machine.push_str(&std::fs::read_to_string(file).unwrap_or_default());
    }
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    machine.push_str(&namespace.to_string_lossy());
    format!("kasparro_test_{:08x}_", xxh3_64(machine.as_bytes()) >> 32)
}

/// Drops the databases of test processes that died.
async fn sweep(server: &str) {
    let mut admin = PgConnection::connect(server).await.expect("the test server answers");
    let prefix = own_prefix();
    for name in databases_beginning_with(&mut admin, &prefix).await {
        let pid = name[prefix.len()..].split('_').next().and_then(|pid| pid.parse().ok());
        if pid.is_some_and(|pid| !is_alive(pid)) {
            // Another process may be sweeping the same one.
            let statement = format!("drop database if exists {name} with (force)");
            let _ = sqlx::query(AssertSqlSafe(statement)).execute(&mut admin).await;
        }
    }
    let _ = admin.close().await;
}

fn is_alive(pid: i32) -> bool {
    let answer = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None);
    !matches!(answer, Err(nix::errno::Errno::ESRCH))
}

async fn exists(admin: &mut PgConnection, name: &str) -> bool {
    sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
        .bind(name)
        .fetch_one(admin)
        .await
        .expect("the test server lists its databases")
}

async fn databases_beginning_with(admin: &mut PgConnection, prefix: &str) -> Vec<String> {
    sqlx::query_scalar("select datname::text from pg_database where starts_with(datname, $1)")
        .bind(prefix)
        .fetch_all(admin)
        .await
        .expect("the test server lists its databases")
}

/// The names in our statements are our own: letters, digits and underscores.
async fn run(admin: &mut PgConnection, statement: String) {
    let done = sqlx::query(AssertSqlSafe(statement.as_str())).execute(admin).await;
    done.unwrap_or_else(|error| panic!("the test server refuses `{statement}`: {error}"));
}

/// A closed connection's backend takes a moment to go, and renaming needs the database to itself.
async fn run_once_free(admin: &mut PgConnection, statement: String) {
    const OBJECT_IN_USE: &str = "55006";
    for _ in 0..100 {
        match sqlx::query(AssertSqlSafe(statement.as_str())).execute(&mut *admin).await {
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(OBJECT_IN_USE) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("the test server refuses `{statement}`: {error}"),
            Ok(_) => return,
        }
    }
    panic!("the database stays in use: `{statement}`");
}

async fn connect(url: &str, connections: u32) -> PgPool {
    let options = PgPoolOptions::new().max_connections(connections);
    options.connect(url).await.expect("the test database answers")
}

/// The URL of another database on the same server.
fn with_database(server: &str, name: &str) -> String {
    let (address, parameters) = match server.split_once('?') {
        Some((address, parameters)) => (address, format!("?{parameters}")),
        None => (server, String::new()),
    };
    let authority = address.find("://").map_or(0, |scheme| scheme + 3);
    let end = address[authority..].find('/').map_or(address.len(), |slash| authority + slash);
    format!("{}/{name}{parameters}", &address[..end])
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a small runtime").block_on(future)
}
