//! Behaviour of kasparro on a real PostgreSQL, every test in a database of its own.

#[path = "../support/cluster.rs"]
mod cluster;

mod api;
mod app;
mod pipeline;
mod scheduling;
