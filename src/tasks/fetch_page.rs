//! Owns the task that reads one API page.

use serde_json::Value;
use sqlx::PgConnection;

use super::parse_csv_chunk::SliceResult;
use super::{Effects, Task, TaskContext, TaskError};
use crate::db::raw_api_data::{self, RawPage};
use crate::db::{Transaction, rate_limits};
use crate::domain::counters::Counters;
use crate::domain::failure::FailureClass;
use crate::domain::hash::StoredHash;
use crate::domain::raw::RawRef;
use crate::domain::task::TaskPayload;
use crate::sources::{Access, Page, PageSource, Source};

pub(super) struct FetchPage {
    pub slice: i64,
    pub position: Value,
}

impl Task for FetchPage {
    /// The page, and the hash that its body is kept under.
    type Gathered = (Page, StoredHash);

    async fn gather(&self, context: &TaskContext) -> Result<Self::Gathered, TaskError> {
        let Source::Pages(pages) = &context.source.source else {
            let text = format!("source {} has a page task but reads files", context.source_name);
            return Err(TaskError::Inconsistent(text));
        };
        wait_for_token(context, pages.as_ref()).await?;
        match pages.fetch(&self.position, context.access).await {
            Ok(mut page) => {
                let source = &context.source_name;
                let kept = raw_api_data::identity(&context.pool, source, &page.body).await?;
                page.shape.seen_in(&RawRef::Page(kept).to_string());
                Ok((page, kept))
            }
            Err(error) => {
                share_retry_after(context, pages.as_ref(), error.class).await?;
                let max = error.max_attempts(pages.max_attempts());
                Err(TaskError::Request {
                    error,
                    max_attempts: i32::try_from(max).unwrap_or(i32::MAX),
                })
            }
        }
    }

    async fn store(
        &self,
        context: &TaskContext,
        transaction: &mut PgConnection,
        (page, kept): Self::Gathered,
    ) -> Result<Effects, TaskError> {
        let raw = RawPage {
            source: &context.source_name,
            hash: kept,
            url: &page.url,
            status: page.status,
            records: page.records,
            body: &page.body,
        };
        raw_api_data::store(transaction, &raw, context.run, self.slice).await?;
        let counters = Counters {
            slices: 1,
            bytes: page.body.len() as i64,
            rows_read: page.records,
            ..Counters::default()
        };
        let raw = RawRef::Page(kept).to_string();
        let result = SliceResult { raw, shape: page.shape, repeated: Vec::new(), more: page.more };
        let next =
            page.next.map(|position| TaskPayload::FetchPage { slice: self.slice + 1, position });
        Ok(Effects {
            counters,
            result: Some(result.to_value()?),
            follow_ups: next.into_iter().collect(),
            ..Effects::default()
        })
    }
}

/// Takes a token of the shared bucket, unless nobody is asked.
pub(super) async fn wait_for_token(
    context: &TaskContext,
    pages: &dyn PageSource,
) -> Result<(), TaskError> {
    let limit = pages.rate_limit().filter(|_| context.access != Access::Offline);
    let Some(limit) = limit else { return Ok(()) };
    let mut transaction = Transaction::begin(&context.pool).await?;
    let taken = rate_limits::take(&mut *transaction, &limit.key, limit.requests, limit.per).await?;
    transaction.commit().await?;
    match taken {
        Ok(()) => Ok(()),
        Err(delay) => Err(TaskError::RateLimited { key: limit.key, delay }),
    }
}

/// One worker was told to wait: all that share the bucket wait.
async fn share_retry_after(
    context: &TaskContext,
    pages: &dyn PageSource,
    class: FailureClass,
) -> Result<(), TaskError> {
    if let (FailureClass::NotYet(delay), Some(limit)) = (class, pages.rate_limit()) {
        let mut transaction = Transaction::begin(&context.pool).await?;
        rate_limits::block(&mut *transaction, &limit.key, delay).await?;
        transaction.commit().await?;
    }
    Ok(())
}
