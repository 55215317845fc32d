//! Owns how many bytes of rows the tasks of this process work on at once. Slices of the usual size never wait;
//! a larger one waits until there is room for it, and the largest are worked on alone: a few copies of
//! each are in memory, and not of several.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::chunk_cache::SHARE;

/// What is counted: bytes would be more than a semaphore has.
const UNIT: usize = 1 << 10;
/// Kinds of tasks that compute, each of which does so many at once as there are cores.
const KINDS: usize = 3;

/// The bytes that may be worked on.
#[derive(Debug)]
pub(super) struct Memory {
    units: u32,
    free: Arc<Semaphore>,
}

/// So many of them are being worked on as long as this lives.
#[derive(Debug)]
pub(super) struct InMemory(
    #[expect(dead_code, reason = "it is given back when dropped")] Option<OwnedSemaphorePermit>,
);

impl Memory {
    /// Room for a chunk of the usual size for each of so many computing tasks of every kind.
    pub fn new(computing: usize) -> Self {
        let units = u32::try_from(KINDS * computing * SHARE / UNIT).unwrap_or(u32::MAX >> 4);
        Self { units, free: Arc::new(Semaphore::new(units as usize)) }
    }

    /// Waits until so many bytes may be worked on, or, where there is never room for as many, until nothing else
    /// is. Those who ask first come first.
    pub async fn hold(&self, bytes: usize) -> InMemory {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).min(self.units);
        // It is never closed.
        InMemory(self.free.clone().acquire_many_owned(units).await.ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn waits(memory: &Arc<Memory>, bytes: usize) -> tokio::task::JoinHandle<InMemory> {
        let memory = memory.clone();
        let waiting = tokio::spawn(async move { memory.hold(bytes).await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        waiting
    }

    #[tokio::test]
    async fn slices_of_the_usual_size_do_not_wait_and_a_huge_one_is_alone() {
        let memory = Arc::new(Memory::new(2));
        let mut usual = Vec::new();
        for _ in 0..6 {
            usual.push(memory.hold(SHARE).await);
        }
        let huge = waits(&memory, 60 << 20).await;
        usual.truncate(1);
        tokio::task::yield_now().await;
        assert!(!huge.is_finished());
        // Who comes later does not go first.
        let late = waits(&memory, 1).await;
        usual.clear();
        let huge = huge.await.unwrap();
        tokio::task::yield_now().await;
        assert!(!late.is_finished());
        drop(huge);
        late.await.unwrap();
    }
}
