//! Owns the task that reads one API page.

use std::collections::BTreeMap;

use serde_json::Value;
use sqlx::PgConnection;

use super::parse_csv_chunk::SliceResult;
use super::unchanged_pages::PAGES_PER_BATCH;
use super::{Effects, Task, TaskContext, TaskError};
use crate::db::raw_api_data::{self, Known, RawPage};
use crate::db::{Transaction, field_presence, rate_limits, run_tasks, schemas};
use crate::domain::counters::Counters;
use crate::domain::failure::FailureClass;
use crate::domain::raw::RawRef;
use crate::domain::shape::Shape;
use crate::domain::task::TaskPayload;
use crate::mapping::Mapping;
use crate::mapping::contract::Gone;
use crate::sources::{Access, LedNowhere, Page, PageSource, Source};

pub(super) struct FetchPage {
    pub slice: i64,
    pub position: Value,
}

impl Task for FetchPage {
    /// The page, what is known of its body, and the fields that are gone so far.
    type Gathered = (Page, Known, Gone);

    async fn gather(&self, context: &TaskContext) -> Result<Self::Gathered, TaskError> {
        let Source::Pages(pages) = &context.source.source else {
            let text = format!("source {} has a page task but reads files", context.source_name);
            return Err(TaskError::Inconsistent(text));
        };
        wait_for_token(context, pages.as_ref()).await?;
        match pages.fetch(&self.position, context.access).await {
            Ok(mut page) => {
                let source = &context.source_name;
                let known = raw_api_data::known(&context.pool, source, &page.body).await?;
                page.shape.seen_in(&RawRef::Page(known.hash).to_string());
                let gone = self.gone(context, &page).await?;
                Ok((page, known, gone))
            }
            Err(error) => {
                share_retry_after(context, pages.as_ref(), error.class()).await?;
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
        (page, known, gone): Self::Gathered,
    ) -> Result<Effects, TaskError> {
        let raw = RawPage {
            source: &context.source_name,
            hash: known.hash,
            url: &page.url,
            status: page.status,
            records: page.records,
            body: &page.body,
        };
        raw_api_data::store(transaction, &raw, &known, context.run, self.slice).await?;
        let counters = Counters {
            slices: 1,
            bytes: page.body.len() as i64,
            rows_read: page.records,
            ..Counters::default()
        };
        let raw = RawRef::Page(known.hash).to_string();
        let hold = !gone.is_empty() || (known.completed && self.waits_for_more());
        let (leading_nowhere, meant) = paths(context, page.leading_nowhere);
        let result = SliceResult {
            raw,
            leading_nowhere,
            meant,
            shape: page.shape,
            repeated: Vec::new(),
            more: page.more,
            complaint: page.complaint,
            gone,
        };
        let next =
            page.next.map(|position| TaskPayload::FetchPage { slice: self.slice + 1, position });
        Ok(Effects {
            counters,
            result: Some(result.to_value()?),
            follow_ups: next.into_iter().collect(),
            hold,
            ..Effects::default()
        })
    }
}

impl FetchPage {
    /// Whether a page that is likely to be skipped waits until there are as many as a batch takes:
    /// such a page by itself is less work than a task.
    fn waits_for_more(&self) -> bool {
        (self.slice + 1) % PAGES_PER_BATCH != 0
    }

    /// The fields that every record had and none of the full sync has so far.
    async fn gone(&self, context: &TaskContext, page: &Page) -> Result<Gone, TaskError> {
        if !context.source.definition.contract.guards() {
            return Ok(Gone::default());
        }
        let before = match self.slice {
            0 => None,
            slice => {
                let before = TaskPayload::FetchPage { slice: slice - 1, position: Value::Null };
                run_tasks::result(&context.pool, context.run, &before.key()).await?
            }
        };
        let before = before.map(SliceResult::from_value).transpose()?.map(|before| before.gone);
        let (nowhere, _) = paths(context, page.leading_nowhere.clone());
        // A page without objects says nothing of what those behind it have.
        let gone = match before {
            Some(gone) => gone,
            None => guarded(context).await?,
        };
        Ok(still_gone(gone, &page.shape, &nowhere))
    }
}

/// The fields that every record had.
pub(super) async fn guarded(context: &TaskContext) -> Result<Gone, TaskError> {
    let schema = schemas::accepted_for(&context.pool, context.run).await?;
    let known = field_presence::get(&context.pool, &context.source_name).await?;
    Ok(Mapping::guarded(&context.source.definition, schema.as_ref(), &known))
}

/// Those of these fields that the records of a page do not have either. `nowhere` is the paths that
/// led nowhere in any of them.
pub(super) fn still_gone(mut gone: Gone, shape: &Shape, nowhere: &[String]) -> Gone {
    // What a shape had no room for may well be there.
    gone.fields.retain(|field| !shape.cut && !shape.fields.contains_key(field));
    gone.paths.retain(|path| nowhere.contains(path));
    gone
}

/// Locators as job files write them, and the paths that may have been meant by them.
pub(super) fn paths(
    context: &TaskContext,
    nowhere: Vec<LedNowhere>,
) -> (Vec<String>, BTreeMap<String, String>) {
    let all = context.source.definition.locators();
    let mut paths = Vec::with_capacity(nowhere.len());
    let mut meant = BTreeMap::new();
    for led in nowhere {
        let Some(path) = all.get(led.locator).and_then(|locator| locator.label()) else { continue };
        paths.push(path.to_owned());
        meant.extend(led.meant.map(|other| (path.to_owned(), other)));
    }
    (paths, meant)
}

/// Takes a token of the shared bucket, unless no request is made.
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
