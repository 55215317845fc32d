//! The mapping: a row's cells to one record, or to the defects that keep it out, under the contract
//! of its job file and the schema that its source has. Pure.
//!
//! Must not know: kinds of sources, runs, the database.

pub mod absent;
mod compiled;
pub mod contract;
pub mod gap_counter;
mod map;
mod mapped;
mod row_mapper;

pub use compiled::{Mapping, NotUnique};
pub use mapped::{Before, Frozen, Mapped, UniqueField, UniqueValue};
