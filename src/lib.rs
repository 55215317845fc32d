//! kasparro: one binary and one Postgres that turn APIs and files into one clean, deduplicated,
//! auditable table.
//!
//! The modules are floors; imports run downwards only (`docs/architecture.md`).

#![forbid(unsafe_code)]

pub mod api;
pub mod cli;
pub mod config;
pub mod db;
pub mod domain;
pub mod files;
pub mod janitor;
pub mod job_file;
pub mod mapping;
pub mod queue;
pub mod scheduler;
pub mod sources;
pub mod tasks;
pub mod telemetry;
pub mod values;
pub mod watcher;
pub mod worker;

/// The private PostgreSQL, a crate of its own: it depends on nothing of kasparro.
pub use kasparro_embedded as embedded;
