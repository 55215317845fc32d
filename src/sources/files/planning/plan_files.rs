//! Owns planning the files of a run, in their order: which of them are read, how far, and by which tasks.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use super::found::{AllFound, Found, modified};
use super::guard::{FileGuard, lacking_of};
use super::lanes::Lanes;
use super::position::{Before, Seen, ToLand, Unreadable};
use super::remarks::FileRemarks;
use super::rules::looks_for_missing;
use super::same_files;
use super::setup::Setup;
use crate::domain::bloom_filter::{BloomFilter, KeyOrder};
use crate::domain::file::{CommittedFile, KnownFile};
use crate::domain::hash::{ContentHash, Hashes};
use crate::domain::remark::Remark;
use crate::domain::run::Mode;
use crate::domain::slice::SliceId;
use crate::mapping::Mapping;
use crate::sources::files::file_source::WhenGone;
use crate::sources::files::places::Listed;
use crate::sources::files::places::all::Places;
use crate::sources::files::store::stored_name;
use crate::sources::{
    CommittedFiles, FilePlan, FileSource, FilesThere, FoundFile, Loss, NextSlice, Plan,
    PlanRequest, SourceError, SourceErrorKind,
};
use crate::values::row::Row;

/// A plan in the making.
pub(super) struct Planning<'a> {
    setup: &'a Setup,
    request: &'a PlanRequest,
    stopped: &'a AtomicBool,
    places: Arc<Places>,
    /// The job file of now.
    written: Hashes,
    guard: FileGuard<'a>,
    remarks: FileRemarks<'a>,
    lanes: Lanes,
    /// Files that are too young to be read.
    young: usize,
    landed: usize,
    /// Whether all files are read, whatever was read of them before.
    read_again: bool,
    /// The versions of members that their archives have no more.
    gone_members: HashSet<i64>,
    still_unreadable: Vec<String>,
}

/// What files are when they were looked at.
struct Looked {
    /// The keys of those that were read to plan them.
    keys: BloomFilter,
    /// The names of all whose names can be kept.
    names: Vec<String>,
}

impl<'a> Planning<'a> {
    /// Of what earlier runs have read.
    ///
    /// # Errors
    /// When a place cannot be used as the job file says.
    pub fn new(
        setup: &'a Setup,
        request: &'a PlanRequest,
        stopped: &'a AtomicBool,
    ) -> Result<Self, SourceError> {
        let (files, definition): (&dyn FileSource, _) = (&*setup.files, &*setup.definition);
        Ok(Self {
            setup,
            request,
            stopped,
            places: setup.places(request.access)?,
            written: Hashes::of(definition.text.as_bytes()),
            guard: FileGuard::new(files, definition, &request.files),
            remarks: FileRemarks::new(files, definition),
            lanes: Lanes::default(),
            young: 0,
            landed: 0,
            read_again: false,
            gone_members: gone_members(&request.files),
            still_unreadable: Vec::new(),
        })
    }

