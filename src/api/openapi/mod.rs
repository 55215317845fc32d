//! The OpenAPI document: its head, its tags, its enums, the tokens that its operations need, and the
//! page that shows it.

pub(crate) mod document;
pub(crate) mod enums;
pub(crate) mod paths;
pub(crate) mod security;
pub(crate) mod swagger_ui;
pub(crate) mod tags;
