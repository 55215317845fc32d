//! Owns what a worker is given: a claim, what the item says, and which attempt it is.

use std::time::Instant;

use super::lease::{Lease, Message};

/// One delivery of a queue item to one worker.
#[derive(Debug)]
pub struct Delivery {
    /// The claim on the item.
    pub lease: Lease,
    /// What the item says, or why it cannot be read.
    pub message: Result<Message, String>,
    /// Which attempt this is, from 1. Take-overs from dead workers count.
    pub attempt: i32,
    /// When the attempt began.
    pub begun: Instant,
}