    /// Plans what was found. Blocking.
    pub fn plan(mut self, found: AllFound) -> Result<Plan, SourceError> {
        let AllFound { files, mut left_out, .. } = found;
        let base = self.setup.definition.base_dir();
        let is_known = |name: &str| !self.versions(name).is_empty();
        let (files, other_names) = same_files::once(base, files, is_known);
        left_out.extend(other_names);
        let listed = files.len();
        let nothing_left_out = left_out.iter().all(|left| left.loss == Loss::Nothing);
        // What was in a folder that cannot be looked into may still be there.
        let all_known = left_out.iter().all(|left| left.loss != Loss::Unknown);
        let mut names = Vec::with_capacity(listed);
        for left in left_out {
            // What no pattern matches, or what is read by another name, is not there as a file.
            if left.loss != Loss::Nothing {
                names.push(stored_name(base, &left.path));
            }
            self.guard.leave_out(left);
        }
        self.refuse_none(listed)?;
        let gone = self.gone_files(&files);
        let mut looked = self.look_at(&files)?;
        // Of a file that is gone only reading all others tells what is missing, and not as long as one cannot be read.
        let reads_all = !gone.is_empty() && nothing_left_out && self.could_read_all();
        if reads_all && self.request.mode != Mode::Full {
            let (files_of, definition): (&dyn FileSource, _) =
                (&*self.setup.files, &*self.setup.definition);
            self.remarks = FileRemarks::new(files_of, definition);
            (self.lanes, self.landed, self.read_again) = (Lanes::default(), 0, true);
            looked = self.look_at(&files)?;
        }
        let Looked { keys, names: there } = looked;
        names.extend(there);
        let mapping = Mapping::new(&self.setup.definition, None);
        let Self { mut guard, mut remarks, lanes, landed, young, gone_members, .. } = self;
        let still_unreadable = self.still_unreadable;
        let Lanes { files, groups, .. } = lanes;
        let nothing = files.is_empty() && groups.is_empty();
        if let (true, Some(error)) = (nothing, guard.take_error()) {
            return Err(error);
        }
        let found = all_known.then_some(names);
        let whole = files.iter().all(|file| matches!(file.plan, FilePlan::Whole(_)));
        // No files at all say nothing of records, unless files that are gone are to mean that theirs are missing.
        let any = listed > 0 || self.setup.files.when_gone() == WhenGone::Tombstone;
        let everything = any && nothing_left_out && whole && files.len() + landed == listed;
        if let Some(names) = &found {
            remarks.look_for_missing(&self.request.files, names, everything);
        }
        let found = found.map(|mut names| match young == 0 || gone.is_empty() {
            true => FilesThere { names, gone_members: gone_members.into_iter().collect() },
            // The run may be a success, and then nobody would look for what is gone once nothing waits.
            false => {
                names.extend(gone);
                FilesThere { names, gone_members: Vec::new() }
            }
        });
        let mut remarks: Vec<_> = guard.remarks().into_iter().chain(remarks.remarks()).collect();
        remarks.extend(waiting(young));
        // What stands in files that are read as streams nobody has seen.
        let repeats = match landed {
            // No two rows stand in one place.
            _ if mapping.keys_are_places() => KeyOrder::Distinct,
            0 => keys.order(),
            _ => KeyOrder::Ordered,
        };
        let order = match self.setup.definition.has_unique() {
            // Which of two records has a value is decided in the order of rows.
            true => KeyOrder::Ordered,
            false => repeats.clone(),
        };
        let slices = groups.into_iter().map(|(lane, group)| NextSlice {
            slice: SliceId::new(lane, 0),
            position: group.to_json(),
        });
        let (slices, parents) = (slices.collect(), None);
        Ok(Plan {
            slices,
            files,
            landed,
            everything,
            restarts: false,
            found,
            still_unreadable,
            remarks,
            order,
            repeats,
            parents,
        })
    }

    /// Looks at the files one by one: those that are read get tasks.
    fn look_at(&mut self, files: &[Found]) -> Result<Looked, SourceError> {
        let base = self.setup.definition.base_dir();
        let sizes = files.iter().map(|file| match file {
            Found::Here(path) => path.metadata().map_or(0, |file| file.len()),
            Found::There(_) => 0,
        });
        let mut keys = BloomFilter::for_bytes(sizes.sum());
        let mut names = Vec::with_capacity(files.len());
        let mapping = Mapping::new(&self.setup.definition, None);
        let mut scratch = String::new();
        let mut visit = |row: &dyn Row| {
            if let Some(hash) = mapping.key_hash(row, &mut scratch) {
                keys.see(hash);
            }
        };
        let now = SystemTime::now();
        for file in files {
            if self.stopped.load(Ordering::Relaxed) {
                return Err(SourceError::new(
                    SourceErrorKind::Abandoned,
                    "nobody waits for the plan any more",
                ));
            }
            let url = name(base, file);
            if !self.guard.can_keep(&url) {
                continue;
            }
            names.push(url.clone());
            if is_young(self.setup, file, now) {
                self.young += 1;
                continue;
            }
            match file {
                Found::Here(path) => self.here(path, url, &mut visit)?,
                Found::There(listed) => self.there(listed.clone()),
            }
        }
        Ok(Looked { keys, names })
    }

    /// Whether no file waits or is kept out of those that were looked at.
    fn could_read_all(&self) -> bool {
        self.young == 0 && !self.guard.keeps_any_out()
    }

    /// An empty listing where there were files is mostly one that cannot be seen.
    fn refuse_none(&self, listed: usize) -> Result<(), SourceError> {
        let had = self.request.files.values().any(|file| !file.gone);
        if listed > 0 || !had || self.setup.params.allow_empty {
            return Ok(());
        }
        let setting = self.setup.files.location().setting;
        let message = format!("{setting}: there is no file, and the last run found some");
        Err(SourceError::new(SourceErrorKind::FileMissing, message).advise(
            "see whether they can still be listed; if there may be none, write allow_empty = true under [files]",
        ))
    }

