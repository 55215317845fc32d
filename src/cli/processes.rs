//! Owns the single-purpose processes: `serve`, `worker`, `scheduler`, `migrate`, `healthcheck`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU64;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::database::{Database, Schema};
use super::out;
use super::signals::Signals;
use crate::api::{self, ApiState, AuthConfig, UploadBucket, UploadFolder, Uploads, WithoutToken};
use crate::config::{Settings, UploadPlace};
use crate::db::api_tokens;
use crate::janitor;
use crate::job_file::JobsFolder;
use crate::queue::{self, WorkError};
use crate::scheduler;
use crate::sources::{Access, AllowedRoots};
use crate::tasks::perform::RetryPolicy;
use crate::tasks::tokens::{ProcessTokens, Sealing};
use crate::watcher;
use crate::worker::{self, WorkerOptions};

/// Requests need a connection for a moment each.
pub(super) const API_CONNECTIONS: u32 = 10;

/// A token that is cancelled by Ctrl-C, SIGTERM or the terminal's end. A second signal ends the
/// process at once.
pub(super) fn stop_signal() -> anyhow::Result<CancellationToken> {
    let token = CancellationToken::new();
    let mut signals = Signals::catch()?;
    let stop = token.clone();
    tokio::spawn(async move {
        for exit in [false, true] {
            signals.next().await;
            if exit {
                #[expect(
                    clippy::exit,
                    reason = "ends at once; what was under way is taken over at the next start"
                )]
                std::process::exit(130);
            }
            stop.cancel();
        }
    });
    Ok(token)
}

/// Takes the API's address before anything slow is started.
pub(super) fn listen(settings: &Settings) -> anyhow::Result<TcpListener> {
    let address = settings.listen;
    api::listen(address).map_err(|error| {
        let why = match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                "it is in use; stop what uses it, or choose another with --listen".to_owned()
            }
            std::io::ErrorKind::PermissionDenied => {
                "the system does not allow it; choose a port from 1024 on with --listen".to_owned()
            }
            _ => error.to_string(),
        };
        anyhow::anyhow!("the API cannot listen on {address}: {why}")
    })
}

/// Whom the API answers. An address that others reach needs a token first, or `--allow-anonymous`.
pub(super) async fn auth_config(settings: &Settings, pool: &PgPool) -> anyhow::Result<AuthConfig> {
    let without_token = WithoutToken::on(settings.listen, settings.allow_anonymous);
    if without_token == WithoutToken::Nobody && !api_tokens::any_usable(pool).await? {
        anyhow::bail!(
            "the API would listen on {}, which others can reach, and there is no usable token; make \
             one with `kasparro token create --scope admin`, listen on 127.0.0.1, or let everybody \
             in who reaches it with --allow-anonymous (KASPARRO_ALLOW_ANONYMOUS)",
            settings.listen
        );
    }
    if without_token == WithoutToken::Everybody && !api_tokens::any_usable(pool).await? {
        tracing::warn!(
            address = %settings.listen,
            "there is no usable token and anonymous requests are allowed: whoever reaches the API \
             may do everything"
        );
    }
    Ok(AuthConfig {
        without_token,
        allowed_hosts: settings.allowed_hosts.clone(),
        rate: settings.rate_limit,
        connections: settings.connections_per_address,
    })
}

/// Which files job files may lead to.
pub(super) fn allowed_roots(settings: &Settings) -> anyhow::Result<AllowedRoots> {
    let mut roots = settings.data_roots.clone();
    if let Some(Uploads::Folder(uploads)) = uploads(settings) {
        uploads.make().with_context(|| {
            format!("upload_dir: {} cannot be made", uploads.folder().display())
        })?;
        roots.push(uploads.folder().to_owned());
    }
    AllowedRoots::new(&roots).map_err(|(folder, error)| {
        let setting = match settings.data_roots.contains(&folder) {
            true => "data_roots",
            false => "upload_dir",
        };
        anyhow::Error::new(error)
            .context(format!("{setting}: {} is no folder that can be read", folder.display()))
    })
}

/// Where uploaded files are kept, if they may be.
fn uploads(settings: &Settings) -> Option<Uploads> {
    let most = settings.upload_max_bytes.map(NonZeroU64::get);
    settings.upload_dir.as_ref().map(|place| match place.clone() {
        UploadPlace::Folder(folder) => Uploads::Folder(UploadFolder::new(folder, most)),
        UploadPlace::Bucket(address) => Uploads::Bucket(UploadBucket::new(address, most)),
    })
}

/// How this process works on tasks.
pub(super) fn worker_options(settings: &Settings) -> anyhow::Result<WorkerOptions> {
    Ok(WorkerOptions {
        name: worker::process_name(),
        computing: settings.workers,
        retry: RetryPolicy {
            max_attempts: settings.task_attempts.into(),
            time_limit: settings.task_time_limit,
            ..RetryPolicy::default()
        },
        allowed_roots: allowed_roots(settings)?,
        jobs: Some(JobsFolder::new(&settings.jobs_dir)),
        secret_key: settings.secret_key.clone(),
        grace: settings.grace,
    })
}

