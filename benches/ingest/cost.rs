//! What one command costs: time, CPU of client and server, write-ahead log, memory.
//!
//! Owns running and watching it. It must not know what the command does.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::process::Command;

use crate::cpu;
use crate::server::{Server, settled};

/// How often the memory of the process is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a command has cost.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    /// Seconds from start to end.
    pub wall: f64,
    /// CPU seconds of the command.
    pub client_cpu: f64,
    /// CPU seconds of the server meanwhile, background processes included.
    pub server_cpu: f64,
    /// Bytes of write-ahead log.
    pub wal: f64,
    /// The most memory that the command had resident, in bytes …
    pub peak_resident: f64,
    /// … and the most that was its own, not files'.
    pub peak_anonymous: f64,
}

impl Cost {
    /// CPU seconds on both sides.
    pub fn cpu(&self) -> f64 {
        self.client_cpu + self.server_cpu
    }
}

/// Runs a command to its end; answers its cost and what it wrote to standard output.
pub async fn measure(
    server: &Server,
    mut command: Command,
    folder: &Path,
) -> anyhow::Result<(Cost, String)> {
    // What was written before is on disk, and is not charged to this command.
    server.execute("checkpoint").await?;
    let (out, err) = (folder.join("stdout"), folder.join("stderr"));
    command.stdout(File::create(&out)?).stderr(File::create(&err)?).kill_on_drop(true);
    let (wal, server_cpu, collected) = (server.wal().await?, server.cpu(), collected());
    let mut cost = Cost::default();
    let started = Instant::now();
    let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
    let pid = child.id().unwrap_or_default();
    let mut looks = tokio::time::interval(LOOK_EVERY);
    let status = loop {
        tokio::select! {
            status = child.wait() => break status?,
            _ = looks.tick() => cost.look(pid),
        }
    };
    cost.wall = started.elapsed().as_secs_f64();
    cost.client_cpu = self::collected() - collected;
    settled().await;
    cost.server_cpu = server.cpu() - server_cpu;
    cost.wal = (server.wal().await? - wal) as f64;
    if !status.success() {
        let said = std::fs::read_to_string(&err)?;
        bail!("{command:?} ended with {status}:\n{said}");
    }
    Ok((cost, std::fs::read_to_string(&out)?))
}

/// Standard input of a command from a file.
pub fn input(path: &Path) -> anyhow::Result<Stdio> {
    Ok(File::open(path).with_context(|| path.display().to_string())?.into())
}

/// CPU seconds of the processes that we started and that have ended.
fn collected() -> f64 {
    cpu::spent(std::process::id()).map_or(0.0, |spent| spent.children)
}

impl Cost {
    fn look(&mut self, pid: u32) {
        let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { return };
        let kilobytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<f64>().ok()
        };
        let resident = kilobytes("VmHWM:").unwrap_or_default() * 1024.0;
        let anonymous = kilobytes("RssAnon:").unwrap_or_default() * 1024.0;
        self.peak_resident = self.peak_resident.max(resident);
        self.peak_anonymous = self.peak_anonymous.max(anonymous);
    }
}
