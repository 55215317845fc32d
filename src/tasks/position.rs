//! Owns where the next run begins: the position that a run leaves in the checkpoint, whether it ended well or has
//! read a part of what it was to read.

use serde_json::{Map, Value};
use sqlx::PgConnection;

use super::planned::{FILES_AT_ONCE, Planned, PlannedFile};
use super::{SourceInUse, TaskContext, TaskError, unchanged_pages};
use crate::db::runs::Run;
use crate::db::{
    backfill_checkpoints, checkpoints, quarantined_rows, replay, run_tasks, source_files,
    streamed_files, totals,
};
use crate::domain::counters::Counters;
use crate::domain::file_note::{self, FileNote};
use crate::domain::presence::Reads;
use crate::domain::run::{Mode, ReadRange};
use crate::sources::{GoesOn, ReadLanes};

/// Notes that a run begins to read again what is in front of the position, or to normalize it again: it may be broken
/// off between older values and the newer ones behind them.
pub(super) async fn note_restart(
    context: &TaskContext,
    transaction: &mut PgConnection,
) -> Result<(), TaskError> {
    let source = &context.source_name;
    let Some(known) = checkpoints::get(&mut *transaction, source).await? else { return Ok(()) };
    let state = context.source.source.restarted(&known.state, context.run);
    if state != known.state {
        let records = totals::records(&mut *transaction, source).await?;
        checkpoints::advance(transaction, source, records, &state, known.run).await?;
    }
    Ok(())
}

/// What a run has read of what it was to read.
#[derive(Clone, Copy)]
pub(super) struct Read {
    /// Whether every chain of its requests ended where all was read.
    pub complete: bool,
    /// Whether the next run is to read the same again, since some of it was kept out.
    pub again: bool,
}

/// Moves the position of a source to what a run that ended well has read.
pub(super) async fn commit_position(
    transaction: &mut PgConnection,
    run: &Run,
    source: &SourceInUse,
    (planned, files): (&Planned, &[FileNote]),
    read: Read,
) -> Result<(), TaskError> {
    if run.mode == Mode::Replay {
        return commit_records(transaction, run, source).await;
    }
    if let Some(range) = &run.range {
        return commit_backfill(transaction, run, source, range, read).await;
    }
    for files in planned.files.chunks(FILES_AT_ONCE) {
        commit_files(transaction, run, source, files).await?;
    }
    commit_streamed(transaction, run, source, files).await?;
    if source.source.profile().reads == Reads::Again {
        unchanged_pages::finish(transaction, &run.source, run.id, &source.definition).await?;
    }
    let records = totals::records(&mut *transaction, &run.source).await?;
    let state = next_state(transaction, run, source, planned, read).await?;
    checkpoints::advance(transaction, &run.source, records, &state, run.id).await?;
    Ok(())
}

/// What the next run begins with if this one failed and nothing but reading parts of the source did.
pub(super) async fn partly_read(
    transaction: &mut PgConnection,
    run: &Run,
    source: Option<&SourceInUse>,
    kept_out: u64,
) -> Result<Option<GoesOn>, TaskError> {
    let Some(source) = source.filter(|_| run.failed_tasks > 0) else { return Ok(None) };
    let Counters { rows_read, inserted, updated, unchanged, quarantined, .. } = run.counters;
    let all_in_place = rows_read == inserted + updated + unchanged + quarantined;
    if run.dry_run || run.mode == Mode::Replay || kept_out > 0 || !all_in_place {
        return Ok(None);
    }
    let Some(broken) = run_tasks::broken_lanes(&mut *transaction, run.id).await? else {
        return Ok(None);
    };
    let lane = |lane: i64| {
        u32::try_from(lane).map_err(|_| TaskError::Inconsistent(format!("{lane} is no lane")))
    };
    let marks = run_tasks::lane_marks(&mut *transaction, run.id).await?;
    let slices = marks.into_iter().map(|mark| Ok((lane(mark.lane)?, mark.watermark)));
    let read = ReadLanes {
        slices: slices.collect::<Result<_, TaskError>>()?,
        broken: broken.into_iter().map(lane).collect::<Result<_, _>>()?,
        changed: inserted + updated > 0,
    };
    let state = match &run.range {
        Some(range) => {
            backfill_checkpoints::get(&mut *transaction, &run.source, range).await?.map(|(s, _)| s)
        }
        None => checkpoints::get(&mut *transaction, &run.source).await?.map(|known| known.state),
    };
    Ok(source.source.goes_on(&state.unwrap_or_default(), &read))
}

/// The parts that a failed run has read, so that no run asks for them again: `state` is the source's own words.
pub(super) async fn commit_part(
    transaction: &mut PgConnection,
    run: &Run,
    source: &SourceInUse,
    state: Value,
    lanes: u32,
) -> Result<(), TaskError> {
    if let Some(range) = &run.range {
        backfill_checkpoints::put(transaction, &run.source, range, &state, run.id).await?;
        return Ok(());
    }
    let definition = source.definition.hash;
    streamed_files::commit(transaction, &run.source, run.id, definition, &[], Some(lanes)).await?;
    let before = checkpoints::get(&mut *transaction, &run.source).await?;
    let mut after = match before.map(|checkpoint| checkpoint.state) {
        Some(Value::Object(before)) => before,
        _ => Map::new(),
    };
    if let Value::Object(state) = state {
        after.extend(state);
    }
    let records = totals::records(&mut *transaction, &run.source).await?;
    let state = Value::Object(after);
    checkpoints::advance(transaction, &run.source, records, &state, run.id).await?;
    Ok(())
}

