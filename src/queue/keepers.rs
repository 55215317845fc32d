//! Owns that what keeps the queue going goes on: a panic in it is logged, and it begins again. Its end
//! would be noticed by nobody: items of dead workers would stay with them, or a queue would poll for nothing.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use tokio::time::sleep;

/// Between a panic and the next beginning.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// Does the work until it ends by itself.
pub(super) async fn keep_at<T, F: Future<Output = T>>(
    what: &str,
    mut work: impl FnMut() -> F,
) -> T {
    loop {
        // Whatever it has left half done is its own, and new each time.
        match AssertUnwindSafe(work()).catch_unwind().await {
            Ok(done) => return done,
            // The panic hook has said what happened and where.
            Err(_panic) => tracing::error!("{what} panicked and begins again"),
        }
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_panics_begins_again_until_it_ends_by_itself() {
        let mut attempts = 0;
        let done = keep_at("a test", || {
            attempts += 1;
            let this = attempts;
            async move { if this < 3 { panic!("on purpose") } else { this } }
        });
        assert_eq!(done.await, 3);
    }
}
