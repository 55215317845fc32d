//! Owns reading a group of files as streams, one after the other: small ones are fetched ahead and stored together,
//! large ones chunk by chunk. What is wrong with one costs the others nothing.

use std::io::Read;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use encoding_rs::Encoding;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, stream};

use super::kept::{Keeping, Kept};
use super::lost::emptiness;
use super::opened::{How, Left, OfMember, Opened, Source, Step, loaded, reason, shortened};
use super::patience::{Awaiting, Patience};
use super::position::{Before, Group, ToLand, Unreadable, Within};
use super::remarks::has_shrunk;
use super::rewindable::Rewindable;
use super::rules::Rules;
use super::setup::Setup;
use super::stored::{Stored, encoded};
use crate::domain::failure::FailureClass;
use crate::domain::file::{Layout, StreamedFile};
use crate::domain::file_note::{About, FileNote, SeenAgain};
use crate::domain::number::grouped;
use crate::domain::shape::Shape;
use crate::domain::slice::SliceId;
use crate::sources::files::format::Doubts;
use crate::sources::files::off_thread::off_thread;
use crate::sources::files::places::all::{Places, is_remote};
use crate::sources::files::places::going_on::{self, Asker};
use crate::sources::files::places::{Body, Listed, OpenedFile};
use crate::sources::files::unpack::Compression;
use crate::sources::{
    FirstRow, RawSlice, SliceContent, SliceNotes, SliceReader, SliceRequest, SourceError,
    SourceErrorKind, StoredBytes, StreamedChunk,
};

/// So many files are fetched at once.
const FETCHED_AT_ONCE: usize = 8;
/// The most chunks and files that are stored in one transaction.
const MOST_PARTS: usize = 64;

/// The most bytes of a file from another machine that are compared with what was read before.
const MOST_COMPARED: u64 = 256 << 20;

/// A file that was fetched, or is coming.
enum Fetched {
    /// It is what was known of it.
    Unchanged,
    /// It is coming, or was fetched.
    Bytes(Box<Coming>),
}

/// What a file is fetched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fetching {
    /// To be read, and compared with what was read before.
    First,
    /// The same, before it is its turn, since it is small.
    Ahead,
    /// To be read from where its task stands, or otherwise than its start made believe.
    Again,
}

/// The bytes of a file.
struct Coming {
    bytes: Source,
    /// Whether it is told where they end.
    end_is_told: bool,
    /// What the answer says that its text is in.
    charset: Option<&'static Encoding>,
    /// What the answer says that the file is.
    listed: Listed,
    /// Why they could not be kept.
    no_room: Option<String>,
}

/// Reads a group of files.
pub(super) struct Lander {
    setup: Arc<Setup>,
    request: SliceRequest,
    state: Option<State>,
}

/// A group that is being read.
struct State {
    rules: Arc<Rules>,
    /// Ends with it.
    _patience: Patience,
    places: Arc<Places>,
    stored: Option<Arc<dyn StoredBytes>>,
    group: Group,
    /// The slice that is read next.
    slice: SliceId,
    /// The files of the group from the first one on, as long as none was opened otherwise.
    fetching: Option<BoxStream<'static, Result<Fetched, SourceError>>>,
    opened: Option<Opened>,
    how: How,
    /// Why the first file could not be compared with what was read before.
    no_room: Option<String>,
}

/// What is stored together.
#[derive(Default)]
struct Part {
    chunks: Vec<StreamedChunk>,
    bytes: u64,
    files: Vec<FileNote>,
}

/// What there is to say of a member that its archive has no more, where its records count as missing without it.
const GONE_WITH_RECORDS: &str = "the archive has it no more, or `files.member` leaves it out; the next run reads all \
                                 files, and finds which of its records are missing";
/// The same where they do not.
const GONE: &str = "the archive has it no more, or `files.member` leaves it out; its records stay until a full run finds \
                    them missing";

const AS_IT_SEEMS: How =
    How { end_is_told: true, charset: None, doubts: Doubts(0), examined: false };

impl Lander {
    /// Reads what a request says.
    pub fn new(setup: Arc<Setup>, request: SliceRequest) -> Self {
        Self { setup, request, state: None }
    }

