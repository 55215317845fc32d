//! One file a page.

pub(crate) mod overview;
pub(crate) mod run;
pub(crate) mod runs;
pub(crate) mod source;
pub(crate) mod sources;
pub(crate) mod system;
