//! Owns kasparro's processes: started, told to stop, frozen, killed, and started again.
//!
//! They are this very program, started as kasparro, so that nothing else needs to be built.

use std::fs::OpenOptions;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::{Instant, sleep};

/// Told to this program when it is to be kasparro.
pub const AS_KASPARRO: &str = "SOAK_AS_KASPARRO";
/// The shipped time of grace, and what closing a pool to a database that is away may take.
const ENDS_WITHIN: Duration = Duration::from_secs(75);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Waits until a condition holds, as long as the machine may need.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            sleep(LOOK_EVERY).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(90), waiting).await;
    waited.unwrap_or_else(|_| panic!("waited in vain: {what}"));
}

/// A place for one process.
pub struct Slot {
    /// What it is called in the log.
    pub name: &'static str,
    /// Where its API answers, if it has one.
    pub address: Option<String>,
    command: Vec<String>,
    child: Option<Child>,
    frozen: bool,
}

impl Slot {
    /// A place for `kasparro COMMAND`; with an API, it listens on a port of its own.
    pub fn new(name: &'static str, command: &[&str], api: bool) -> anyhow::Result<Self> {
        let mut command: Vec<_> = command.iter().map(|word| (*word).to_owned()).collect();
        let address = match api {
            true => Some(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string()),
            false => None,
        };
        if let Some(address) = &address {
            command.extend(["--listen".to_owned(), address.clone()]);
        }
        Ok(Self { name, address, command, child: None, frozen: false })
    }

    /// Starts the process if there is none. Answers whether one had ended that nobody ended.
    pub fn ensure(&mut self, folder: &Path, url: &str) -> anyhow::Result<bool> {
        let ended = match &mut self.child {
            Some(child) => child.try_wait()?.is_some(),
            None => false,
        };
        if self.child.is_none() || ended {
            self.child = Some(kasparro(folder, url, self.name, &self.command)?.spawn()?);
        }
        Ok(ended)
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        self.frozen = false;
        Ok(())
    }

    /// SIGTERM, and waits until it has ended.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.thaw()?;
        let Some(child) = &mut self.child else { return Ok(()) };
        let told = Instant::now();
        kill(pid(child), Signal::SIGTERM)?;
        while child.try_wait()?.is_none() {
            let name = self.name;
            ensure!(told.elapsed() < ENDS_WITHIN, "{name} was told to stop and does not end");
            sleep(LOOK_EVERY).await;
        }
        self.child = None;
        Ok(())
    }

    pub fn freeze(&mut self) -> anyhow::Result<()> {
        if let Some(child) = &mut self.child
            && child.try_wait()?.is_none()
        {
            kill(pid(child), Signal::SIGSTOP)?;
            self.frozen = true;
        }
        Ok(())
    }

    pub fn thaw(&mut self) -> anyhow::Result<()> {
        if let Some(child) = &self.child
            && self.frozen
        {
            kill(pid(child), Signal::SIGCONT)?;
        }
        self.frozen = false;
        Ok(())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

/// A command of kasparro, which writes what it says to `NAME.log`.
pub fn kasparro(
    folder: &Path,
    url: &str,
    name: &str,
    arguments: &[impl AsRef<std::ffi::OsStr>],
) -> anyhow::Result<Command> {
    let log = OpenOptions::new().create(true).append(true).open(folder.join(format!("{name}.log")));
    let log = log.context("a log file")?;
    let mut command = Command::new(std::env::current_exe()?);
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("KASPARRO_") {
            command.env_remove(variable);
        }
    }
    command
        .args(arguments)
        .arg0("kasparro")
        .env(AS_KASPARRO, "1")
        .env("DATABASE_URL", url)
        .env("KASPARRO_JOBS_DIR", folder.join("jobs"))
        .env("KASPARRO_RATE_LIMIT", "0")
        .env("KASPARRO_TASK_ATTEMPTS", "6")
        .env("KASPARRO_WORKERS", "2")
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    Ok(command)
}