    fn begin(&self) -> Result<State, SourceError> {
        let group = Group::of(&self.request.position)?;
        let setup = &self.setup;
        let (files, lacking) = (Arc::clone(&setup.files), group.lacking.clone());
        let patience = Patience::default();
        let (params, job) = (&setup.params, &setup.definition);
        let awaiting = Awaiting { ended: patience.ended(), signs: self.request.signs.clone() };
        Ok(State {
            rules: Arc::new(Rules::new(files, params, job, lacking, awaiting)),
            _patience: patience,
            places: setup.places(self.request.access)?,
            stored: self.request.stored.clone(),
            group,
            slice: self.request.slice,
            fetching: None,
            opened: None,
            how: AS_IT_SEEMS,
            no_room: None,
        })
    }

    async fn read(&mut self) -> Result<SliceContent, SourceError> {
        let mut state = match self.state.take() {
            Some(state) => state,
            None => self.begin()?,
        };
        let most = self.setup.files.chunk_size();
        let mut part = Part::default();
        while !state.group.files.is_empty() && !part.is_full(most) {
            match state.step(&mut part).await {
                Ok(()) => {}
                // What has come is stored first; then it comes to that again.
                Err(_) if !part.is_empty() => {
                    (state.opened, state.fetching) = (None, None);
                    break;
                }
                Err(error) if self.request.last_attempt => state.give_up(&mut part, error)?,
                Err(error) => return Err(error),
            }
        }
        // What comes behind has all its attempts.
        self.request.last_attempt = false;
        let content = part.content(&state.group);
        // One of which nothing is stored is a slice as well.
        if part_is_nothing(&content) {
            state.slice = state.slice.next();
        }
        if content.continues_at.is_some() {
            self.state = Some(state);
        }
        Ok(content)
    }
}

fn part_is_nothing(content: &SliceContent) -> bool {
    matches!(&content.raw, RawSlice::Streamed(chunks) if chunks.is_empty())
}

impl State {
    /// Goes a step further within the first file that is left.
    async fn step(&mut self, part: &mut Part) -> Result<(), SourceError> {
        let opened = match self.opened.take() {
            Some(opened) => opened,
            None => match self.open().await {
                Ok(Some(opened)) => opened,
                Ok(None) => {
                    if let Some(file) = self.group.files.front() {
                        file.before.iter().for_each(|before| part.same(file, before));
                    }
                    self.done();
                    return Ok(());
                }
                Err(error) => {
                    let reason = reason(error)?;
                    if let Some(file) = self.group.files.front().cloned() {
                        self.leave_out(part, &file, reason);
                    }
                    return Ok(());
                }
            },
        };
        let Some(file) = self.group.files.front().cloned() else { return Ok(()) };
        if let Some(text) = self.no_room.take() {
            part.note(&file, named(&file, None), About::Odd, text);
        }
        let (opened, step, has_ended) = off_thread(move || {
            let mut opened = opened;
            let step = opened.step();
            let has_ended = matches!(step, Ok(Step::End)) || opened.has_ended();
            (opened, step, has_ended)
        })
        .await;
        let gone = if has_ended && step.is_ok() { opened.gone() } else { Vec::new() };
        let behind = self.group.at.as_ref().map_or(1, |at| at.member + 1);
        let at_next =
            |begins| Some(Within { member: behind, begins, landed: None, beginning: None });
        let step = step?;
        for member in gone {
            let text = if self.rules.looks_for_missing { GONE_WITH_RECORDS } else { GONE };
            part.note(&file, named(&file, Some(&member)), About::Odd, text.to_owned());
        }
        match step {
            Step::End => {
                self.done();
                return Ok(());
            }
            Step::Again(doubts) => {
                self.how = How { doubts, examined: true, ..AS_IT_SEEMS };
                let (at, how) = (self.group.at.clone(), self.how);
                self.opened = off_thread(move || opened.again(at.as_ref(), how)).await;
                return Ok(());
            }
            Step::Same(before) => {
                part.same(&file, &before);
                self.group.at = at_next(self.slice);
            }
            Step::LeftOut(left) => {
                let stays = left.stays.then(|| Unreadable::new(&file, self.rules.definition));
                part.left_out(&file, left, stays);
                self.group.at = at_next(self.slice);
            }
            Step::Chunk(of_member) => {
                let is_end = of_member.chunk.end.is_some();
                let landed = Some(of_member.chunk.landed.clone());
                let beginning = of_member.beginning.as_deref().map(encoded);
                let begins = match &self.group.at {
                    Some(at) if at.landed.is_some() => at.begins,
                    _ => self.slice,
                };
                part.add(&self.rules, &file, *of_member, begins);
                self.slice = self.slice.next();
                self.group.at = match is_end {
                    true => at_next(self.slice),
                    false => Some(Within { member: behind - 1, begins, landed, beginning }),
                };
            }
        }
        self.how = AS_IT_SEEMS;
        match has_ended {
            // A file that was stored completely is not asked for again, whatever becomes of it.
            true => self.done(),
            false => self.opened = Some(opened),
        }
        Ok(())
    }

