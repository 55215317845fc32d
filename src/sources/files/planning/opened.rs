//! Owns a file that is read as a stream: what it holds, one member after the other, chunk by chunk. Blocking.
//!
//! What is wrong with a member costs the others nothing.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::iter::Peekable;
use std::sync::Arc;

use encoding_rs::Encoding;

use super::kept::Kept;
use super::lost;
use super::position::{Before, ToLand, Within};
use super::rewindable::Rewindable;
use super::rules::Rules;
use crate::domain::failure::{FailureClass, chain};
use crate::domain::file::Layout;
use crate::domain::file_note::About;
use crate::domain::file_standing::shown;
use crate::domain::hash::{ContentHasher, StoredHash};
use crate::domain::number::grouped;
use crate::domain::text::{cut, visible};
use crate::sources::files::contents::{Contents, contents};
use crate::sources::files::format::Doubts;
use crate::sources::files::landing::{Coming, Damage, Landed, LandedChunk, LandingFile};
use crate::sources::files::unpack::{Bytes, Content};
use crate::sources::{FirstRow, SourceError, SourceErrorKind};

/// The most bytes of what is wrong with a file.
const MAX_REASON: usize = 500;

/// What a file is read from.
pub(super) enum Source {
    /// Bytes that can be read again.
    Kept(Kept),
    /// Bytes that come once.
    Live(Bytes),
    /// The same, as long as none of them is stored put aside.
    Rewindable(Rewindable),
}

/// A file that was opened.
pub(super) struct Opened {
    rules: Arc<Rules>,
    file: Arc<ToLand>,
    kept: Option<Kept>,
    rewindable: Option<Rewindable>,
    contents: Peekable<Contents>,
    how: How,
    /// How far the next member was stored.
    stored: Option<Landed>,
    /// The members that are as they were.
    same: Vec<Option<String>>,
    /// The members that came so far; `None` once nobody can tell which there are.
    met: Option<BTreeSet<String>>,
    member: Option<Member>,
}

/// How a file is opened.
#[derive(Debug, Clone, Copy)]
pub(super) struct How {
    /// Whether it is told where its bytes end.
    pub end_is_told: bool,
    /// What the answer says that its text is in.
    pub charset: Option<&'static Encoding>,
    /// What is wrong of what the start of its next member makes believe.
    pub doubts: Doubts,
    /// Whether that member was looked through, and has what it must have.
    pub examined: bool,
}

/// A member that is being read; of a file that is no archive, itself.
struct Member {
    name: String,
    member: Option<String>,
    landing: Box<dyn LandingFile>,
    /// Its next chunk, where that was read to see what the file has.
    ahead: Option<LandedChunk>,
    /// So many of its rows are stored.
    rows: i64,
}

/// What comes next of a file.
pub(super) enum Step {
    /// A chunk of a member.
    Chunk(Box<OfMember>),
    /// A member is what it was.
    Same(Box<Before>),
    /// The rest of a member is not read.
    LeftOut(Left),
    /// It is to be opened again, since it is not what it seemed.
    Again(Doubts),
    /// That was all.
    End,
}

/// Why the rest of a member is not read.
pub(super) struct Left {
    /// Which member.
    pub member: Option<String>,
    /// What it is about.
    pub about: About,
    /// For people.
    pub text: String,
    /// Whether the file cannot be read otherwise as long as it is what it is.
    pub stays: bool,
}

impl Left {
    /// Since it has lost something.
    fn lost(member: &Member, text: String) -> Self {
        Self { member: member.member.clone(), about: About::Lost, text, stays: false }
    }
}

/// A chunk of a member.
pub(super) struct OfMember {
    /// Which member.
    pub member: Option<String>,
    /// How it is read.
    pub layout: Layout,
    /// What stands in front of its first row, where offsets within it are those of the file as it came.
    pub beginning: Option<Vec<u8>>,
    /// The chunk.
    pub chunk: LandedChunk,
}

