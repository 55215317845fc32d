//! Floor 1: the terms of kasparro as types. Values are parsed once into these and trusted after.
//!
//! Must not know: databases, files, HTTP, async, how job files are written.

pub mod actor;
pub mod address;
pub mod bloom_filter;
pub mod chain_end;
pub mod counters;
pub mod decimal;
pub mod failure;
pub mod fault;
pub mod field_name;
pub mod file;
pub mod file_note;
pub mod file_standing;
pub mod forecast;
pub mod hash;
pub mod host;
pub mod json_size;
pub mod known_page;
pub mod note;
pub mod number;
pub mod parent;
pub mod pause;
pub mod presence;
pub mod raw;
pub mod reason_tally;
pub mod record;
pub mod reject;
pub mod rejects;
pub mod remark;
pub mod repeated_keys;
pub mod row_numbers;
pub mod run;
pub mod sample;
pub mod schema;
pub mod secret_url;
pub mod shape;
pub mod slice;
pub mod source_name;
pub mod string_enum;
pub mod suggest;
pub mod task;
pub mod text;
pub mod token;
pub mod upload;