    /// Leaves the first file out that may be had another time: the task has no other attempt.
    fn give_up(&mut self, part: &mut Part, error: SourceError) -> Result<(), SourceError> {
        match self.group.files.front().cloned() {
            Some(file) if error.class() == FailureClass::Transient => {
                self.leave_out(part, &file, shortened(&error));
                self.fetching = None;
                Ok(())
            }
            _ => Err(error),
        }
    }

    fn leave_out(&mut self, part: &mut Part, file: &ToLand, reason: String) {
        let landed = self.group.at.as_ref().and_then(|at| at.landed.as_ref());
        let rows = loaded(landed.map_or(0, |landed| landed.end.rows));
        let (about, text) = (About::Unreadable, format!("{reason}{rows}"));
        part.left_out(file, Left { member: None, about, text, stays: false }, None);
        self.done();
    }

    fn done(&mut self) {
        self.group.files.pop_front();
        self.group.at = None;
        self.opened = None;
        self.how = AS_IT_SEEMS;
    }

    /// Opens the first file that is left; `None` if it is what was known of it. Where no listing says what a file is,
    /// its answer does.
    async fn open(&mut self) -> Result<Option<Opened>, SourceError> {
        let Some(file) = self.group.files.front().cloned().map(Arc::new) else { return Ok(None) };
        let is_at_its_start = self.group.at.is_none() && !self.how.examined;
        if !is_at_its_start {
            self.fetching = None;
        } else if self.fetching.is_none() && self.group.files.len() > 1 {
            self.fetching = Some(self.fetch_ahead());
        }
        let ahead = match &mut self.fetching {
            Some(fetching) => fetching.next().await,
            None => None,
        };
        let fetched = match ahead {
            Some(fetched) => fetched,
            None => {
                let (places, rules) = (Arc::clone(&self.places), Arc::clone(&self.rules));
                let how = if is_at_its_start { Fetching::First } else { Fetching::Again };
                let can_go_on = places.of(&file.file.name).identifies(&file.file, file.at);
                let stored = match (self.group.at.clone(), self.stored.clone()) {
                    (Some(at), Some(stored)) if can_go_on => Stored::before(at, stored).await?,
                    _ => None,
                };
                fetch(places, rules, Arc::clone(&file), how, stored).await
            }
        };
        let (bytes, end_is_told, charset, listed) = match fetched? {
            Fetched::Unchanged => (None, false, None, file.known.clone()),
            Fetched::Bytes(coming) => {
                let Coming { bytes, end_is_told, charset, listed, no_room } = *coming;
                self.no_room = no_room;
                (Some(bytes), end_is_told, charset, Some(listed))
            }
        };
        if let (Some(first), Some(listed)) = (self.group.files.front_mut(), listed) {
            first.file = Listed { name: file.file.name.clone(), ..listed };
        }
        let Some(bytes) = bytes else { return Ok(None) };
        let rules = Arc::clone(&self.rules);
        let (at, how) = (self.group.at.clone(), How { end_is_told, charset, ..self.how });
        let open = move || Opened::new(rules, file, bytes, at.as_ref(), how);
        Ok(Some(off_thread(open).await))
    }