impl Opened {
    /// Opens a file where a task stands within it. What is `kept` and was read before is compared with that.
    pub fn new(
        rules: Arc<Rules>,
        file: Arc<ToLand>,
        bytes: Source,
        at: Option<&Within>,
        how: How,
    ) -> Self {
        let (kept, rewindable, live) = match bytes {
            Source::Kept(kept) => (Some(kept.clone()), None, rules.awaiting.bytes(kept.read())),
            Source::Live(live) => (None, None, live),
            Source::Rewindable(rewindable) => {
                let live = rewindable.read();
                (None, Some(rewindable), live)
            }
        };
        let same = match (&kept, at) {
            (Some(kept), None) if !how.examined => same(&rules, &file, kept, how),
            _ => Vec::new(),
        };
        let (contents, aside) = contents(live, &rules.packing, how.end_is_told);
        let (contents, kept) = (contents.peekable(), kept.or(aside.map(Kept::Spooled)));
        let done = at.map_or(0, |at| at.member);
        let stored = at.and_then(|at| at.landed.clone());
        let (met, member) = (Some(BTreeSet::new()), None);
        let mut opened =
            Self { rules, file, kept, rewindable, contents, how, stored, same, met, member };
        for _ in 0..done {
            opened.next_content();
        }
        opened
    }

    /// The same from where a task stands, if its bytes can be read again.
    pub fn again(self, at: Option<&Within>, how: How) -> Option<Self> {
        let How { end_is_told, charset, .. } = self.how;
        let how = How { end_is_told, charset, ..how };
        let same = self.same;
        let bytes = match (self.kept, self.rewindable) {
            (Some(kept), _) => Source::Kept(kept),
            (None, Some(rewindable)) if rewindable.is_whole() => Source::Rewindable(rewindable),
            (None, _) => return None,
        };
        let opened = Self::new(self.rules, self.file, bytes, at, How { examined: true, ..how });
        Some(Self { same, how, ..opened })
    }

    /// What comes next.
    ///
    /// # Errors
    /// What is not the fault of the file alone, or may pass.
    pub fn step(&mut self) -> Result<Step, SourceError> {
        let Some(mut member) = self.member.take() else {
            let Some(content) = self.next_content() else { return Ok(Step::End) };
            let of = content.member.clone();
            let rows = self.stored.as_ref().map_or(0, |stored| stored.end.rows);
            return match self.begin(content) {
                Ok(None) => self.step(),
                Ok(Some(step)) => Ok(step),
                Err(error) => left_out(of, error, rows),
            };
        };
        let rows = member.rows;
        match self.next_of(&mut member) {
            Ok(Step::Chunk(of_member)) => {
                // Something of the file is stored now.
                if let Some(rewindable) = self.rewindable.take() {
                    rewindable.stop();
                }
                if of_member.chunk.end.is_none() {
                    member.rows = of_member.chunk.landed.end.rows;
                    self.member = Some(member);
                }
                Ok(Step::Chunk(of_member))
            }
            Ok(step) => Ok(step),
            Err(error) => left_out(member.member, error, rows),
        }
    }

    fn next_content(&mut self) -> Option<Content> {
        let content = self.contents.next()?;
        match &content.member {
            Some(member) => {
                self.met.as_mut().map(|met| met.insert(member.clone()));
            }
            // What it holds cannot be seen.
            None if content.bytes.is_err() => self.met = None,
            None => {}
        }
        Some(content)
    }

    /// The members that were read before, and are not among those that came.
    pub fn gone(&self) -> Vec<String> {
        let Some(met) = &self.met else { return Vec::new() };
        let before = self.file.before.iter().filter_map(|before| before.member.clone());
        before.filter(|member| !met.contains(member)).collect()
    }

    /// Whether nothing can follow what came.
    pub fn has_ended(&mut self) -> bool {
        self.member.is_none() && self.contents.peek().is_none()
    }