/// What the API works with.
pub(super) fn api_state(
    settings: &Settings,
    pool: &PgPool,
    jobs: &JobsFolder,
    access: Access,
) -> anyhow::Result<ApiState> {
    let sealing = settings.secret_key.as_ref().map(|key| Sealing::new(key.expose()));
    let tokens = ProcessTokens::new(pool.clone(), sealing);
    let (pool, jobs, allowed_roots) = (pool.clone(), jobs.clone(), allowed_roots(settings)?);
    let (uploads, public_url) = (uploads(settings), settings.public_url.clone());
    Ok(ApiState { pool, jobs, access, allowed_roots, tokens, uploads, public_url })
}

pub(super) async fn serve(
    settings: &Settings,
    jobs: &JobsFolder,
    access: Access,
) -> anyhow::Result<ExitCode> {
    let listener = listen(settings)?;
    let database = Database::open_as_service(settings, API_CONNECTIONS, Schema::Expect).await?;
    let state = api_state(settings, &database.pool, jobs, access)?;
    let served = serve_on(settings, state, listener).await;
    database.close().await?;
    served.map(|()| ExitCode::SUCCESS)
}

async fn serve_on(
    settings: &Settings,
    state: ApiState,
    listener: TcpListener,
) -> anyhow::Result<()> {
    let auth_config = auth_config(settings, &state.pool).await?;
    let stop = stop_signal()?;
    tracing::info!(address = %settings.listen, "API listening");
    api::serve(state, auth_config, listener, settings.grace, stop.cancelled_owned()).await?;
    Ok(())
}

/// Works, and sweeps, until told to stop.
pub(super) async fn work(
    pool: &PgPool,
    options: &WorkerOptions,
    stop: CancellationToken,
) -> Result<(), WorkError> {
    tokio::select! {
        worked = worker::run(pool, options, stop.cancelled_owned()) => worked,
        () = janitor::run(pool, options.allowed_roots.clone(), std::future::pending()) => Ok(()),
    }
}

pub(super) async fn worker(settings: &Settings) -> anyhow::Result<ExitCode> {
    let connections = WorkerOptions::connections(settings.workers);
    let database = Database::open_as_service(settings, connections, Schema::Expect).await?;
    let stop = stop_signal()?;
    let options = worker_options(settings)?;
    tracing::info!(worker = options.name, computing = options.computing, "worker started");
    work(&database.pool, &options, stop).await?;
    tracing::info!(worker = options.name, "worker stopped");
    database.close().await?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn scheduler(
    settings: &Settings,
    jobs: &JobsFolder,
    access: Access,
) -> anyhow::Result<ExitCode> {
    let database = Database::open_as_service(settings, 2, Schema::Expect).await?;
    let stop = stop_signal()?;
    tracing::info!(jobs = %settings.jobs_dir.display(), "scheduler started");
    schedule(&database.pool, jobs, access, &allowed_roots(settings)?, &stop).await;
    database.close().await?;
    Ok(ExitCode::SUCCESS)
}

/// Starts runs that are due, and those of files that have changed, until told to stop.
pub(super) async fn schedule(
    pool: &PgPool,
    jobs: &JobsFolder,
    access: Access,
    allowed_roots: &AllowedRoots,
    stop: &CancellationToken,
) {
    let watching = watcher::run(pool, jobs, access, allowed_roots, stop.clone().cancelled_owned());
    tokio::join!(
        Box::pin(scheduler::run(pool, jobs, access, stop.clone().cancelled_owned())),
        Box::pin(watching),
    );
}

pub(super) async fn migrate(settings: &Settings) -> anyhow::Result<ExitCode> {
    let database = Database::open(settings, 2, Schema::Migrate).await?;
    out::line("the database's schema is up to date");
    database.close().await?;
    Ok(ExitCode::SUCCESS)
}

/// An API that listens on every address is asked on the loopback one.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

pub(super) async fn healthcheck(settings: &Settings, ready: bool) -> anyhow::Result<ExitCode> {
    let path = if ready { "/health/ready" } else { "/health" };
    let url = format!("http://{}{path}", reachable(settings.listen));
    let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).no_proxy().build()?;
    let answer = client.get(&url).send().await.with_context(|| format!("{url} does not answer"))?;
    let status = answer.status();
    out::verbatim(answer.text().await?);
    Ok(if status.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Tasks that are enqueued wait for workers, which other commands start.
pub(super) async fn say_if_nobody_works(pool: &PgPool) -> anyhow::Result<()> {
    if !queue::anybody_works(pool).await? {
        out::remark(
            "no worker is running: tasks wait until `kasparro worker` or `kasparro up` is started",
        );
    }
    Ok(())
}
