//! Owns a file that goes on where its connection broke off: what is behind is asked for, of the same file and no other.
//!
//! Must not know whose file it is, nor what is in it.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use chrono::{DateTime, Utc};
use flate2::read::MultiGzDecoder;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::all::Places;
use super::{Body, Coded, Listed, OpenedFile};
use crate::domain::failure::FailureClass;
use crate::sources::{SourceError, SourceErrorKind};

/// A connection that has brought so many bytes is followed by the next one at once.
const ENOUGH: u64 = 64 << 10;
/// Who waits after one that has brought fewer.
const BRIEFLY: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 200 });
/// Who waits after the first of several that have brought nothing, and twice as long after each further one.
const FIRST_WAIT: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 1000 });
/// So many of them in a row, and the task has to begin again.
const MOST_IN_VAIN: u32 = 6;
/// The longest that a server may ask to wait within an attempt.
const MOST_ASKED: Duration = Duration::from_secs(60);
/// Bytes passed over at once, and the longest sleep until somebody looks whether he is still awaited.
const PASSED: usize = 64 << 10;
const NAP: Duration = Duration::from_millis(100);

/// Who asks for a file.
#[derive(Debug, Clone)]
pub struct Asker {
    /// The places where files are.
    pub places: Arc<Places>,
    /// When the file was listed.
    pub listed_at: DateTime<Utc>,
    /// Whether nobody waits for it any more.
    pub ended: Arc<AtomicBool>,
}

/// Opens the file that was listed as [`Place::open`](super::Place::open) does, so that its bytes go on where a connection
/// breaks off, and are what they were before they were packed for their way. They begin at the offset `from` of those if
/// the place tells the file from all others, and at 0 otherwise.
///
/// # Errors
/// As of [`Place::open`](super::Place::open).
pub async fn open(
    asker: Asker,
    file: &Listed,
    known: Option<&Listed>,
    from: u64,
) -> Result<OpenedFile, SourceError> {
    let place = asker.places.of(&file.name);
    let from = if place.identifies(file, asker.listed_at) { from } else { 0 };
    let mut body = match place.open(file, known, from).await? {
        OpenedFile::Body(body) => body,
        OpenedFile::Unchanged => return Ok(OpenedFile::Unchanged),
    };
    if body.from > 0 && (body.coded != Coded::Not || !body.is_same) {
        body = match place.open(file, None, 0).await? {
            OpenedFile::Body(body) => body,
            OpenedFile::Unchanged => return Ok(OpenedFile::Unchanged),
        };
    }
    let can_go_on = place.identifies(&body.file, asker.listed_at);
    let bytes: Box<dyn Read + Send> = match can_go_on {
        true => Box::new(GoingOn::of(asker.clone(), &mut body)),
        false => body.bytes,
    };
    let bytes: Box<dyn Read + Send> = match body.coded {
        Coded::Gzip => {
            Box::new(Unzipped { bytes: MultiGzDecoder::new(bytes), name: body.file.name.clone() })
        }
        Coded::Not | Coded::SaidOnly => bytes,
    };
    Ok(OpenedFile::Body(Body { bytes, ..body }))
}

/// The bytes of a file, one connection after the other.
struct GoingOn {
    asker: Asker,
    handle: Handle,
    file: Listed,
    coded: Coded,
    /// Whether it was said that the bytes do not just stop.
    end_is_told: bool,
    bytes: Box<dyn Read + Send>,
    /// Where in the file the next byte is.
    at: u64,
    /// How many bytes it has, once it goes on and that is known.
    size: Option<u64>,
    /// So many bytes come first that were read before.
    again: u64,
    /// Whether the place gives parts of it.
    gives_parts: bool,
    /// So many bytes has the connection brought.
    brought: u64,
    /// So many connections in a row have brought nothing.
    in_vain: u32,
}

impl GoingOn {
    fn of(asker: Asker, body: &mut Body) -> Self {
        let bytes = std::mem::replace(&mut body.bytes, Box::new(io::empty()));
        Self {
            asker,
            handle: Handle::current(),
            file: body.file.clone(),
            coded: body.coded,
            end_is_told: body.end_is_told,
            bytes,
            at: body.from,
            size: None,
            again: 0,
            gives_parts: true,
            brought: 0,
            in_vain: 0,
        }
    }

    /// Goes on behind what came, if this is why nothing more came.
    fn go_on(&mut self, error: io::Error) -> io::Result<()> {
        let mut error = error.downcast::<SourceError>()?;
        let breaks = matches!(error.kind, SourceErrorKind::BrokenOff | SourceErrorKind::TimedOut);
        if !breaks || !self.gives_parts {
            return Err(io::Error::other(error));
        }
        self.in_vain = if self.brought > 0 { 0 } else { self.in_vain + 1 };
        loop {
            if !self.wait(&error) {
                return Err(io::Error::other(error));
            }
            match self.ask() {
                Ok(body) => return self.join(body, error),
                Err(again) if may_pass(&again) => {
                    (self.brought, error) = (0, again);
                    self.in_vain += 1;
                }
                Err(again) => return Err(io::Error::other(again)),
            }
        }
    }