    /// Begins with a member.
    fn begin(&mut self, content: Content) -> Result<Option<Step>, SourceError> {
        let Content { member, bytes } = content;
        let before = self.file.before_of(member.as_deref());
        if let (Some(before), true) = (before, self.same.contains(&member)) {
            return Ok(Some(Step::Same(Box::new(before.clone()))));
        }
        let name = match &member {
            Some(member) => format!("{}#{member}", self.file.file.name),
            None => self.file.file.name.clone(),
        };
        if member.is_none() && bytes.as_ref().is_ok_and(|bytes| !bytes.packed) {
            self.rules.refuse_too_large(&name, self.file.file.size)?;
        }
        let How { end_is_told, charset, doubts, examined } = self.how;
        (self.how.doubts, self.how.examined) = (Doubts::default(), false);
        let coming = Coming { end_is_told, charset, damage: Damage::Stays, doubts };
        let landing = Arc::clone(&self.rules.files).land(name.clone(), bytes, coming)?;
        let mut open = Member { name, member, landing, ahead: None, rows: 0 };
        if let Some(stored) = self.stored.take() {
            open.landing.pass(&stored)?;
            open.rows = stored.end.rows;
        } else if !examined && let Some(step) = self.examine(&mut open)? {
            return Ok(Some(step));
        }
        self.member = Some(open);
        Ok(None)
    }

    /// Looks through a file of which only its rows say what it has, before any of them is stored.
    fn examine(&self, member: &mut Member) -> Result<Option<Step>, SourceError> {
        let before = self.file.before_of(member.member.as_deref());
        let must_have = self.rules.must_have(before);
        if member.landing.has_met(&must_have) {
            return Ok(None);
        }
        let mut chunks = 0;
        loop {
            let chunk = match member.landing.next() {
                Ok(chunk) => chunk,
                Err(error) => return self.doubted(member, chunks > 0, error).map(Some),
            };
            chunks += 1;
            if let Some(text) = self.refused(member, &chunk)? {
                return Ok(Some(Step::LeftOut(Left::lost(member, text))));
            }
            let ended = chunk.end.is_some();
            if chunks == 1 && (ended || member.landing.has_met(&must_have)) {
                member.ahead = Some(chunk);
                return Ok(None);
            }
            if ended || member.landing.has_met(&must_have) {
                return Ok(Some(Step::Again(Doubts::default())));
            }
        }
    }

    fn next_of(&self, member: &mut Member) -> Result<Step, SourceError> {
        let chunk = match member.ahead.take() {
            Some(chunk) => chunk,
            None => match member.landing.next() {
                Ok(chunk) => chunk,
                Err(error) => return self.doubted(member, member.rows > 0, error),
            },
        };
        if let Some(text) = self.refused(member, &chunk)? {
            let text = format!("{text}{}", loaded(member.rows));
            return Ok(Step::LeftOut(Left::lost(member, text)));
        }
        let layout = match &chunk.end {
            Some(end) => end.layout.clone(),
            None => member.landing.layout().clone(),
        };
        let (of, beginning) = (member.member.clone(), member.landing.beginning());
        let beginning = beginning.map(<[u8]>::to_vec);
        Ok(Step::Chunk(Box::new(OfMember { member: of, layout, beginning, chunk })))
    }

    /// What an error means: a file may only be read otherwise than its start made believe.
    fn doubted(
        &self,
        member: &Member,
        is_stored: bool,
        error: SourceError,
    ) -> Result<Step, SourceError> {
        match member.landing.raised() {
            Some(doubts) if !is_stored => Ok(Step::Again(doubts)),
            _ => Err(error),
        }
    }

