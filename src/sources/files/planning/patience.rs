//! Owns telling threads beside the async ones that nobody waits for them any more: after a timeout, or a cancelled task.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::sources::SignsOfLife;

/// Somebody who waits. Once it is dropped, nobody does.
#[derive(Debug, Default)]
pub(super) struct Patience(Arc<AtomicBool>);

impl Patience {
    /// The flag that says that nobody waits.
    pub fn ended(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

impl Drop for Patience {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What somebody waits for while it is read.
#[derive(Debug, Clone, Default)]
pub(super) struct Awaiting {
    /// Whether nobody waits any more.
    pub ended: Arc<AtomicBool>,
    /// What tells them that it comes.
    pub signs: SignsOfLife,
}

impl Awaiting {
    /// The same bytes, which end in an error as soon as nobody waits for them.
    pub fn bytes(&self, bytes: Box<dyn Read + Send>) -> Box<dyn Read + Send> {
        let bytes = self.signs.over(bytes);
        Box::new(Awaited { bytes, ended: Arc::clone(&self.ended) })
    }
}

struct Awaited {
    bytes: Box<dyn Read + Send>,
    ended: Arc<AtomicBool>,
}

impl Read for Awaited {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.ended.load(Ordering::Relaxed) {
            true => Err(io::Error::new(io::ErrorKind::BrokenPipe, "nobody waits for it any more")),
            false => self.bytes.read(buffer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_as_long_as_somebody_waits_for_them() {
        let patience = Patience::default();
        let awaiting = Awaiting { ended: patience.ended(), ..Awaiting::default() };
        let mut bytes = awaiting.bytes(Box::new(io::repeat(1)));
        assert_eq!(bytes.read(&mut [0; 9]).unwrap(), 9);
        drop(patience);
        let error = bytes.read(&mut [0; 9]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
