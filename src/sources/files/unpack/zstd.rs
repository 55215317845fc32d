//! Owns unpacking one frame of zstd.

use std::io::{self, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::bytes::{MAX_WINDOW, Source};

/// A frame, behind those in front of it that are passed over.
pub(super) struct Zstd {
    source: Noting,
    frame: FrameDecoder,
    /// What it says that it holds.
    size: u64,
    read: u64,
    /// Nothing but frames that are passed over came to the end.
    empty: bool,
}

impl Zstd {
    /// Begins a frame.
    pub fn begin(source: Source) -> io::Result<Self> {
        let mut source = Noting { source, ended: false, error: None };
        let mut frame = FrameDecoder::new();
        frame.set_max_window_size(MAX_WINDOW);
        let mut passed = false;
        loop {
            if passed && source.is_at_end()? {
                return Ok(Self { source, frame, size: 0, read: 0, empty: true });
            }
            match frame.init(&mut source) {
                Ok(()) => break,
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let length = u64::from(length);
                    if io::copy(&mut source.by_ref().take(length), &mut io::sink())? < length {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    passed = true;
                }
                Err(error) => return Err(source.meaning(error)),
            }
        }
        let size = frame.content_size();
        Ok(Self { source, frame, size, read: 0, empty: false })
    }

    /// What stands behind it, if it was whole.
    pub fn ended(self) -> io::Result<Source> {
        let damaged = |text: &str| Err(io::Error::new(io::ErrorKind::InvalidData, text));
        if !self.empty {
            let sum = self.frame.get_checksum_from_data();
            if sum.is_some() && sum != self.frame.get_calculated_checksum() {
                return damaged("its checksum is another");
            }
            if self.size > 0 && self.size != self.read {
                return damaged("its size is another");
            }
        }
        Ok(self.source.source)
    }
}

impl Read for Zstd {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.empty {
            return Ok(0);
        }
        while self.frame.can_collect() == 0 && !self.frame.is_finished() {
            let one = BlockDecodingStrategy::UptoBlocks(1);
            if let Err(error) = self.frame.decode_blocks(&mut self.source, one) {
                return Err(self.source.meaning(error));
            }
        }
        let read = self.frame.read(buffer)?;
        self.read += read as u64;
        Ok(read)
    }
}

/// Notes what the decoder does not tell: that the source ended, or could not be read.
struct Noting {
    source: Source,
    ended: bool,
    error: Option<io::Error>,
}

impl Noting {
    fn is_at_end(&mut self) -> io::Result<bool> {
        Ok(io::BufRead::fill_buf(&mut self.source)?.is_empty())
    }

    /// What an error of the decoder means.
    fn meaning(&mut self, error: FrameDecoderError) -> io::Error {
        match (self.error.take(), error) {
            (Some(error), _) => error,
            (None, _) if self.ended => io::ErrorKind::UnexpectedEof.into(),
            (None, FrameDecoderError::WindowSizeTooBig { .. }) => io::ErrorKind::OutOfMemory.into(),
            (None, error) => io::Error::new(io::ErrorKind::InvalidData, error.to_string()),
        }
    }
}

impl Read for Noting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.source.read(buffer) {
            Ok(read) => {
                self.ended |= read == 0 && !buffer.is_empty();
                Ok(read)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                self.error = Some(error);
                Err(io::ErrorKind::Other.into())
            }
        }
    }
}