    /// Why a member is kept out that was read so far.
    fn refused(&self, member: &Member, chunk: &LandedChunk) -> Result<Option<String>, SourceError> {
        let (rules, end) = (&self.rules, chunk.landed.end);
        rules.refuse_too_large(&member.name, Some(end.bytes))?;
        let name = shown(&member.name);
        let before = self.file.before_of(member.member.as_deref());
        let layout = chunk.end.as_ref().map_or(member.landing.layout(), |end| &end.layout);
        if rules.may_lose {
            return Ok(None);
        }
        let rows_before = before.map_or(0, |before| before.rows);
        if chunk.end.is_some() && end.rows == 0 && rows_before > 0 {
            let text = lost::rows(&*rules.files, layout, rows_before);
            return Ok(Some(format!("{name} {text}")));
        }
        if chunk.first_row == FirstRow::OtherHeader {
            return Ok(Some(format!("{name}: {}", lost::OTHER_HEADER)));
        }
        if end.rows == 0 {
            return Ok(None);
        }
        let Some(lacking) = rules.lacking(before) else { return Ok(None) };
        let width = chunk.end.as_ref().and_then(|end| end.width);
        let absent = rules.files.absent(layout, width).unwrap_or_default();
        let text = lost::columns(absent, lacking, before.is_some());
        Ok(text.map(|text| format!("{name}: {text}")))
    }
}

/// The members of a file that are what they were.
fn same(rules: &Rules, file: &ToLand, kept: &Kept, how: How) -> Vec<Option<String>> {
    let known = |before: &Before| before.hash.is_some();
    if !file.before.iter().any(known) {
        return Vec::new();
    }
    let mut same = Vec::new();
    let bytes = rules.awaiting.bytes(kept.read());
    let (contents, _) = contents(bytes, &rules.packing, how.end_is_told);
    for Content { member, bytes } in contents {
        let before = file.before_of(member.as_deref()).and_then(|before| before.hash);
        // What cannot be read is told when it is to be stored.
        let (Some(before), Ok(unpacked)) = (before, bytes) else { continue };
        let readable = rules.files.readable(&file.file.name, unpacked.bytes, how.charset);
        let Ok(bytes) = readable else { continue };
        if hash_of(bytes).is_ok_and(|hash| hash == before) {
            same.push(member);
        }
    }
    same
}

fn hash_of(mut bytes: Bytes) -> io::Result<StoredHash> {
    let mut hasher = ContentHasher::default();
    let mut piece = vec![0; 256 << 10];
    loop {
        match bytes.read(&mut piece) {
            Ok(0) => return Ok(hasher.take().into()),
            Ok(read) => hasher.update(&piece[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A member that cannot be read, if that is its own fault and stays so.
fn left_out(member: Option<String>, error: SourceError, rows: i64) -> Result<Step, SourceError> {
    let stays = error.kind == SourceErrorKind::InvalidFile;
    let text = format!("{}{}", reason(error)?, loaded(rows));
    Ok(Step::LeftOut(Left { member, about: About::Unreadable, text, stays }))
}

/// Why a file cannot be read, if that is its own fault and stays so.
///
/// # Errors
/// When it is not.
pub(super) fn reason(error: SourceError) -> Result<String, SourceError> {
    let is_of_source = matches!(
        error.kind,
        SourceErrorKind::InvalidConfig
            | SourceErrorKind::MissingValue
            | SourceErrorKind::InvalidState
            | SourceErrorKind::SchemaFrozen
            | SourceErrorKind::BadRecording
    );
    if is_of_source || error.class() != FailureClass::Permanent {
        return Err(error);
    }
    Ok(shortened(&error))
}

/// What is wrong with a file, as the note of its run says it.
pub(super) fn shortened(error: &SourceError) -> String {
    visible(&cut(&chain(error), MAX_REASON)).into_owned()
}

/// What was stored of a file before it was left out.
pub(super) fn loaded(rows: i64) -> String {
    match rows {
        0 => String::new(),
        1 => "; its first row was loaded".to_owned(),
        rows => format!("; its first {} rows were loaded", grouped(rows.unsigned_abs())),
    }
}
