//! Owns what a command that waits for runs ends with.

use std::process::ExitCode;

use crate::domain::run::RunStatus;

/// What `run` ends with when no run failed and one is degraded.
const DEGRADED: u8 = 2;

/// What `run` ends with.
pub(super) fn code(ended: impl IntoIterator<Item = RunStatus>, allow_degraded: bool) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for status in ended {
        match status {
            RunStatus::Success | RunStatus::SuccessWithDuplicates => {}
            RunStatus::Degraded if allow_degraded => {}
            RunStatus::Degraded => code = ExitCode::from(DEGRADED),
            RunStatus::Failed | RunStatus::Cancelled | RunStatus::Queued | RunStatus::Running => {
                return ExitCode::FAILURE;
            }
        }
    }
    code
}
