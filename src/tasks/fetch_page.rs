//! Owns the task that reads what a source names in its own words: an API page, or a stream slice by slice.

use serde_json::Value;
use sqlx::PgConnection;

use super::read_slice::{Gathered, Slices, own};
use super::{Effects, Task, TaskContext, TaskError};

pub(super) struct FetchPage {
    slices: Slices,
    position: Value,
}

impl FetchPage {
    pub fn new(slice: i64, position: Value) -> Self {
        Self { slices: Slices::from(slice), position }
    }
}

impl Task for FetchPage {
    type Gathered = Gathered;

    async fn gather(&mut self, context: &TaskContext) -> Result<Gathered, TaskError> {
        let position = &self.position;
        self.slices.gather(context, |slice| own(context, slice, position.clone())).await
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
