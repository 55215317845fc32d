//! Owns which files of this machine the entries of `paths` lead to. Whatever a pattern matches is found, or named
//! as left out; so is every folder that could not be looked into. Nothing is skipped in silence,
//! and one entry of a folder that cannot be read does not keep the others from it.
//!
//! `**` looks into each folder once, whatever links lead to it, and first by names without links: links
//! in a circle are followed once around, and a file below is found once. Links that a pattern names
//! itself (`*/a.csv`, `current/*.csv`) are names like any other.
//!
//! An entry with wildcards is a pattern, whatever is there; a file that is called exactly so (`a[1].csv`) is read
//! besides. So a file more never keeps others out.

use std::collections::{HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use glob::{MatchOptions, Pattern};

use super::error::{leads_nowhere, meaning};
use crate::domain::number::grouped;
use crate::sources::files::location::{INCOMING, Setting, is_pattern};
use crate::sources::{AllowedRoots, FoundPaths, LeftOut, Loss, SourceError, SourceErrorKind};

/// The most files and folders that are looked at to find the files of a source.
const MAX_ENTRIES: usize = 1_000_000;
/// The most files of a source.
const MAX_FILES: usize = 100_000;

/// Finds the files of a source, entry by entry.
pub(super) struct Finder<'a> {
    base_dir: &'a Path,
    allowed_roots: &'a AllowedRoots,
    setting: Setting,
    /// The folders below the allowed roots, without links.
    folders: Vec<PathBuf>,
    stopped: &'a AtomicBool,
    /// How many entries may still be looked at.
    pub(super) entries: usize,
    pub(super) most_files: usize,
    files: Vec<PathBuf>,
    known: HashSet<PathBuf>,
    left_out: Vec<LeftOut>,
}

/// A part of a pattern, between slashes.
#[derive(Debug)]
enum Part {
    /// A name that is written out.
    Name(String),
    /// Names that match.
    Like(Pattern),
    /// `**`: this folder, and all below.
    Below,
}

/// A folder, and the part that what is in it has to match.
struct Step {
    folder: PathBuf,
    /// The same without links, where that is known.
    real: Option<PathBuf>,
    part: usize,
    /// Whether a link led here.
    by_link: bool,
    /// Whether `**` has come here from a folder that is not below the allowed roots, but above what is.
    from_above: bool,
}

/// What is in a folder.
struct Child {
    path: PathBuf,
    name: OsString,
    is_link: bool,
    is_folder: bool,
    /// A link that may lead to a folder: it cannot be read.
    is_barred: bool,
}

/// What one entry leads to.
#[derive(Default)]
struct Walk<'p> {
    parts: &'p [Part],
    /// Folders to look into, and those that links lead to, which come after all others.
    next: Vec<Step>,
    later: VecDeque<Step>,
    /// Whether it was said that `**` skips what is outside.
    said_outside: bool,
    /// Where `**` has been.
    been: HashSet<(u64, u64, usize)>,
    files: Vec<PathBuf>,
    left_out: Vec<LeftOut>,
}

impl<'a> Finder<'a> {
    pub(super) fn new(
        base_dir: &'a Path,
        allowed_roots: &'a AllowedRoots,
        setting: Setting,
        stopped: &'a AtomicBool,
    ) -> Self {
        Self {
            base_dir,
            allowed_roots,
            setting,
            folders: allowed_roots.folders(base_dir),
            stopped,
            entries: MAX_ENTRIES,
            most_files: MAX_FILES,
            files: Vec::new(),
            known: HashSet::new(),
            left_out: Vec::new(),
        }
    }

    /// What was found so far, each file once.
    pub(super) fn found(self) -> FoundPaths {
        let Self { files, known, mut left_out, .. } = self;
        // Several entries may lead there; what one of them reads is not left out.
        left_out.retain(|left| !known.contains(&left.path));
        left_out.sort_by(|a, b| a.path.cmp(&b.path).then(b.loss.cmp(&a.loss)));
        left_out.dedup_by(|a, b| a.path == b.path);
        FoundPaths { files, left_out }
    }

