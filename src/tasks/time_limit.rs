//! Owns how long a part of a task may take: as long as bytes come, and nothing of them can be stored, its time begins anew.

use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::sources::SignsOfLife;

/// The fewest bytes that have to come within a time limit. A trickle would hold a task for ever.
const FEWEST: u64 = 1 << 20;

/// The longest in all, whatever comes.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// What work gives; `None` if less than a MiB came within the limit, or it takes a day.
pub(super) async fn within<T>(
    limit: Duration,
    signs: &SignsOfLife,
    work: impl Future<Output = T>,
) -> Option<T> {
    let mut work = pin!(work);
    let begun = Instant::now();
    loop {
        let before = signs.bytes();
        match timeout(limit, &mut work).await {
            Ok(done) => return Some(done),
            Err(_elapsed) if signs.bytes() - before >= FEWEST && begun.elapsed() < LONGEST => {}
            Err(_elapsed) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, repeat};

    use tokio::time::sleep;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(900);

    /// Work of 50 steps, each of 100 s, in which so many bytes come.
    async fn worked(bytes: usize) -> Option<usize> {
        let signs = SignsOfLife::default();
        let mut coming = signs.over(Box::new(repeat(1)));
        let work = async move {
            let mut all = 0;
            for _ in 0..50 {
                sleep(Duration::from_secs(100)).await;
                let mut piece = vec![0; bytes];
                coming.read_exact(&mut piece).unwrap();
                all += piece.len();
            }
            all
        };
        within(LIMIT, &signs, work).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_begins_anew_as_long_as_bytes_come_and_a_trickle_is_given_up() {
        assert_eq!(worked(200_000).await, Some(10_000_000));
        assert_eq!(worked(100).await, None);
        assert_eq!(worked(0).await, None);
        assert_eq!(within(LIMIT, &SignsOfLife::default(), async { 7 }).await, Some(7));
    }
}