    /// The files of the group, several at once: they are small.
    fn fetch_ahead(&self) -> BoxStream<'static, Result<Fetched, SourceError>> {
        let (places, rules) = (Arc::clone(&self.places), Arc::clone(&self.rules));
        let files = self.group.files.clone();
        stream::iter(files)
            .map(move |file| {
                let (places, rules) = (Arc::clone(&places), Arc::clone(&rules));
                fetch(places, rules, Arc::new(file), Fetching::Ahead, None)
            })
            .buffered(FETCHED_AT_ONCE)
            .boxed()
    }
}

/// Opens a file. Its bytes are kept if it is small, or if they are to be compared with what was read before.
async fn fetch(
    places: Arc<Places>,
    rules: Arc<Rules>,
    file: Arc<ToLand>,
    how: Fetching,
    stored: Option<Stored>,
) -> Result<Fetched, SourceError> {
    let compares = how != Fetching::Again;
    if rules.packing.compression == Compression::None {
        rules.refuse_too_large(&file.file.name, file.file.size)?;
    }
    let known = file.known.as_ref().filter(|_| compares);
    let ended = Arc::clone(&rules.awaiting.ended);
    let asker = Asker { places, listed_at: file.at, ended };
    let behind = stored.as_ref().map_or(0, |stored| stored.size);
    let opened = going_on::open(asker, &file.file, known, behind).await?;
    let Body { bytes, end_is_told, charset, file: listed, from, .. } = match opened {
        OpenedFile::Unchanged => return Ok(Fetched::Unchanged),
        OpenedFile::Body(body) => body,
    };
    let bytes: Box<dyn Read + Send> = match stored {
        Some(stored) if from > 0 => Box::new(stored.bytes.chain(bytes)),
        _ => bytes,
    };
    let bytes = rules.awaiting.bytes(bytes);
    let coming = |bytes, no_room| {
        Fetched::Bytes(Box::new(Coming { bytes, end_is_told, charset, listed, no_room }))
    };
    let compares = compares && file.before.iter().any(|before| before.hash.is_some());
    let is_remote = is_remote(&file.file.name);
    let most = match is_remote {
        // Nothing of it is stored as long as it is compared, and a part of a task has a time limit.
        true => rules.packing.max_spool.min(MOST_COMPARED),
        false => rules.packing.max_spool,
    };
    let packing = rules.packing.clone();
    let once = move |bytes| match is_remote && how == Fetching::First {
        true => Source::Rewindable(Rewindable::of(bytes, packing, most)),
        false => Source::Live(bytes),
    };
    if !compares && how != Fetching::Ahead {
        return Ok(coming(once(bytes), None));
    }
    let kept = off_thread(move || Kept::of(bytes, most)).await;
    let kept = kept.map_err(|error| match error.downcast::<SourceError>() {
        Ok(error) => error,
        Err(error) => {
            let message = format!("{} cannot be read", file.file.name);
            SourceError::new(SourceErrorKind::FileBusy, message).caused_by(error)
        }
    })?;
    Ok(match kept {
        Keeping::Whole(kept) => coming(Source::Kept(kept), None),
        Keeping::TooMany(bytes) => coming(once(bytes), None),
        // To compare a file saves work, and is no reason not to read it.
        Keeping::NoRoom(bytes, error) => {
            let text = || {
                format!(
                    "is not compared with what was read before, since it cannot be put aside in the folder for \
                     temporary files (TMPDIR): {error}"
                )
            };
            coming(once(bytes), compares.then(text))
        }
    })
}

impl Part {
    fn is_full(&self, most_bytes: u64) -> bool {
        self.bytes >= most_bytes || self.chunks.len() + self.files.len() >= MOST_PARTS
    }

    fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.files.is_empty()
    }

    fn note(&mut self, file: &ToLand, name: String, about: About, text: String) {
        let url = file.file.name.clone();
        self.files.push(FileNote { url, name, about, text, again: None, stays: None });
    }

    fn left_out(&mut self, file: &ToLand, left: Left, stays: Option<Unreadable>) {
        let Left { member, about, text, .. } = left;
        let (url, name) = (file.file.name.clone(), named(file, member.as_deref()));
        let stays = stays.map(|stays| stays.to_json());
        self.files.push(FileNote { url, name, about, text, again: None, stays });
    }

    /// A file, or a member of it, is what it was.
    fn same(&mut self, file: &ToLand, before: &Before) {
        let (url, name) = (file.file.name.clone(), named(file, before.member.as_deref()));
        let again = Some(SeenAgain { id: before.id, listed: file.seen() });
        let (about, text) = (About::Same, String::new());
        self.files.push(FileNote { url, name, about, text, again, stays: None });
        for remark in &before.remarks {
            let about = if remark.degrades { About::Doubt } else { About::Odd };
            self.note(file, String::new(), about, remark.text.clone());
        }
    }

    fn add(&mut self, rules: &Rules, file: &ToLand, of_member: OfMember, begins: SliceId) {
        let OfMember { member, layout, chunk: landed, .. } = of_member;
        let (chunk, parsed) = (landed.chunk, landed.parsed);
        let name = named(file, member.as_deref());
        if landed.first_row == FirstRow::Header {
            let text =
                "the first row is a header, and is loaded as a row: csv.skip_lines = 1 skips it";
            self.note(file, name.clone(), About::Odd, text.to_owned());
        }
        let end = landed.end.map(|mut known| {
            known.size = file.file.size.unwrap_or(known.size);
            known.modified = file.file.modified.unwrap_or(UNIX_EPOCH);
            known.etag.clone_from(&file.file.etag);
            known
        });
        if end.is_some() {
            let before = file.before_of(member.as_deref()).map_or(0, |before| before.rows);
            self.note_end(rules, file, (name, &layout), landed.landed.end.rows, before);
        }
        self.bytes += chunk.end - chunk.start;
        let listed = Some(file.seen());
        let file = StreamedFile { begins, name: file.file.name.clone(), layout, listed, member };
        let (blocks, rows, shape) = (parsed.blocks, parsed.rows, parsed.shape);
        self.chunks.push(StreamedChunk { file, chunk, blocks, rows, shape, end });
    }

    /// What there is to say of a file that was read to its end.
    fn note_end(
        &mut self,
        rules: &Rules,
        file: &ToLand,
        (name, layout): (String, &Layout),
        rows: i64,
        before: i64,
    ) {
        for remark in rules.files.notes(layout) {
            let about = if remark.degrades { About::Doubt } else { About::Odd };
            self.note(file, name.clone(), about, remark.text);
        }
        if has_shrunk(before, rows) {
            let [now, then] = [rows, before].map(|rows| grouped(rows.unsigned_abs()));
            let unit = if rows == 1 { "row" } else { "rows" };
            let text = format!("has {now} {unit}; its earlier version had {then}");
            self.note(file, name.clone(), About::Odd, text);
        }
        if rows == 0 {
            let text = emptiness(&*rules.files, layout).to_owned();
            self.note(file, name, About::Odd, text);
        }
    }

    fn content(self, group: &Group) -> SliceContent {
        let rows = self.chunks.iter().map(|chunk| chunk.rows).sum();
        let notes = SliceNotes { files: self.files, ..SliceNotes::default() };
        SliceContent {
            raw: RawSlice::Streamed(self.chunks),
            bytes: self.bytes,
            rows,
            shape: Shape::default(),
            news: None,
            next: Vec::new(),
            continues_at: (!group.files.is_empty()).then(|| group.to_json()),
            end: None,
            met: None,
            watermark: None,
            notes,
        }
    }
}

/// What a file, or a member of it, is called in messages.
fn named(file: &ToLand, member: Option<&str>) -> String {
    match member {
        Some(member) => format!("{}#{member}", file.file.name),
        None => file.file.name.clone(),
    }
}

impl SliceReader for Lander {
    fn next(&mut self) -> BoxFuture<'_, Result<SliceContent, SourceError>> {
        self.read().boxed()
    }
}
