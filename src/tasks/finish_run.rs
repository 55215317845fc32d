//! Owns the end of a run: its status, its checkpoint, its share of the totals.

use std::collections::HashSet;

use sqlx::PgConnection;

use super::planned::{Planned, PlannedFile};
use super::position::{self, Read};
use super::snapshot_schema::Snapshot;
use super::{
    SourceInUse, TaskError, after, chains, content_keys, dry_run, emptied, guard, key_change,
    met_twice, repeated, run_parents,
};
use crate::db::runs::progress::{self, RunProgress};
use crate::db::runs::{self, Run};
use crate::db::{
    field_presence, missing_records, parents, quarantined_rows, run_chains, run_pages, run_tasks,
    source_files, totals,
};
use crate::domain::counters::Counters;
use crate::domain::file_note::{self, About, FileNote};
use crate::domain::file_standing;
use crate::domain::number::grouped;
use crate::domain::presence::{Gaps, Reads};
use crate::domain::reason_tally::ReasonTally;
use crate::domain::remark::Remark;
use crate::domain::run::{Mode, RunId, RunStatus};
use crate::domain::task::TaskPayload;
use crate::domain::text::cut;
use crate::job_file::policy::Checks;

/// The most bytes of each of the remarks that make a run's note, of which there are a dozen at most.
const MAX_REMARK: usize = 4 << 10;

