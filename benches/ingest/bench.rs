//! Owns what whoever measures is given.

use crate::files::Files;
use crate::server::Server;

/// What every contender needs.
pub struct Bench<'a> {
    pub server: &'a Server,
    pub files: &'a Files,
    pub first_only: bool,
}