    /// Adds what one entry of `paths` leads to.
    ///
    /// # Errors
    /// When it leads nowhere, outside the allowed roots, or to more than is looked at.
    pub(super) fn find(&mut self, entry: &str) -> Result<(), SourceError> {
        let parts = parts(entry, self.setting)?;
        let Walk { mut files, left_out, .. } = self.walk(entry, &parts)?;
        if found_nothing(&files, &left_out) {
            let besides = left_out.first().map(|left| format!("; {}", left.why));
            return Err(SourceError::new(
                SourceErrorKind::FileMissing,
                format!(
                    "{}: there is no file {}; paths are relative to the folder of the job file{}",
                    self.setting,
                    self.base_dir.join(entry).display(),
                    besides.unwrap_or_default()
                ),
            )
            .advise("if there may be none, write allow_empty = true under [files]"));
        }
        files.sort();
        self.left_out.extend(left_out);
        for file in files {
            if self.known.insert(file.clone()) {
                self.files.push(file);
            }
        }
        if self.files.len() > self.most_files {
            return Err(SourceError::new(
                SourceErrorKind::TooLarge,
                format!(
                    "{}: {entry:?} leads to more than {} files, the most that a source has",
                    self.setting,
                    grouped(self.most_files as u64)
                ),
            )
            .advise("put several into one, or make several sources of them"));
        }
        Ok(())
    }