/// Ends a run whose tasks have all completed. The checkpoint advances only if none of them failed.
pub(super) async fn finish_run(
    transaction: &mut PgConnection,
    id: RunId,
    progress: RunProgress,
    source: Option<&SourceInUse>,
) -> Result<(), TaskError> {
    progress::finish(transaction, id, progress).await?;
    let run = runs::get(&mut *transaction, id)
        .await?
        .ok_or_else(|| TaskError::Inconsistent(format!("run {id} is gone")))?;
    let checks = source.map(|s| s.definition.checks).unwrap_or_default();
    let mut planned = match run.dry_run {
        true => Planned::default(),
        false => planned(transaction, id).await?,
    };
    let files = match run.dry_run || run.mode == Mode::Replay {
        true => Vec::new(),
        false => run_tasks::file_notes(transaction, id).await?,
    };
    planned.everything &=
        !files.iter().any(|note| note.about.is_left_out() || note.about == About::Same);
    let anything_new = run.counters.slices > 0 || planned.files.iter().any(|file| file.read);
    let failures = run_parents::failures(transaction, id, run.failed_tasks, source).await?;
    let set_aside = match run.counters.quarantined {
        0 => ReasonTally::default(),
        _ => run_tasks::set_aside(transaction, id).await?,
    };
    let mut remarks = remarks(transaction, &run, &planned).await?;
    remarks.extend(file_note::remarks(&files));
    let differ = match run.dry_run {
        true => None,
        false => repeated::remark(transaction, id).await?,
    };
    let met_twice = match source {
        Some(source) => met_twice::look(transaction, &run, &*source.source).await?,
        None => None,
    };
    let is_met_twice = met_twice.is_some() || differ.is_some();
    // Of those that differ more is said.
    remarks.extend(differ.or(met_twice));
    if let (Some(source), false) = (source, run.dry_run) {
        remarks.extend(repeated::equal_remark(transaction, id, &source.definition).await?);
    }
    let incomplete = run_chains::count_incomplete(transaction, id).await?;
    remarks.extend(chains::remark(transaction, id, incomplete).await?);
    let quarantined = run.counters.quarantined;
    let kept_out = guard::kept_out(transaction, id, source, quarantined).await?;
    if let (Some(source), true) = (source, run.mode != Mode::Replay && !run.dry_run) {
        remarks.extend(guard::remark(kept_out, source.source.profile().reads));
    }
    let partly = position::partly_read(transaction, &run, source, kept_out).await?;
    remarks.extend(partly.as_ref().map(|goes_on| Remark::note(goes_on.note.clone())));
    let parents_failed = failures.remark.is_some();
    remarks.extend(failures.remark);
    if let (false, Some(source)) = (failures.any, source) {
        remarks.extend(look_at_fields(transaction, &run, source).await?);
        let other_keys = key_change::remark(transaction, &run, source).await?;
        // Keys of another kind say more than keys of other columns.
        remarks.extend(match other_keys {
            Some(remark) => Some(remark),
            None => {
                let snapshot = snapshot(transaction, id).await?;
                content_keys::remark(transaction, &run, &snapshot.other_columns).await?
            }
        });
        if run.mode != Mode::Replay {
            let watermarks = run_tasks::watermarks(&mut *transaction, id).await?;
            remarks.extend(source.source.remarks(&watermarks));
        }
    }
    // Of files that are empty planning has told.
    if let (false, Some(source), false, false) =
        (failures.any, source, anything_new, run.dry_run || run.mode == Mode::Replay)
    {
        remarks.extend(still_so(transaction, &run, source).await?);
    }
    // Of files that are empty planning has told.
    let asks = source.is_some_and(|s| s.source.profile().rows_by_job_file);
    if asks
        && run.failed_tasks == 0
        && anything_new
        && run.counters.rows_read == 0
        && run.mode != Mode::Replay
    {
        remarks.extend(never_read(transaction, &run).await?);
    }
    let profile = source.map(|s| s.source.profile());
    let must_have_rows = profile.as_ref().is_some_and(|profile| profile.must_have_rows);
    let reads_all = profile.is_some_and(|profile| profile.reads == Reads::Again);
    // Where files must have rows, none at all is no less a loss than files without rows.
    let is_asked = reads_all && anything_new || must_have_rows && !failures.any;
    if is_asked && run.counters.rows_read == 0 && run.mode != Mode::Replay {
        remarks.extend(nothing_read(transaction, &run, must_have_rows).await?);
    }
    let outcome = Outcome {
        counters: &run.counters,
        any_failed: failures.any,
        all_left_out: all_left_out(&planned, &files, &run.counters),
        is_dry_run: run.dry_run,
        anything_new,
        checks: &checks,
        set_aside: &set_aside,
        files: standing(transaction, &run, &planned, &checks).await?,
        remarks,
    };
    let (mut status, mut reason) = outcome.conclude();
    if let Some(source) = source
        && let Some(remark) =
            super::deletions::find(transaction, &run, source, &planned, status, is_met_twice)
                .await?
    {
        if remark.degrades {
            status = RunStatus::Degraded;
        }
        reason = Some(reason.map_or(remark.text.clone(), |reason| match remark.degrades {
            true => format!("{}; {reason}", remark.text),
            false => format!("{reason}; {}", remark.text),
        }));
    }
    // A failed run may be retried, and goes on with what it has seen.
    if status != RunStatus::Failed {
        missing_records::forget_seen(transaction, &run.source).await?;
    }
    if !run.dry_run {
        totals::add_run(transaction, &run.source, status, &run.counters).await?;
        if let (false, Some(source)) = (failures.any || status == RunStatus::Failed, source) {
            let read = Read {
                complete: incomplete == 0 && !parents_failed,
                again: kept_out > 0 && source.source.profile().reads == Reads::News,
            };
            position::commit_position(transaction, &run, source, (&planned, &files), read).await?;
        } else if let (Some((state, lanes)), Some(source)) =
            (partly.and_then(|goes_on| goes_on.kept), source)
        {
            position::commit_part(transaction, &run, source, state, lanes).await?;
        }
        // Those of a run that may be retried count when it ends.
        if run.failed_tasks == 0 && files.iter().any(|note| note.about.is_left_out()) {
            quarantined_rows::supersede_unfinished(transaction, &run.source, id).await?;
        }
    }
    run_pages::remove(transaction, &run.source, id, status == RunStatus::Failed).await?;
    if source.is_some_and(|source| source.source.profile().parents.is_some()) {
        parents::remove(transaction, &run.source, id, status == RunStatus::Failed).await?;
    }
    runs::finish(transaction, id, status, reason.as_deref()).await?;
    after::follow(transaction, &run, status, source).await?;
    tracing::info!(
        run_id = id.0,
        source = run.source,
        status = status.as_str(),
        rows_read = run.counters.rows_read,
        inserted = run.counters.inserted,
        updated = run.counters.updated,
        unchanged = run.counters.unchanged,
        quarantined = run.counters.quarantined,
        "run finished"
    );
    Ok(())
}

