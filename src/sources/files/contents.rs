//! Owns what a file holds, whatever is wrong with it: itself, or the members of an archive, in their order.

use super::spool::Spool;
use super::unpack::{Bytes, Content, Packing};

/// What a file holds, one after the other.
pub type Contents = Box<dyn Iterator<Item = Content> + Send>;

/// What a file holds, and the file itself where it was put aside for that. What cannot be opened at all is one that
/// cannot be read. Blocking.
pub fn contents(bytes: Bytes, packing: &Packing, end_is_told: bool) -> (Contents, Option<Spool>) {
    match super::unpack::contents(bytes, packing, end_is_told) {
        Ok(contents) => {
            let aside = contents.aside();
            (Box::new(contents), aside)
        }
        Err(error) => {
            (Box::new(std::iter::once(Content { member: None, bytes: Err(error) })), None)
        }
    }
}