    fn walk<'p>(&mut self, entry: &str, parts: &'p [Part]) -> Result<Walk<'p>, SourceError> {
        let path = self.base_dir.join(entry);
        if !is_pattern(entry) {
            return match path.symlink_metadata() {
                Ok(_) => Ok(Walk { files: vec![path], ..Walk::default() }),
                Err(error) if is_gone(&error) => Ok(Walk::default()),
                Err(error) => Err(self.failed(&path, error)),
            };
        }
        let mut walk = Walk { parts, ..Walk::default() };
        self.check_named(entry)?;
        let folder = self.start(entry).to_owned();
        walk.next.push(Step { folder, real: None, part: 0, by_link: false, from_above: false });
        while let Some(step) = walk.next.pop().or_else(|| walk.later.pop_front()) {
            self.enter(&mut walk, &step)?;
        }
        // A file may well be called `a[1].csv`, which the pattern does not match.
        let is_name = path.metadata().is_ok_and(|there| !there.is_dir() || walk.found_nothing());
        if is_name && !walk.files.contains(&path) {
            self.add(&mut walk, path)?;
        }
        Ok(walk)
    }

    /// Where the walk begins.
    fn start(&self, entry: &str) -> &'a Path {
        if entry.starts_with('/') { Path::new("/") } else { self.base_dir }
    }

    /// Whether what an entry writes out, up to its first wildcard, is below the allowed roots; or above what is.
    ///
    /// # Errors
    /// When it is not, or cannot be looked at.
    pub(super) fn check_named(&self, entry: &str) -> Result<(), SourceError> {
        let mut named = self.base_dir.join(entry);
        if is_pattern(entry) {
            let parts = entry.split('/').take_while(|part| !is_pattern(part));
            named = self.start(entry).to_owned();
            named.extend(parts.filter(|part| !part.is_empty()));
            let real = fs::canonicalize(or_here(&named));
            if real.is_ok_and(|real| self.folders.iter().any(|own| own.starts_with(&real))) {
                return Ok(());
            }
        }
        let setting = self.setting.to_string();
        self.allowed_roots
            .check(self.base_dir, &named, &setting, |error| self.failed(&named, error))
    }

    /// Looks into a folder for what its part matches.
    fn enter(&mut self, walk: &mut Walk<'_>, step: &Step) -> Result<(), SourceError> {
        let (folder, at) = (&step.folder, step.part);
        let parts = walk.parts;
        match &parts[at] {
            Part::Name(name) => {
                let path = folder.join(name);
                self.count()?;
                match path.symlink_metadata() {
                    Ok(metadata) => {
                        let child = child(path, name.into(), metadata.file_type());
                        self.reached(walk, &child, at)
                    }
                    Err(error) if is_gone(&error) => Ok(()),
                    Err(error) => self.not_looked_into(walk, path, error),
                }
            }
            Part::Like(_) => self
                .each_child(walk, folder, |finder, walk, child| finder.matched(walk, &child, at)),
            Part::Below => self.enter_below(walk, step),
        }
    }

    /// Looks into a folder that `**` has reached, and then into those in it.
    fn enter_below(&mut self, walk: &mut Walk<'_>, step: &Step) -> Result<(), SourceError> {
        let Step { folder, real, part, .. } = step;
        let looked = real.clone().map_or_else(|| fs::canonicalize(or_here(folder)), Ok);
        let looked = looked.and_then(|real| Ok((fs::metadata(or_here(folder))?, real)));
        let (metadata, real) = match looked {
            Ok(found) => found,
            Err(error) => return self.not_looked_into(walk, folder.clone(), error),
        };
        let within = self.folders.iter().any(|own| real.starts_with(own) || own.starts_with(&real));
        if !within {
            return self.outside(walk, step, &real);
        }
        if !walk.been.insert((metadata.dev(), metadata.ino(), *part)) {
            return Ok(());
        }
        let Some(inner) = walk.parts.get(part + 1) else { return Ok(()) };
        if matches!(inner, Part::Name(name) if name == "." || name == "..") {
            let (folder, part) = (folder.clone(), part + 1);
            walk.next.push(Step { folder, real: None, part, by_link: false, from_above: false });
        }
        let from_above = !self.folders.iter().any(|own| real.starts_with(own));
        self.each_child(walk, folder, |finder, walk, child| {
            finder.matched(walk, &child, part + 1)?;
            if child.is_barred {
                finder.barred(walk, &child)?;
            } else if child.is_folder {
                let real = (!child.is_link).then(|| real.join(&child.name));
                let (folder, by_link) = (child.path, child.is_link);
                walk.go_to(Step { folder, real, part: *part, by_link, from_above });
            }
            Ok(())
        })
    }

    /// Leaves a folder out that `**` may not look into. What is beside the folders below the allowed roots is
    /// many and means nothing: it is reported once.
    fn outside(&self, walk: &mut Walk<'_>, step: &Step, real: &Path) -> Result<(), SourceError> {
        let outside = "outside the folders that job files may read";
        if !step.from_above {
            let why = format!("leads to {}, which is {outside}", shown(real));
            self.leave_out(walk, step.folder.clone(), &why, Loss::Unknown);
        } else if !walk.said_outside {
            walk.said_outside = true;
            let why = format!("and whatever else is {outside} is not looked into");
            self.leave_out(walk, step.folder.clone(), &why, Loss::Nothing);
        }
        Ok(())
    }

    /// Goes on with an entry of a folder if the part matches its name.
    fn matched(
        &mut self,
        walk: &mut Walk<'_>,
        child: &Child,
        at: usize,
    ) -> Result<(), SourceError> {
        // Bytes that are no UTF-8 count as characters that only wildcards match.
        let name = child.name.to_string_lossy();
        let (matches, nearly) = match &walk.parts[at] {
            Part::Name(part) => (*part == name, false),
            Part::Below => (false, false),
            Part::Like(pattern) => {
                let any_case = MatchOptions { case_sensitive: false, ..MatchOptions::new() };
                (pattern.matches(&name), pattern.matches_with(&name, any_case))
            }
        };
        let is_last = at + 1 == walk.parts.len();
        let is_unnamed = |part: &Part| matches!(part, Part::Like(pattern) if !names_hidden(pattern.as_str(), &name));
        if matches && is_last && !child.is_folder && is_unnamed(&walk.parts[at]) {
            let why = "is not read: its name begins with a dot, and the pattern does not";
            self.leave_out(walk, child.path.clone(), why, Loss::Nothing);
        } else if matches {
            self.reached(walk, child, at)?;
        } else if nearly && is_last && !child.is_folder {
            let why = format!(
                "is not read: its name has capitals where {} has none, or the other way round",
                self.setting
            );
            self.leave_out(walk, child.path.clone(), &why, Loss::Nothing);
        }
        Ok(())
    }

    /// Goes on with what a part has matched.
    fn reached(&self, walk: &mut Walk<'_>, child: &Child, at: usize) -> Result<(), SourceError> {
        let (path, by_link) = (child.path.clone(), child.is_link);
        if at + 1 < walk.parts.len() {
            if child.is_barred {
                return self.barred(walk, child);
            }
            if child.is_folder {
                walk.go_to(Step {
                    folder: path,
                    real: None,
                    part: at + 1,
                    by_link,
                    from_above: false,
                });
            }
            return Ok(());
        }
        if !child.is_folder {
            return self.add(walk, path);
        }
        // What `**` looks into is not skipped, and `*` alone asks for no kind of names.
        let below = at > 0 && matches!(walk.parts[at - 1], Part::Below);
        let loss = match &walk.parts[at] {
            Part::Like(pattern) if below || pattern.as_str() == "*" => return Ok(()),
            Part::Like(pattern) if pattern.as_str().contains('.') => Loss::File,
            Part::Name(_) if !below => Loss::File,
            _ => Loss::Nothing,
        };
        let why =
            format!("is a folder; its files are not read unless {} leads to them", self.setting);
        self.leave_out(walk, path, &why, loss);
        Ok(())
    }

    /// Adds a file that the whole pattern has matched.
    fn add(&self, walk: &mut Walk<'_>, path: PathBuf) -> Result<(), SourceError> {
        let relative = path.strip_prefix(self.base_dir).unwrap_or(&path);
        if relative.to_str().is_none() {
            let why = "its name is not UTF-8 (bytes that are none are shown as \\x..): rename it";
            self.leave_out(walk, path, why, Loss::File);
            return Ok(());
        }
        let real = match fs::canonicalize(&path) {
            Ok(real) => real,
            Err(error) if is_gone(&error) => {
                let Ok(target) = fs::read_link(&path) else { return Ok(()) };
                // Links to pipes and the like lead nowhere by name, and yet they can be opened.
                if path.exists() {
                    walk.files.push(path);
                    return Ok(());
                }
                let why = format!("leads to {}, which is not there", shown(&target));
                self.leave_out(walk, path, &why, Loss::File);
                return Ok(());
            }
            Err(error) => return self.unreadable(walk, path, error, Loss::File),
        };
        if !self.folders.iter().any(|folder| real.starts_with(folder)) {
            let is_link = path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink());
            let leads = if is_link { "leads to " } else { "is " };
            let why = format!(
                "{leads}{}, which is outside the folders that job files may read: move it there, or \
                 add its folder to the setting `data_roots`",
                shown(&real)
            );
            self.leave_out(walk, path, &why, Loss::File);
            return Ok(());
        }
        walk.files.push(path);
        Ok(())
    }

    fn each_child(
        &mut self,
        walk: &mut Walk<'_>,
        folder: &Path,
        mut visit: impl FnMut(&mut Self, &mut Walk<'_>, Child) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        let entries = match fs::read_dir(or_here(folder)) {
            Ok(entries) => entries,
            Err(error) => return self.not_looked_into(walk, folder.to_owned(), error),
        };
        for entry in entries {
            self.count()?;
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => return self.not_looked_into(walk, folder.to_owned(), error),
            };
            let (path, name) = (folder.join(entry.file_name()), entry.file_name());
            if name == INCOMING {
                continue;
            }
            match entry.file_type() {
                Ok(kind) => visit(self, walk, child(path, name, kind))?,
                Err(error) => self.not_looked_into(walk, path, error)?,
            }
        }
        Ok(())
    }

    /// A link that may lead to a folder.
    fn barred(&self, walk: &mut Walk<'_>, child: &Child) -> Result<(), SourceError> {
        match fs::metadata(&child.path) {
            Ok(_) => Ok(()),
            Err(error) => self.not_looked_into(walk, child.path.clone(), error),
        }
    }

    fn not_looked_into(
        &self,
        walk: &mut Walk<'_>,
        path: PathBuf,
        error: io::Error,
    ) -> Result<(), SourceError> {
        // What is gone by now, or is no folder after all, holds nothing.
        if is_gone(&error) {
            return Ok(());
        }
        self.unreadable(walk, path, error, Loss::Unknown)
    }

    fn unreadable(
        &self,
        walk: &mut Walk<'_>,
        path: PathBuf,
        error: io::Error,
        loss: Loss,
    ) -> Result<(), SourceError> {
        let why = match error.kind() {
            ErrorKind::PermissionDenied => {
                "may not be looked at: give the user that kasparro runs as the right to".to_owned()
            }
            _ if leads_nowhere(&error) => format!("leads nowhere: {error}"),
            // It may come back.
            _ => return Err(self.failed(&path, error)),
        };
        self.leave_out(walk, path, &why, loss);
        Ok(())
    }

    fn failed(&self, path: &Path, error: io::Error) -> SourceError {
        meaning(path, self.setting, error)
    }

    fn leave_out(&self, walk: &mut Walk<'_>, path: PathBuf, why: &str, loss: Loss) {
        let relative = path.strip_prefix(self.base_dir).unwrap_or(&path);
        let why = match why.starts_with("its ") {
            true => format!("{}: {why}", shown(relative)),
            false => format!("{} {why}", shown(relative)),
        };
        walk.left_out.push(LeftOut { path, why, loss });
    }

    fn count(&mut self) -> Result<(), SourceError> {
        if self.stopped.load(Ordering::Relaxed) {
            let text = format!("{}: nobody waits for them any more", self.setting);
            return Err(SourceError::new(SourceErrorKind::Abandoned, text));
        }
        let left = self.entries.checked_sub(1).ok_or_else(|| {
            SourceError::new(SourceErrorKind::TooLarge, format!("{}: to find the files, more than {} files and folders would have to be looked at", self.setting, grouped(MAX_ENTRIES as u64))).advise("name their folder more exactly, or take links away that lead in circles")
        })?;
        self.entries = left;
        Ok(())
    }
}

