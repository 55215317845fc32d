//! Owns the signals that ask a process to end.

use anyhow::Context;
use nix::sys::signal::Signal;
use tokio::signal::unix::{self, SignalKind, signal};

/// The signals that ask this process to end, from now on caught.
pub(super) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    /// `None` when it is ignored: under `nohup` a process outlives its terminal.
    hang_up: Option<unix::Signal>,
}

impl Signals {
    pub(super) fn catch() -> anyhow::Result<Self> {
        let hang_up = match hang_up_is_ignored() {
            true => None,
            false => Some(signal(SignalKind::hangup()).context("no handler for SIGHUP")?),
        };
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).context("no handler for Ctrl-C")?,
            terminate: signal(SignalKind::terminate()).context("no handler for SIGTERM")?,
            hang_up,
        })
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) -> Signal {
        let hang_up = async {
            match &mut self.hang_up {
                Some(hang_up) => hang_up.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => Signal::SIGINT,
            _ = self.terminate.recv() => Signal::SIGTERM,
            _ = hang_up => Signal::SIGHUP,
        }
    }
}

/// Whether this process was started to ignore the end of its terminal. Only Linux tells without unsafe
/// code; elsewhere the signal is left as it is.
fn hang_up_is_ignored() -> bool {
    match std::fs::read_to_string("/proc/self/status") {
        Ok(status) => ignores(&status, Signal::SIGHUP),
        Err(_) => true,
    }
}

/// Whether `/proc/PID/status` says that a signal is ignored.
fn ignores(status: &str, signal: Signal) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (signal as i32 - 1)) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_ignored_signals_is_read() {
        let status = "Name:\tx\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000001001\n";
        assert!(ignores(status, Signal::SIGHUP) && ignores(status, Signal::SIGPIPE));
        assert!(!ignores(status, Signal::SIGTERM) && !ignores("", Signal::SIGHUP));
    }
}
