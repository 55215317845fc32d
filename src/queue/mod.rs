//! Floor 3: the durable queue. The only place that knows apalis and its tables.
//!
//! apalis's workers hand items to a handler. Each change of an item's row is made here,
//! inside the transaction of the work it belongs to, so that a task's effects and its end in the queue
//! commit together. That is why apalis neither locks nor acknowledges items: its late writes could undo
//! ours.
//!
//! All times are those of the database's clock. apalis leaves `lock_at` empty while an item waits; here
//! it says then when the item was put into the queue, so that one which was put there by a clock that
//! was ahead is recognized (`upkeep`). What was delivered was due: put back, it is due at once, whatever
//! an earlier clock has said.
//!
//! A connection on which something failed is closed: its server may have become a read-only one. Nothing
//! is waited for without end: a server that has vanished answers nothing.

mod ask;
mod delivery;
mod faults;
mod heartbeat;
mod items;
mod keepers;
mod lease;
mod listener;
mod notify;
mod poll;
mod presence;
mod pulse;
mod setup;
mod upkeep;
mod worker;

pub use delivery::Delivery;
pub use items::{end_waiting, enqueue, remove_ended, remove_old, reschedule};
pub use lease::{Lease, Message};
pub use presence::{Depth, Held, Worker, anybody_works, depths, holders, workers};
pub use setup::{GET_JOBS, SCHEMA, setup};
pub use worker::{Concurrency, Handler, Timeouts, WorkError, work};
