//! Owns what unpackers read from, and how much of it they may hold.

use std::io::{BufReader, Read};

/// Bytes that may be packed.
pub type Bytes = Box<dyn Read + Send>;

/// Where the parts of a file are read from.
pub(super) type Source = BufReader<Bytes>;

/// The most bytes that an unpacker looks back at, which is memory.
pub(super) const MAX_WINDOW: u64 = 32 << 20;