/// Whether the run was to read files, and none of them could be read, nor a member of one; a member that is what it was
/// was read.
fn all_left_out(planned: &Planned, files: &[FileNote], counters: &Counters) -> bool {
    if counters.inserted + counters.updated + counters.unchanged > 0 {
        return false;
    }
    let unreadable = files.iter().any(|note| note.about == About::Unreadable);
    unreadable && !planned.others && file_note::left_out_whole(files) >= planned.landed
}

/// The state of the files whose rows the run has evaluated.
async fn standing(
    transaction: &mut PgConnection,
    run: &Run,
    planned: &Planned,
    checks: &Checks,
) -> Result<Option<Remark>, TaskError> {
    let read = || planned.files.iter().filter(|file| file.read);
    let evaluated: Vec<_> = match run.mode {
        _ if run.dry_run => return Ok(None),
        Mode::Incremental | Mode::Full if planned.landed == 0 && read().next().is_some() => {
            read().map(PlannedFile::evaluated).collect()
        }
        // Or files that no plan saw: they were read as streams.
        Mode::Replay | Mode::Incremental | Mode::Full => {
            let mut files: Vec<_> = read().map(PlannedFile::evaluated).collect();
            let known: HashSet<i64> = files.iter().map(|file| file.id).collect();
            let all = run_tasks::files_of_slices(&mut *transaction, run.id).await?;
            files.extend(all.into_iter().filter(|file| !known.contains(&file.id)));
            files
        }
    };
    if evaluated.is_empty() {
        return Ok(None);
    }
    let standing = source_files::recount(transaction, &run.source, &evaluated).await?;
    Ok(file_standing::remark(&standing, checks.max_quarantine_ratio))
}

/// What the tasks of a run found worth saying.
async fn remarks(
    transaction: &mut PgConnection,
    run: &Run,
    planned: &Planned,
) -> Result<Vec<Remark>, TaskError> {
    if run.dry_run {
        return Ok(dry_run::remarks(transaction, run.id).await?);
    }
    let mut remarks = planned.remarks.clone();
    remarks.extend(snapshot(transaction, run.id).await?.remarks);
    remarks.extend(of_backfill(run));
    Ok(remarks)
}

/// What there is to say of a backfill that changed records: of a log of changes they are older now.
fn of_backfill(run: &Run) -> Option<Remark> {
    let changed = run.counters.updated.unsigned_abs();
    (run.range.is_some() && changed > 0).then(|| {
        let one = if changed == 1 { "record that was there is" } else { "records that were there are" };
        Remark::note(format!(
            "{} {one} now what the API said for this range: of a log, in which a record comes once for each of its \
             changes, that may be older than what it was; a range that ends now, or `--full`, reads all changes in order",
            grouped(changed)
        ))
    })
}

/// What the snapshot of a run left in the ledger; nothing when there was none.
async fn snapshot(transaction: &mut PgConnection, id: RunId) -> Result<Snapshot, TaskError> {
    let key = TaskPayload::SnapshotSchema {}.key();
    match run_tasks::result(&mut *transaction, id, &key).await? {
        Some(result) => serde_json::from_value(result).map_err(|error| {
            TaskError::Inconsistent(format!("result of the snapshot of run {id}: {error}"))
        }),
        None => Ok(Snapshot::default()),
    }
}

