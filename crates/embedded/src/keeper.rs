//! Keeping the server running while this process uses it.
//!
//! Owns noticing that the server has ended, and starting it again, ever more slowly if it does not
//! stay. Nobody stops a server that is in use, so one that ended was killed, or crashed. Whoever uses
//! it notices; the folder's lock lets one start it, and the others find it running.
//! It must not know what the server is used for.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::error::EmbeddedError;
use super::folder::DataFolder;
use super::options::Options;
use super::{leftovers, server};

/// A look is one small file read and one question to the kernel.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two starts, doubled each time …
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// … up to this …
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// … until a server has lived this long.
const STABLE_AFTER: Duration = Duration::from_secs(60);

/// Starts the server again whenever it has ended, for ever.
pub(super) async fn keep(folder: DataFolder, socket: PathBuf, options: Options) {
    let cluster = folder.cluster();
    let mut started = Instant::now();
    let mut pause = FIRST_PAUSE;
    let mut first = true;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if runs(&cluster) {
            continue;
        }
        if started.elapsed() > STABLE_AFTER || first {
            pause = FIRST_PAUSE;
        } else {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        first = false;
        tracing::warn!("the private PostgreSQL has ended; starting it again");
        match start(&folder, &socket, &options).await {
            Ok(()) => tracing::warn!("the private PostgreSQL runs again"),
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "the private PostgreSQL does not start; trying again"
            ),
        }
        started = Instant::now();
    }
}

fn runs(cluster: &Path) -> bool {
    leftovers::pid_in_file(cluster).is_some_and(leftovers::is_alive)
}

async fn start(folder: &DataFolder, socket: &Path, options: &Options) -> Result<(), EmbeddedError> {
    let _lock = folder.lock().await?;
    let now = folder.socket_folder()?;
    if now != socket {
        // Somebody cleaned the temporary folder up; our connections look for the former one.
        return Err(EmbeddedError::SocketMoved { before: socket.to_owned(), now });
    }
    server::ensure_running(folder, socket, options).await.map(drop)
}
