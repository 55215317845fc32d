//! One file a page.

pub(crate) mod drift;
pub(crate) mod overview;
pub(crate) mod quarantine;
pub(crate) mod raw_rows;
pub(crate) mod reason;
mod reason_dry;
mod reason_rules;
mod reason_values;
pub(crate) mod record;
pub(crate) mod records;
pub(crate) mod redrive;
pub(crate) mod run;
pub(crate) mod runs;
pub(crate) mod source;
pub(crate) mod sources;
pub(crate) mod system;