    /// Plans a file of this machine.
    fn here(
        &mut self,
        path: &Path,
        url: String,
        visit: &mut dyn FnMut(&dyn Row),
    ) -> Result<(), SourceError> {
        let committed = self.versions(&url);
        // One that was read as a stream says nothing of one that need not be.
        let planned = committed.first().filter(|committed| committed.listed.is_none());
        let known = planned.and_then(|committed| self.usable(committed));
        if known.is_none() && !committed.is_empty() && planned.is_none() {
            match self.places.look(&url) {
                Ok(listed) if self.is_unchanged(&listed, &committed) => {
                    self.keep_as_is(&committed);
                    self.is_still_unreadable(&listed);
                    return Ok(());
                }
                Ok(_) => {}
                Err(error) => return self.guard.keep_out(path, &url, error),
            }
        }
        let plan = match self.setup.files.plan(path, known, visit) {
            Ok(FilePlan::Landed) => {
                match self.places.look(&url) {
                    Ok(listed) if self.is_still_unreadable(&listed) => {}
                    Ok(listed) => self.land(listed),
                    Err(error) => self.guard.keep_out(path, &url, error)?,
                }
                return Ok(());
            }
            Ok(plan) => plan,
            Err(error) => return self.guard.keep_out(path, &url, error),
        };
        let committed = committed.first().copied().cloned();
        let found = FoundFile { lane: 0, url, committed, plan };
        if self.guard.admits(&found) {
            self.remarks.look_at(&found);
            self.lanes.add_planned(found);
        }
        Ok(())
    }

    /// Plans a file that is elsewhere.
    fn there(&mut self, listed: Listed) {
        let committed = self.versions(&listed.name);
        match self.is_unchanged(&listed, &committed) {
            true => {
                self.keep_as_is(&committed);
                self.is_still_unreadable(&listed);
            }
            false if self.is_still_unreadable(&listed) => {}
            false => self.land(listed),
        }
    }

    /// Whether a file, or a member of it, cannot be read, and is what it was when that was found. What could be read of it is
    /// stored, and would be stored once more.
    fn is_still_unreadable(&mut self, listed: &Listed) -> bool {
        let request: &'a PlanRequest = self.request;
        if request.mode == Mode::Full || self.read_again {
            return false;
        }
        let Some(known) = request.unreadable.get(&listed.name) else { return false };
        let definition = ContentHash::of(self.setup.definition.text.as_bytes());
        let Some(seen) = Unreadable::seen_by(&known.seen, definition) else { return false };
        if !self.places.of(&listed.name).proves_unchanged(&seen.file, listed, seen.at) {
            return false;
        }
        self.guard.keep_out_again(&known.reason);
        self.still_unreadable.push(listed.name.clone());
        true
    }

    /// The last version of a file, or of each of the members that it had when it was read last.
    fn versions(&self, url: &str) -> Vec<&'a Arc<CommittedFile>> {
        let request: &'a PlanRequest = self.request;
        let from = request.files.range(url.to_owned()..).map(|(_, file)| file);
        let of_file = from.take_while(|file| file.url == url);
        of_file.filter(|member| !self.gone_members.contains(&member.id)).collect()
    }

    /// Whether a file is what it was when it was read, and need not be opened to see that.
    fn is_unchanged(&self, listed: &Listed, committed: &[&Arc<CommittedFile>]) -> bool {
        let Some(seen) = self.last_seen(committed) else { return false };
        self.places.of(&listed.name).proves_unchanged(&seen.file, listed, seen.at)
    }

    /// How a file was listed when it was read last, if the run may build upon that.
    fn last_seen(&self, committed: &[&Arc<CommittedFile>]) -> Option<Seen> {
        let usable = committed.iter().all(|committed| self.usable(committed).is_some());
        let seen = committed.iter().map(|committed| Seen::of(committed));
        let seen = seen.collect::<Option<Vec<_>>>().filter(|_| usable)?;
        seen.into_iter().max_by_key(|seen| seen.at)
    }

    /// What the last good run allows to build upon: nothing in a full run, after the job file changed, or when a
    /// run that was not finished left rows behind the committed end, or older values in records than the
    /// committed rows have.
    fn usable<'k>(&self, committed: &'k CommittedFile) -> Option<&'k KnownFile> {
        let request = self.request;
        let stored = committed.definition_hash;
        let same_definition = stored.is_some_and(|stored| self.written.matches(stored));
        let broken_off = request.broken_off.is_some_and(|run| run > committed.run);
        let made = committed.listed.is_none() || self.setup.files.made(&committed.known.layout);
        let usable = request.mode != Mode::Full
            && same_definition
            && made
            && !committed.rows_behind
            && !broken_off
            && !self.read_again;
        usable.then_some(&committed.known)
    }

    fn keep_as_is(&mut self, committed: &[&Arc<CommittedFile>]) {
        for committed in committed {
            let found = unchanged(committed);
            self.remarks.look_at(&found);
            self.lanes.files.push(found);
        }
    }

    /// Plans to read a file as a stream.
    fn land(&mut self, file: Listed) {
        let committed = self.versions(&file.name);
        let (files, definition): (&dyn FileSource, _) =
            (&*self.setup.files, &*self.setup.definition);
        let known = self.last_seen(&committed).map(|seen| seen.file);
        let before = committed.iter().map(|committed| {
            let mut remarks = FileRemarks::new(files, definition);
            remarks.look_at(&unchanged(committed));
            let hash = committed.known.hash;
            let usable = committed.listed.is_some() && self.usable(committed).is_some();
            Before {
                id: committed.id,
                member: committed.member.clone(),
                hash: usable.then_some(hash),
                rows: committed.known.end.rows,
                lacking: lacking_of(files, &committed.known),
                remarks: remarks.remarks(),
            }
        });
        let before = before.collect();
        let lacking = self.guard.lacking().cloned();
        self.landed += 1;
        self.lanes.add_landed(ToLand { file, at: self.request.now, known, before }, lacking);
    }

    /// The names of those files of earlier runs that are gone, or a member of them, and whose records no run has looked for
    /// in the others; none where nobody asks for that.
    fn gone_files(&self, files: &[Found]) -> Vec<String> {
        if !looks_for_missing(&self.setup.definition, self.setup.files.when_gone()) {
            return Vec::new();
        }
        let base = self.setup.definition.base_dir();
        let there: HashSet<String> = files.iter().map(|file| name(base, file)).collect();
        let is_gone = |file: &&Arc<CommittedFile>| {
            let gone = !there.contains(&file.url) || self.gone_members.contains(&file.id);
            gone && !file.gone_for_good
        };
        let gone = self.request.files.values().filter(is_gone);
        gone.map(|file| file.url.clone()).collect()
    }
}

