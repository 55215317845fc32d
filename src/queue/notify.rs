//! Owns telling workers that there is something for them.

use sqlx::PgConnection;

/// The channel of apalis's insert trigger, which tells only of items that are new.
pub(super) const CHANNEL: &str = "apalis::job::insert";

/// Tells the workers of these queues that there is something for them, when the caller's transaction
/// commits.
pub(super) async fn notify(
    connection: &mut PgConnection,
    queues: &[String],
) -> Result<(), sqlx::Error> {
    if queues.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        r#"select pg_notify($1, json_build_object('job_type', queue)::text) as "told"
         from (select distinct unnest($2::text[])) as t (queue)"#,
        CHANNEL,
        queues,
    )
    .fetch_all(connection)
    .await?;
    Ok(())
}
