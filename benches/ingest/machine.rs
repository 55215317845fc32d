//! What the figures were measured on.
//!
//! Owns saying it in a line. It must not know the figures.

use std::fs;

use crate::server::Server;

/// Processors, memory, system and server.
pub async fn description(server: &Server) -> anyhow::Result<String> {
    let processors = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let model = line_of("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned());
    let memory = line_of("/proc/meminfo", "MemTotal");
    let kilobytes: f64 =
        memory.and_then(|text| text.split(' ').next()?.parse().ok()).unwrap_or_default();
    let system = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Ok(format!(
        "Measured on {processors} × {model}, {:.0} GB of memory, Linux {}; {}.",
        kilobytes / 1e6,
        system.trim(),
        server.description().await?
    ))
}

fn line_of(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