    /// Waits as long as is proper after this error; `false` when it is no use, or nobody waits for it.
    fn wait(&self, error: &SourceError) -> bool {
        let asked = match error.class() {
            FailureClass::NotYet(asked) => asked,
            _ => Duration::ZERO,
        };
        if self.in_vain >= MOST_IN_VAIN || asked > MOST_ASKED {
            return false;
        }
        let proper = match self.in_vain {
            0 if self.brought >= ENOUGH => Duration::ZERO,
            0 => BRIEFLY,
            times => FIRST_WAIT * 2_u32.pow(times - 1),
        };
        let mut left = proper.max(asked);
        while !left.is_zero() && self.is_awaited() {
            thread::sleep(left.min(NAP));
            left = left.saturating_sub(NAP);
        }
        self.is_awaited()
    }

    fn is_awaited(&self) -> bool {
        !self.asker.ended.load(Ordering::Relaxed)
    }

    /// Asks for what is behind. Blocking.
    fn ask(&self) -> Result<Body, SourceError> {
        let (sender, answered) = oneshot::channel();
        let (places, file, at) = (Arc::clone(&self.asker.places), self.file.clone(), self.at);
        self.handle.spawn(async move {
            let place = places.of(&file.name);
            // Nobody may wait for it any more.
            let _ = sender.send(place.open(&file, None, at).await);
        });
        match answered.blocking_recv() {
            Ok(Ok(OpenedFile::Body(body))) => Ok(body),
            Ok(Ok(OpenedFile::Unchanged)) | Err(_) => {
                let message = format!("{} was asked for again, without an answer", self.file.name);
                Err(SourceError::new(SourceErrorKind::Internal, message))
            }
            Ok(Err(error)) => Err(error),
        }
    }

    /// Goes on with an answer, if it is one of the same bytes.
    fn join(&mut self, body: Body, error: SourceError) -> io::Result<()> {
        let is_coded = |coded| coded != Coded::Not;
        let is_same = body.is_same && is_coded(body.coded) == is_coded(self.coded);
        (self.again, self.gives_parts) = match body.from {
            from if is_same && from == self.at => (0, true),
            // No part of it can be had: then what came is passed over, once.
            0 if is_same => (self.at, false),
            _ => return Err(io::Error::other(error)),
        };
        self.size = match body.coded {
            // What is packed anew for its way may be of another size each time.
            Coded::Gzip | Coded::SaidOnly if !self.gives_parts => None,
            _ => self.file.size,
        };
        if self.end_is_told && !body.end_is_told && self.size.is_none() {
            return Err(io::Error::other(error));
        }
        (self.bytes, self.brought) = (body.bytes, 0);
        Ok(())
    }

    fn more(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut passed = Vec::new();
        while self.again > 0 {
            let most = usize::try_from(self.again).unwrap_or(PASSED).min(PASSED);
            passed.resize(most, 0);
            match self.bytes.read(&mut passed)? {
                0 => return Err(self.ends_early()),
                read => self.again -= read as u64,
            }
        }
        let read = self.bytes.read(buffer)?;
        if read == 0 && !buffer.is_empty() && self.size.is_some_and(|size| self.at < size) {
            return Err(self.ends_early());
        }
        Ok(read)
    }

    fn ends_early(&self) -> io::Error {
        let message = format!("{} broke off after {} bytes", self.file.name, self.at);
        io::Error::other(SourceError::new(SourceErrorKind::BrokenOff, message))
    }
}

impl Read for GoingOn {
    /// Waits for an answer: not for async threads.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.more(buffer) {
                Ok(read) => {
                    (self.at, self.brought) = (self.at + read as u64, self.brought + read as u64);
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
                Err(error) => self.go_on(error)?,
            }
        }
    }
}

/// Whether it may be had when it is asked for again.
fn may_pass(error: &SourceError) -> bool {
    matches!(error.class(), FailureClass::Transient | FailureClass::NotYet(_))
}

/// A body that was packed for its way.
struct Unzipped<R> {
    bytes: MultiGzDecoder<R>,
    name: String,
}

impl<R: Read> Read for Unzipped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.bytes.read(buffer).map_err(|error| match error.downcast::<SourceError>() {
            Ok(error) => io::Error::other(error),
            Err(error) => {
                let name = &self.name;
                let message =
                    format!("{name} came packed by `Content-Encoding: gzip`, and damaged: {error}");
                io::Error::other(SourceError::new(SourceErrorKind::BrokenOff, message))
            }
        })
    }
}