fn name(base: &Path, file: &Found) -> String {
    match file {
        Found::Here(path) => stored_name(base, path),
        Found::There(listed) => listed.name.clone(),
    }
}

/// A time so far ahead is that of a wrong clock, and says nothing of how old a file is.
const AHEAD: Duration = Duration::from_secs(3600);

/// Whether a file may still be written, as the job file says.
pub(super) fn is_young(setup: &Setup, file: &Found, now: SystemTime) -> bool {
    let Some(min_age) = setup.params.min_age else { return false };
    modified(file).is_some_and(|modified| is_younger(modified, min_age, now))
}

fn is_younger(modified: SystemTime, min_age: Duration, now: SystemTime) -> bool {
    match now.duration_since(modified) {
        Ok(age) => age < min_age,
        Err(ahead) => ahead.duration() < AHEAD,
    }
}

/// The members that were not in their archives when these were read last: those that were are listed as these were then.
fn gone_members(committed: &CommittedFiles) -> HashSet<i64> {
    let mut gone = HashSet::new();
    let mut rest = committed.values().peekable();
    while let Some(first) = rest.next() {
        let mut of_file = vec![first];
        while let Some(member) = rest.next_if(|member| member.url == first.url) {
            of_file.push(member);
        }
        if of_file.len() > 1 {
            let seen: Vec<_> = of_file.iter().map(|of| Seen::of(of).map(|seen| seen.at)).collect();
            let last = seen.iter().flatten().max();
            let members = of_file.iter().zip(&seen).filter(|(_, seen)| seen.as_ref() < last);
            gone.extend(members.map(|(member, _)| member.id));
        }
    }
    gone
}

/// A file that is what it was.
fn unchanged(committed: &Arc<CommittedFile>) -> FoundFile {
    let KnownFile { modified, etag, .. } = &committed.known;
    let (modified, etag) = (*modified, etag.clone());
    let plan = FilePlan::Unchanged { modified, hash: None, layout: None, etag };
    let url = committed.url.clone();
    FoundFile { lane: 0, url, committed: Some(Arc::clone(committed)), plan }
}

/// What there is to say of files that wait until they are older.
fn waiting(young: usize) -> Option<Remark> {
    let text = match young {
        0 => return None,
        1 => "a file is younger than `files.min_age` and waits for the next run".to_owned(),
        young => {
            format!("{young} files are younger than `files.min_age` and wait for the next run")
        }
    };
    Some(Remark::note(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_waits_until_it_is_old_enough_and_not_for_a_time_of_a_wrong_clock() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        for (seconds, waits) in
            [(-61, false), (-59, true), (0, true), (3_599, true), (3_601, false)]
        {
            let by = Duration::from_secs(i64::unsigned_abs(seconds));
            let modified = if seconds < 0 { now - by } else { now + by };
            assert_eq!(is_younger(modified, Duration::from_secs(60), now), waits, "{seconds}");
        }
    }
}
