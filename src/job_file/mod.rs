//! Job files: TOML with the places of everything in it, every problem with its line, and what a
//! validated file means. Nothing but finding the files touches the outside.
//!
//! Must not know: how rows become records, how sources are read, the database, HTTP.

pub mod after;
mod definition;
mod document;
pub mod duration;
pub mod error;
mod excerpt;
mod field_table;
mod inspection;
mod json_schema;
mod key;
mod line;
mod load;
mod parse;
pub mod policy;
pub mod schedule;
pub mod setting;
mod stand_in;
mod syntax;
mod transform_table;

pub use definition::{Definition, FieldValue};
pub use error::DefinitionError;
pub use excerpt::Excerpt;
pub use inspection::{Inspection, KindRules};
pub use json_schema::{KindSchema, json_schema};
pub use load::{JobsFolder, load_all};
