//! CPU time of processes, as Linux keeps it in `/proc`.
//!
//! Owns reading it. It must not know which processes are measured, nor why.

use std::fs;

/// The unit of `/proc/PID/stat`, the same on every Linux that matters.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a process has spent so far, in CPU seconds.
pub struct Spent {
    parent: u32,
    /// Itself.
    pub own: f64,
    /// The processes that it started, that have ended and that it has collected.
    pub children: f64,
}

/// CPU seconds of a server so far: the postmaster, its living children, and those that have ended.
pub fn of_server(postmaster: u32) -> f64 {
    let living = processes().filter_map(spent).filter(|spent| spent.parent == postmaster);
    let living: f64 = living.map(|child| child.own).sum();
    living + spent(postmaster).map_or(0.0, |server| server.own + server.children)
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// What a process has spent; `None` when it is gone.
pub fn spent(pid: u32) -> Option<Spent> {
    // `man 5 proc_pid_stat`: the name may itself hold spaces and parentheses.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, behind) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = behind.split_whitespace().collect();
    let seconds = |at: usize| Some(fields.get(at)?.parse::<f64>().ok()? / TICKS_PER_SECOND);
    Some(Spent {
        parent: fields.get(1)?.parse().ok()?,
        own: seconds(11)? + seconds(12)?,
        children: seconds(13)? + seconds(14)?,
    })
}
