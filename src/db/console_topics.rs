//! Owns what tells that something has changed that the console shows: a short text a topic, equal as long as nothing has.

use sqlx::PgExecutor;

/// What things are like, by topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topics {
    /// The newest run, and those under way with how far they are.
    pub runs: String,
    /// The pauses.
    pub sources: String,
    /// What quarantine adds up to.
    pub quarantine: String,
    /// The changes of schemas.
    pub drift: String,
}

/// What things are like now. Reads the ends of indexes, what is under way and what is open, and a row a reason of
/// quarantine.
///
/// # Errors
/// Database errors.
pub async fn now(executor: impl PgExecutor<'_>) -> Result<Topics, sqlx::Error> {
    sqlx::query_as!(
        Topics,
        r#"select
            concat_ws(' ', (select max(id) from etl_runs), (
                select string_agg(id || ':' || sequence || ':' || open_tasks, ' ' order by id)
                from runs_live where status in ('queued', 'running')
            )) as "runs!",
            concat_ws(' ', (select max(greatest(paused_at, resumed_at)) from source_pauses), (
                select count(*) from source_pauses where resumed_at is null
            )) as "sources!",
            (
                select concat_ws(' ', sum(unresolved), sum(stored)) from quarantine_totals
            ) as "quarantine!",
            concat_ws(' ', (select max(id) from schema_drift), (
                select count(*) from schema_drift where status = 'open'
            )) as "drift!""#
    )
    .fetch_one(executor)
    .await
}
