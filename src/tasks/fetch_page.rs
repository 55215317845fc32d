//! Owns the task that reads what a source names in its own words: an API page, or a stream slice by slice.

use serde_json::Value;
use sqlx::PgConnection;

use super::read_slice::{Gathered, Slices, own};
use super::{Effects, Task, TaskContext, TaskError};
use crate::sources::SliceRequest;

pub(super) struct FetchPage {
    slices: Slices,
    position: Value,
    last_attempt: bool,
}

impl FetchPage {
    /// Reads from this slice on; whether it is the last attempt.
    pub fn new(slice: i64, position: Value, last_attempt: bool) -> Self {
        Self { slices: Slices::from(slice), position, last_attempt }
    }
}

impl Task for FetchPage {
    type Gathered = Gathered;

    async fn gather(&mut self, context: &TaskContext) -> Result<Gathered, TaskError> {
        let (position, last_attempt) = (&self.position, self.last_attempt);
        let request =
            |slice| SliceRequest { last_attempt, ..own(context, slice, position.clone()) };
        self.slices.gather(context, request).await
    }

    async fn store(
        &mut self,
        context: &TaskContext,
        transaction: &mut PgConnection,
        gathered: Gathered,
    ) -> Result<Effects, TaskError> {
        self.slices.store(context, transaction, gathered).await
    }
}