/// A backfill leaves how far it has come, and the checkpoint where it is; what that says of the records is renewed.
async fn commit_backfill(
    transaction: &mut PgConnection,
    run: &Run,
    source: &SourceInUse,
    range: &ReadRange,
    read: Read,
) -> Result<(), TaskError> {
    let before = backfill_checkpoints::get(&mut *transaction, &run.source, range).await?;
    let before = before.map(|(state, _)| state).unwrap_or_default();
    let state = advanced(transaction, run, source, before, read).await?;
    backfill_checkpoints::put(transaction, &run.source, range, &state, run.id).await?;
    if let Some(known) = checkpoints::get(&mut *transaction, &run.source).await? {
        let records = totals::records(&mut *transaction, &run.source).await?;
        checkpoints::advance(transaction, &run.source, records, &known.state, known.run).await?;
    }
    Ok(())
}

/// What the next run begins with: the source's own words, and the files that this one has read.
async fn next_state(
    transaction: &mut PgConnection,
    run: &Run,
    source: &SourceInUse,
    planned: &Planned,
    read: Read,
) -> Result<Value, TaskError> {
    let before = checkpoints::get(&mut *transaction, &run.source).await?;
    let before = before.map(|checkpoint| checkpoint.state).unwrap_or_default();
    let mut state = match advanced(transaction, run, source, before, read).await? {
        Value::Object(state) => state,
        _ => Map::new(),
    };
    let files = planned.files.iter().map(|file| file.file_id.into()).collect();
    state.insert("files".to_owned(), Value::Array(files));
    Ok(Value::Object(state))
}

/// The source's own words after a run that began with these.
async fn advanced(
    transaction: &mut PgConnection,
    run: &Run,
    source: &SourceInUse,
    before: Value,
    read: Read,
) -> Result<Value, TaskError> {
    if read.again {
        return Ok(before);
    }
    let watermarks = run_tasks::watermarks(&mut *transaction, run.id).await?;
    Ok(source.source.advance(&before, &watermarks, read.complete))
}

/// A replay advances no position; what the checkpoint says of the records is renewed.
async fn commit_records(
    transaction: &mut PgConnection,
    run: &Run,
    source: &SourceInUse,
) -> Result<(), TaskError> {
    if let Some(checkpoint) = checkpoints::get(&mut *transaction, &run.source).await? {
        let records = totals::records(&mut *transaction, &run.source).await?;
        let state = match all_of_it(transaction, run).await? {
            true => source.source.replayed(&checkpoint.state),
            false => checkpoint.state,
        };
        let state = source.source.restart_ended(&state, run.id);
        checkpoints::advance(transaction, &run.source, records, &state, run.id).await?;
    }
    Ok(())
}

/// Whether a replay has normalized again all that runs have read.
async fn all_of_it(transaction: &mut PgConnection, run: &Run) -> Result<bool, TaskError> {
    let runs = replay::reading_runs(&mut *transaction, &run.source, None, None).await?;
    let [from, to] = [runs.first(), runs.last()].map(|run| run.map(|run| run.id));
    let range = run.replay.map(|range| (Some(range.from), Some(range.to)));
    Ok(range == Some((from, to)) && runs.iter().all(|run| run.known))
}

/// Notes which files were read as streams to their ends.
async fn commit_streamed(
    transaction: &mut PgConnection,
    run: &Run,
    source: &SourceInUse,
    files: &[FileNote],
) -> Result<(), TaskError> {
    let again: Vec<_> = files.iter().filter_map(|note| note.again.clone()).collect();
    for again in again.chunks(FILES_AT_ONCE) {
        streamed_files::seen_again(transaction, again).await?;
    }
    let left_out: Vec<_> = file_note::left_out(files).into_iter().collect();
    let (name, hash) = (&run.source, source.definition.hash);
    let read = streamed_files::commit(transaction, name, run.id, hash, &left_out, None).await?;
    if !read.is_empty() {
        quarantined_rows::supersede(transaction, name, &read).await?;
    }
    Ok(())
}

async fn commit_files(
    transaction: &mut PgConnection,
    run: &Run,
    source: &SourceInUse,
    files: &[PlannedFile],
) -> Result<(), TaskError> {
    let versions: Vec<_> = files.iter().map(PlannedFile::version).collect();
    source_files::commit(transaction, &versions, source.definition.hash, run.id).await?;
    let from_their_start = files.iter().filter(|file| file.read && !file.appended);
    let from_their_start: Vec<_> = from_their_start.map(|file| file.file_id).collect();
    if !from_their_start.is_empty() {
        quarantined_rows::supersede(transaction, &run.source, &from_their_start).await?;
    }
    Ok(())
}
