//! Owns the books of a run under way, `run_moves`: what its tasks add up to, move by move. They are
//! appended to, so that a look at the last of them costs the same whatever snapshots keep.
//!
//! Whoever reads books to change them holds [`super::lock`].

use sqlx::PgConnection;

use super::Locked;
use crate::domain::counters::Counters;
use crate::domain::run::RunId;

/// What a run adds up to after one of its moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Books {
    /// Moves so far: tasks that settled, and tries that ended.
    pub moves: i64,
    /// Tasks known so far, settled ones included.
    pub tasks: i32,
    /// Tasks that have not settled.
    pub open: i32,
    /// Of those, the ones that read the source.
    pub open_reading: i32,
    /// Tasks that died.
    pub dead: i32,
    /// What the settled ones did.
    pub counters: Counters,
    /// Rows that a retry applies again and that the run had inserted before.
    pub inserted_before: i64,
}

/// What a settling task changes about its run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Settlement {
    /// Tasks enqueued in the same transaction.
    pub opened: i32,
    /// How many of those read the source.
    pub opened_reading: i32,
    /// Tasks that came into the ledger as settled ones.
    pub taken_over: i32,
    /// Whether the settled task read the source.
    pub reading: bool,
    /// Whether it died.
    pub dead: bool,
    /// What it did.
    pub counters: Counters,
    /// How many of the rows that it inserted the run had inserted before: see
    /// [`Books::inserted_before`].
    pub inserted_before: i64,
}

impl Books {
    /// Those of a run whose planning task is all that there is.
    pub fn begun() -> Self {
        Self {
            moves: 0,
            tasks: 1,
            open: 1,
            open_reading: 1,
            dead: 0,
            counters: Counters::default(),
            inserted_before: 0,
        }
    }

    /// Books a settled task.
    pub fn settle(&mut self, settlement: &Settlement) {
        self.moves += 1;
        self.tasks += settlement.opened + settlement.taken_over;
        self.open += settlement.opened - 1;
        self.open_reading += settlement.opened_reading - i32::from(settlement.reading);
        self.dead += i32::from(settlement.dead);
        self.counters += settlement.counters;
        self.inserted_before -= settlement.inserted_before;
    }
}

/// The books of a run under way.
///
/// # Errors
/// Database errors; `RowNotFound` when the run has ended.
pub async fn last(connection: &mut PgConnection, run: RunId) -> Result<Books, sqlx::Error> {
    let row = sqlx::query!(
        r#"select moves as "moves!", tasks as "tasks!", open_tasks as "open_tasks!",
                open_reading_tasks as "open_reading_tasks!", dead_tasks as "dead_tasks!",
                slices as "slices!", bytes as "bytes!", rows_read as "rows_read!",
                inserted as "inserted!", updated as "updated!", unchanged as "unchanged!",
                quarantined as "quarantined!", inserted_before as "inserted_before!"
         from run_books($1)"#,
        run.0,
    )
    .fetch_one(connection)
    .await?;
    Ok(Books {
        moves: row.moves,
        tasks: row.tasks,
        open: row.open_tasks,
        open_reading: row.open_reading_tasks,
        dead: row.dead_tasks,
        counters: Counters {
            slices: row.slices,
            bytes: row.bytes,
            rows_read: row.rows_read,
            inserted: row.inserted,
            updated: row.updated,
            unchanged: row.unchanged,
            quarantined: row.quarantined,
        },
        inserted_before: row.inserted_before,
    })
}

/// Adds what the books say after the latest move. The run's row follows about once a second, for
/// whoever looks at nothing else.
///
/// # Errors
/// Database errors; a violated key when somebody else has booked that move.
pub async fn book(
    connection: &mut PgConnection,
    run: RunId,
    before: &Locked,
    books: &Books,
) -> Result<(), sqlx::Error> {
    append(connection, run, books).await?;
    if before.outdated {
        carry_over(connection, run, books).await?;
    }
    Ok(())
}

/// Adds what the books say after the latest move.
///
/// # Errors
/// Database errors; a violated key when somebody else has booked that move.
pub async fn append(
    connection: &mut PgConnection,
    run: RunId,
    books: &Books,
) -> Result<(), sqlx::Error> {
    let counters = &books.counters;
    sqlx::query!(
        "insert into run_moves (run_id, moves, tasks, open_tasks, open_reading_tasks, dead_tasks,
                                slices, bytes, rows_read, inserted, updated, unchanged, quarantined,
                                inserted_before)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        run.0,
        books.moves,
        books.tasks,
        books.open,
        books.open_reading,
        books.dead,
        counters.slices,
        counters.bytes,
        counters.rows_read,
        counters.inserted,
        counters.updated,
        counters.unchanged,
        counters.quarantined,
        books.inserted_before,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes the books to the run's row in `etl_runs`.
///
/// # Errors
/// Database errors.
pub async fn carry_over(
    connection: &mut PgConnection,
    run: RunId,
    books: &Books,
) -> Result<(), sqlx::Error> {
    let counters = &books.counters;
    sqlx::query!(
        "update etl_runs set
            moves = $2, moved_at = clock_timestamp(), tasks = $3, open_tasks = $4, dead_tasks = $5,
            slices = $6, bytes = $7, rows_read = $8, inserted = $9, updated = $10, unchanged = $11,
            quarantined = $12
         where id = $1",
        run.0,
        books.moves,
        books.tasks,
        books.open,
        books.dead,
        counters.slices,
        counters.bytes,
        counters.rows_read,
        counters.inserted,
        counters.updated,
        counters.unchanged,
        counters.quarantined,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Closes the books of a run that ends: from now on its row in `etl_runs` says what it came to. What a
/// retry would have applied again, and did not get to, counts as inserted.
///
/// # Errors
/// Database errors.
pub async fn close(
    connection: &mut PgConnection,
    run: RunId,
    mut books: Books,
) -> Result<(), sqlx::Error> {
    books.counters.inserted += books.inserted_before;
    carry_over(connection, run, &books).await?;
    sqlx::query!("delete from run_moves where run_id = $1", run.0).execute(connection).await?;
    Ok(())
}