/// What there is to say about fields that have lost their values; and what is known of them from now on.
async fn look_at_fields(
    transaction: &mut PgConnection,
    run: &Run,
    source: &SourceInUse,
) -> Result<Option<Remark>, TaskError> {
    let Counters { inserted, updated, unchanged, .. } = run.counters;
    // A dry run has looked itself.
    let mut gaps = match run.dry_run {
        true => Gaps::default(),
        false => run_tasks::gaps(&mut *transaction, run.id).await?,
    };
    gaps.note_unchanged(unchanged.unsigned_abs());
    // Of the records of a run that an earlier version began not all gaps are known.
    if !gaps.are_of(inserted + updated + unchanged) {
        return Ok(None);
    }
    let definition = &source.definition;
    let reads = emptied::reads(&*source.source, run.mode);
    let known = field_presence::get(&mut *transaction, &run.source).await?;
    if run.mode != Mode::Replay {
        let after = emptied::after(definition, &known, &gaps, reads);
        if after != known {
            field_presence::put(transaction, &run.source, &after, run.id).await?;
        }
    }
    let new = snapshot(transaction, run.id).await?.new;
    Ok(emptied::remark(definition, &known, &gaps, reads, &new))
}

/// What made the last run that read anything degraded of its rows as a whole: that is not fixed by
/// nothing being new.
async fn still_so(
    transaction: &mut PgConnection,
    run: &Run,
    source: &SourceInUse,
) -> Result<Vec<Remark>, TaskError> {
    let last = runs::last_reading(&mut *transaction, &run.source, run.id).await?;
    let Some(last) = last.filter(|last| last.status == RunStatus::Degraded) else {
        return Ok(Vec::new());
    };
    let mut remarks = Vec::new();
    remarks.extend(too_few(&last.counters, &source.definition.checks));
    let mut gaps = run_tasks::gaps(&mut *transaction, last.id).await?;
    // What is known of fields has these records in it.
    gaps.known_before = gaps.records;
    let Counters { inserted, updated, unchanged, .. } = last.counters;
    if gaps.are_of(inserted + updated + unchanged) {
        let known = field_presence::get(&mut *transaction, &run.source).await?;
        let reads = emptied::reads(&*source.source, last.mode);
        let new = snapshot(transaction, last.id).await?.new;
        remarks.extend(emptied::remark(&source.definition, &known, &gaps, reads, &new));
    }
    let still = |remark: Remark| Remark {
        text: format!("nothing is new since run {}: {}", last.id, remark.text),
        ..remark
    };
    Ok(remarks.into_iter().map(still).collect())
}

/// What makes a run degraded that read fewer rows than it must.
fn too_few(counters: &Counters, checks: &Checks) -> Option<Remark> {
    let read = counters.rows_read.unsigned_abs();
    let min = checks.min_rows.filter(|min| read < *min)?;
    Some(Remark::degrading(format!("{read} rows read, at least {min} expected")))
}

/// What there is to say when there was nothing to read, and was before.
async fn nothing_read(
    transaction: &mut PgConnection,
    run: &Run,
    must_have_rows: bool,
) -> Result<Option<Remark>, TaskError> {
    let before = runs::last_with_rows(&mut *transaction, &run.source, run.id).await?;
    Ok(before.map(|(before, rows)| {
        let rows = grouped(rows.unsigned_abs());
        let text = format!("no rows read, and run {before} read {rows}");
        match must_have_rows {
            true => Remark::degrading(format!(
                "{text}; if that is meant, write missing_field = \"evolve\" under [contract]"
            )),
            false => Remark::note(text),
        }
    }))
}

/// What there is to say when nothing came, and nothing ever did.
async fn never_read(
    transaction: &mut PgConnection,
    run: &Run,
) -> Result<Option<Remark>, TaskError> {
    let before = runs::last_with_rows(&mut *transaction, &run.source, run.id).await?;
    let source = &run.source;
    Ok(before.is_none().then(|| {
        Remark::note(format!(
            "no rows came, nor in any run before: `kasparro preview {source}` shows what the source gives"
        ))
    }))
}