impl Walk<'_> {
    fn found_nothing(&self) -> bool {
        found_nothing(&self.files, &self.left_out)
    }

    fn go_to(&mut self, step: Step) {
        if step.by_link { self.later.push_back(step) } else { self.next.push(step) }
    }
}

/// Whether an entry leads to no file, not even to one that is left out.
fn found_nothing(files: &[PathBuf], left_out: &[LeftOut]) -> bool {
    files.is_empty() && left_out.iter().all(|left| left.loss == Loss::Nothing)
}

/// Something that is there; a link is what it leads to.
fn child(path: PathBuf, name: OsString, kind: fs::FileType) -> Child {
    let is_link = kind.is_symlink();
    let (is_folder, is_barred) = match is_link.then(|| fs::metadata(&path)) {
        None => (kind.is_dir(), false),
        Some(Ok(metadata)) => (metadata.is_dir(), false),
        Some(Err(error)) => (false, !is_gone(&error) && !leads_nowhere(&error)),
    };
    Child { path, name, is_link, is_folder, is_barred }
}

/// The parts of a pattern.
fn parts(entry: &str, setting: Setting) -> Result<Vec<Part>, SourceError> {
    let pattern = |part: &str| {
        Pattern::new(part).map_err(|error| {
            SourceError::new(
                SourceErrorKind::InvalidConfig,
                format!("{setting}: {entry:?} is not a valid pattern: {error}"),
            )
        })
    };
    pattern(entry)?;
    let mut parts = Vec::new();
    for part in entry.split('/').filter(|part| !part.is_empty()) {
        match part {
            "**" if matches!(parts.last(), Some(Part::Below)) => {}
            "**" => parts.push(Part::Below),
            part if is_pattern(part) => parts.push(Part::Like(pattern(part)?)),
            name => parts.push(Part::Name(name.to_owned())),
        }
    }
    Ok(parts)
}

/// Whether a pattern may match a name as shells have it: one that begins with a dot only if the pattern does.
pub(super) fn names_hidden(pattern: &str, name: &str) -> bool {
    pattern.starts_with('.') || !name.starts_with('.')
}

/// The path, as the system takes it.
fn or_here(path: &Path) -> &Path {
    if path == Path::new("") { Path::new(".") } else { path }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// A path as text: bytes that are no UTF-8 as `\xe4`.
fn shown(path: &Path) -> String {
    let os: &OsStr = path.as_ref();
    let mut text = String::new();
    for chunk in os.as_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

#[cfg(test)]
#[path = "find_tests.rs"]
mod tests;
