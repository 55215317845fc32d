//! Owns putting aside what comes of a file while it is looked through, so that it can be read from its beginning
//! without being asked for again.

use std::io::{self, Read};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::sources::files::places::incoming::Incoming;
use crate::sources::files::spool::Spool;
use crate::sources::files::unpack::Bytes;

/// A file that is coming, and what of it is put aside. Clones are the same file: one reads it, another one has it read
/// again.
#[derive(Clone)]
pub(super) struct Aside(Arc<Mutex<State>>);

struct State {
    rest: Option<Incoming>,
    kept: Kept,
    most: u64,
}

enum Kept {
    /// Nothing yet.
    Nothing,
    /// All that has come so far.
    All(Spool),
    /// It is not to be read again.
    NotWanted,
    /// It cannot be read again, for this reason.
    Failed(String),
}

impl Aside {
    /// Puts aside what comes, `most` bytes of it.
    pub fn of(bytes: Incoming, most: u64) -> Self {
        Self(Arc::new(Mutex::new(State { rest: Some(bytes), kept: Kept::Nothing, most })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What comes from now on need not be put aside.
    pub fn stop(&self) {
        self.state().kept = Kept::NotWanted;
    }

    /// All bytes from the first one on. Whoever has read it so far reads nothing more.
    ///
    /// # Errors
    /// Why it could not be put aside.
    pub fn again(&self) -> Result<Bytes, String> {
        let mut state = self.state();
        match mem::replace(&mut state.kept, Kept::NotWanted) {
            Kept::All(spool) => {
                let rest = state.rest.take().map(|rest| Box::new(rest) as Bytes);
                let begun = spool.part(0, spool.len());
                Ok(Box::new(begun.chain(rest.unwrap_or_else(|| Box::new(io::empty())))))
            }
            Kept::Failed(why) => Err(why),
            Kept::Nothing | Kept::NotWanted => Err("nothing of it was put aside".to_owned()),
        }
    }
}

impl Read for Aside {
    /// Waits for the next piece: not for async threads.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.state();
        let Some(rest) = &mut state.rest else { return Ok(0) };
        let length = rest.read(buffer)?;
        let most = state.most;
        state.kept.add(&buffer[..length], most);
        Ok(length)
    }
}

impl Kept {
    fn add(&mut self, bytes: &[u8], most: u64) {
        if matches!(self, Self::Nothing) {
            *self = match Spool::empty() {
                Ok(spool) => Self::All(spool),
                Err(error) => Self::Failed(error.to_string()),
            };
        }
        if let Self::All(spool) = self
            && spool.len() + bytes.len() as u64 > most
        {
            *self = Self::Failed(format!(
                "has more than `files.max_spool` = {most} bytes, and no more of a file is put aside: raise it, if there \
                 is room for it in the folder for temporary files"
            ));
        }
        if let Self::All(spool) = self
            && let Err(error) = spool.append(bytes, most)
        {
            *self = Self::Failed(error.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coming(pieces: &[&'static str]) -> Incoming {
        let (sender, bytes) = tokio::sync::mpsc::channel(9);
        for piece in pieces {
            sender.try_send(Ok(Some(piece.as_bytes().into()))).unwrap();
        }
        sender.try_send(Ok(None)).unwrap();
        Incoming::of(bytes)
    }

    #[test]
    fn what_was_looked_through_is_read_again_from_its_first_byte_and_what_has_not_come_yet_behind_it()
     {
        let aside = Aside::of(coming(&["0123", "4567", "89"]), 100);
        let (mut looked, mut five) = (aside.clone(), [0; 5]);
        looked.read_exact(&mut five).unwrap();
        let mut all = String::new();
        aside.again().unwrap().read_to_string(&mut all).unwrap();
        assert_eq!((&five, all.as_str()), (b"01234", "0123456789"));
        assert_eq!(looked.read(&mut five).unwrap(), 0);
    }

    #[test]
    fn what_is_too_much_or_not_wanted_is_not_put_aside() {
        let aside = Aside::of(coming(&["0123", "4567"]), 4);
        let mut all = String::new();
        aside.clone().read_to_string(&mut all).unwrap();
        assert_eq!(all, "01234567");
        let why = aside.again().err().unwrap();
        assert!(why.contains("`files.max_spool` = 4"), "{why}");
        let aside = Aside::of(coming(&["0123"]), 100);
        aside.stop();
        aside.clone().read_to_string(&mut all).unwrap();
        assert!(aside.again().is_err());
    }
}
