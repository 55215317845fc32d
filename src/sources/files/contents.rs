//! Owns what a file holds: itself, or the members of an archive, in their order.

use std::io;

use super::unpack::{Bytes, Compression, Unpacked, unpacked};

/// What gzip begins with.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// A file, or a member of an archive.
pub struct Content {
    /// The member's name.
    pub member: Option<String>,
    /// Its bytes, or why there are none: other members may be read all the same.
    pub bytes: io::Result<Unpacked>,
}

/// What a file holds, one after the other.
pub type Contents = Box<dyn Iterator<Item = Content> + Send>;

/// Whether a file that begins so can be read in any order: it is neither packed, nor to be unpacked.
pub fn is_plain(beginning: &[u8], compression: Compression) -> bool {
    match compression {
        Compression::Auto => !beginning.starts_with(&GZIP),
        Compression::Gzip => false,
        Compression::None => true,
    }
}

/// What a file holds. Blocking.
pub fn contents(bytes: Bytes, compression: Compression, end_is_told: bool) -> Contents {
    let bytes = unpacked(bytes, compression, end_is_told);
    Box::new(std::iter::once(Content { member: None, bytes }))
}