/// What the plan of a run left in the ledger; nothing when planning itself failed.
async fn planned(transaction: &mut PgConnection, id: RunId) -> Result<Planned, TaskError> {
    let key = TaskPayload::PlanRun {}.key();
    match run_tasks::result(&mut *transaction, id, &key).await? {
        Some(result) => serde_json::from_value(result)
            .map_err(|error| TaskError::Inconsistent(format!("plan of run {id}: {error}"))),
        None => Ok(Planned::default()),
    }
}

/// The result of a run.
struct Outcome<'a> {
    counters: &'a Counters,
    any_failed: bool,
    /// Whether there were files to read, and none could be read.
    all_left_out: bool,
    is_dry_run: bool,
    anything_new: bool,
    checks: &'a Checks,
    set_aside: &'a ReasonTally,
    /// What makes the run degraded of single files.
    files: Option<Remark>,
    remarks: Vec<Remark>,
}

impl Outcome<'_> {
    /// How the run ends, and what there is to say about it.
    fn conclude(mut self) -> (RunStatus, Option<String>) {
        if !self.any_failed {
            self.check_rows();
        }
        let quarantined = (self.counters.quarantined > 0).then(|| self.quarantined());
        // Where all rows together are too bad, that says enough.
        let enough = quarantined.as_ref().is_some_and(|remark| remark.degrades);
        let files = self.files.take().filter(|_| !self.any_failed && !enough);
        self.remarks.extend(files.into_iter().chain(quarantined));
        let degraded = self.remarks.iter().any(|remark| remark.degrades);
        if !degraded && !self.any_failed && !self.anything_new {
            self.remarks.insert(0, Remark::note("nothing new"));
        }
        let lost = self.rows_are_lost();
        if lost {
            self.remarks.insert(0, self.lost());
        }
        let status = match () {
            () if self.any_failed || self.all_left_out || lost => RunStatus::Failed,
            () if degraded => RunStatus::Degraded,
            () if self.counters.unchanged > 0 => RunStatus::SuccessWithDuplicates,
            () => RunStatus::Success,
        };
        // Where there is little room, the reasons are seen first. The advice is at the end of each.
        self.remarks.sort_by_key(|remark| !remark.degrades);
        let texts = self.remarks.iter().map(|remark| cut(&remark.text, MAX_REMARK));
        let texts = texts.collect::<Vec<_>>().join("; ");
        (status, (!texts.is_empty()).then_some(texts))
    }

    /// Whether the rows that were read are not those that were loaded or quarantined, although no task has
    /// failed: the database would refuse such a success.
    fn rows_are_lost(&self) -> bool {
        !self.any_failed && !self.is_dry_run && self.counters.rows_read != self.counters.evaluated()
    }

    fn lost(&self) -> Remark {
        let grouped = |rows: i64| grouped(rows.unsigned_abs());
        Remark::degrading(format!(
            "{} rows were read, and {} were loaded or quarantined: a fault of kasparro, please report it. The \
             checkpoint stays where it was; a run with --full reads everything again",
            grouped(self.counters.rows_read),
            grouped(self.counters.evaluated()),
        ))
    }

    fn check_rows(&mut self) {
        let read = self.counters.rows_read;
        if self.anything_new {
            self.remarks.extend(too_few(self.counters, self.checks));
        }
        if self.none_loaded() && self.counters.quarantined == 0 {
            self.remarks.push(Remark::degrading(format!("none of {read} rows was loaded")));
        }
    }

    fn none_loaded(&self) -> bool {
        let Counters { rows_read, inserted, updated, unchanged, .. } = *self.counters;
        rows_read > 0 && inserted + updated + unchanged == 0
    }

    fn quarantined(&self) -> Remark {
        let quarantined = self.counters.quarantined_of_all();
        let set_aside = self.set_aside;
        let max = self.checks.max_quarantine_ratio;
        let ratio = self.counters.quarantined as f64 / self.counters.rows_read.max(1) as f64;
        if self.any_failed {
            Remark::note(format!("{quarantined}: {set_aside}"))
        } else if self.none_loaded() {
            Remark::degrading(format!("{quarantined}, so none was loaded: {set_aside}"))
        } else if ratio > max {
            Remark::degrading(format!(
                "{quarantined}, more than the share of {max} that `[checks]` allows: {set_aside}"
            ))
        } else {
            Remark::note(format!("{quarantined}: {set_aside}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever a job file allows: the database refuses anything else as well.
        #[test]
        fn a_run_that_loaded_none_of_its_rows_is_no_success(
            rows in prop::array::uniform4(0..3_i64),
            lost in 0..2_i64,
            min_rows in prop::option::of(0..9_u64),
            max_quarantine_ratio in prop::sample::select(vec![0.0, 0.3, 0.5, 1.0]),
            anything_new: bool,
            any_failed: bool,
            is_dry_run: bool,
            remark in prop::option::of(any::<bool>()),
        ) {
            let [inserted, updated, unchanged, quarantined] = rows;
            let rows_read = inserted + updated + unchanged + quarantined + lost;
            let counters =
                Counters { rows_read, inserted, updated, unchanged, quarantined, ..Counters::default() };
            let remark = remark.map(|degrades| Remark { text: "look".to_owned(), degrades });
            let (status, note) = Outcome {
                counters: &counters,
                any_failed,
                all_left_out: false,
                is_dry_run,
                anything_new,
                checks: &Checks { min_rows, max_quarantine_ratio },
                set_aside: &ReasonTally::default(),
                files: None,
                remarks: remark.clone().into_iter().collect(),
            }
            .conclude();
            let loaded = inserted + updated + unchanged;
            if status.is_success() {
                prop_assert!(!any_failed && (rows_read == 0 || loaded > 0));
                prop_assert!(is_dry_run || lost == 0);
                prop_assert!(quarantined as f64 <= max_quarantine_ratio * rows_read as f64);
                prop_assert!(remark.as_ref().is_none_or(|remark| !remark.degrades));
            }
            prop_assert_eq!(status == RunStatus::Failed, any_failed || !is_dry_run && lost > 0);
            // A run that is no success, or has set rows aside, says why.
            let note = note.unwrap_or_default();
            prop_assert!(status != RunStatus::Degraded || !note.is_empty());
            prop_assert_eq!(note.contains(" rows quarantined"), quarantined > 0);
            prop_assert!(remark.is_none() || note.contains("look"));
        }
    }

    #[test]
    fn what_makes_a_run_degraded_is_said_first() {
        let (_, note) = Outcome {
            counters: &Counters { rows_read: 2, quarantined: 2, ..Counters::default() },
            any_failed: false,
            all_left_out: false,
            is_dry_run: false,
            anything_new: true,
            checks: &Checks::default(),
            set_aside: &ReasonTally::default(),
            files: None,
            remarks: vec![Remark::note("a note"), Remark::degrading("a fault")],
        }
        .conclude();
        let note = note.unwrap();
        assert!(note.starts_with("a fault; 2 of 2 rows quarantined"), "{note}");
        assert!(note.ends_with("; a note"), "{note}");
    }

    #[test]
    fn a_note_is_bounded_and_keeps_what_helps() {
        let text = format!("a file was not loaded: {}. Fix the file", "x".repeat(1 << 20));
        let (_, note) = Outcome {
            counters: &Counters::default(),
            any_failed: false,
            all_left_out: false,
            is_dry_run: false,
            anything_new: true,
            checks: &Checks::default(),
            set_aside: &ReasonTally::default(),
            files: None,
            remarks: vec![Remark::degrading(text.clone()), Remark::note(text)],
        }
        .conclude();
        let note = note.unwrap();
        assert!(note.len() < 3 * MAX_REMARK && note.ends_with(". Fix the file"), "{}", note.len());
        assert_eq!(note.matches(". Fix the file").count(), 2);
    }
}
