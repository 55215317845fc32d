//! Owns what glibc does with the buffers of chunks that are freed: they go back to the system.
//!
//! Allocations above a threshold come from the system and go back to it, but with each of them that is
//! freed glibc raises the threshold to its size. So buffers of several MB soon come from the arenas of
//! whichever threads ask for them, and stay there: a million rows then take 95 MB of memory instead of
//! 42, in the same time. A threshold that is given stays as it is. glibc reads it when a program
//! starts; to set it later takes unsafe code. So the program starts itself once more.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// See mallopt(3).
const THRESHOLD: &str = "MALLOC_MMAP_THRESHOLD_";
const BYTES: &str = "1048576";

/// To be called before anything else is begun; what this process has is lost. A threshold that the
/// environment gives is left alone.
pub(super) fn give_buffers_back() {
    let glibc = cfg!(all(target_os = "linux", target_env = "gnu"));
    if !glibc || std::env::var_os(THRESHOLD).is_some() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let mut arguments = std::env::args_os();
    let mut again = Command::new(program);
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    // It returns only if it fails; then all that is lost is memory.
    let error = again.args(arguments).env(THRESHOLD, BYTES).exec();
    super::out::remark(format!(
        "warning: freed memory is kept, as the program cannot start itself again: {error}"
    ));
}
