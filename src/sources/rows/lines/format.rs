//! Owns a format whose rows are lines of JSON, but for what tells one from another: how a file becomes lines.

use std::collections::BTreeSet;
use std::io;
use std::marker::PhantomData;

use encoding_rs::Encoding;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::layout::{Described, LinesLayout};
use super::reader::{Lines, LinesReader, blank_lines, top_field};
use super::survey::LinesSurvey;
use crate::domain::file::Layout;
use crate::domain::remark::Remark;
use crate::domain::text::quoted;
use crate::job_file::Inspection;
use crate::sources::files::encodings::{self, Given, Readable, Reading, Unreadable};
use crate::sources::files::format::{Alike, Doubts, Head, MAX_ROW_BYTES, RowFormat};
use crate::sources::files::location::ParamProblem;
use crate::sources::files::unpack::Bytes;
use crate::sources::files::{Wanted, first_bytes};
use crate::sources::rows::inspect;
use crate::sources::{AbsentColumn, SourceError, SourceErrorKind};

/// Bytes of a file that are looked at to see that it is one.
const SAMPLE: usize = 64 << 10;
/// JSON is UTF-8 unless somebody says otherwise.
const CAN: Readable = Readable { single_bytes: false, guesses: false };

/// What a job file says of lines.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Lines of more bytes are set aside.
    pub max_row_bytes: u64,
    /// Bytes after which a file is cut at the next line.
    pub chunk_size: u64,
}

/// What tells formats of lines apart.
pub trait LinesKind: Sized + Send + Sync + 'static {
    /// As of [`RowFormat`].
    const NAME: &'static str;
    /// As of [`RowFormat`].
    const ENDLESS_ROW: &'static str;
    /// What people call such files.
    const TITLE: &'static str;
    /// Whether files are turned into lines while they are read.
    const CONVERTED: bool = false;
    /// Whether files are no texts, and say themselves which fields their rows have: the first of the lines that they are
    /// turned into is a [`Described`].
    const DESCRIBED: bool = false;
    /// As of [`RowFormat`].
    const MISSING: Option<&'static str> = None;
    /// The format's own table of a job file.
    type Params: DeserializeOwned + Default + JsonSchema + Send + Sync;

    /// The limits of lines.
    fn limits(params: &Self::Params) -> Limits;

    /// `encoding`, as the job file says it; files that are no texts have none.
    fn encoding(params: &Self::Params) -> &str {
        let _ = params;
        encodings::AUTO
    }

    /// What else is wrong with the parameters.
    fn problems(params: &Self::Params) -> Vec<ParamProblem> {
        let _ = params;
        Vec::new()
    }

    /// What decides how a file becomes lines; `None` where it is lines already.
    fn made_of(params: &Self::Params) -> Option<String> {
        let _ = params;
        None
    }

    /// What a file is that begins so and is none of these, and what to do.
    fn other(text: &[u8], complete: bool) -> Option<(&'static str, &'static str)> {
        let _ = (text, complete);
        None
    }

    /// The lines of a file. At most `max_spool` bytes are put aside for it.
    ///
    /// # Errors
    /// When it cannot be read, or is none of the format.
    fn content(
        params: &Self::Params,
        file: &str,
        bytes: Bytes,
        max_spool: u64,
    ) -> io::Result<Bytes> {
        let _ = (params, file, max_spool);
        Ok(bytes)
    }
}

/// A format of lines.
#[derive(Debug)]
pub struct LinesFormat<K: LinesKind> {
    params: K::Params,
    wanted: Vec<Wanted>,
    given: Option<&'static Encoding>,
    kind: PhantomData<K>,
}

impl<K: LinesKind> RowFormat for LinesFormat<K> {
    const NAME: &'static str = K::NAME;
    const ENDLESS_ROW: &'static str = K::ENDLESS_ROW;
    const CONVERTED: bool = K::CONVERTED;
    const BINARY: bool = K::DESCRIBED;
    const MISSING: Option<&'static str> = K::MISSING;

    type Params = K::Params;
    type Reader = LinesReader;
    type Survey = LinesSurvey;

    fn inspect_fields(job: &mut Inspection<'_>) {
        inspect::fields(job);
    }

    fn problems(params: &K::Params) -> Vec<ParamProblem> {
        let limits = K::limits(params);
        let mut problems = Vec::new();
        if limits.chunk_size == 0 {
            problems.push(ParamProblem::of("chunk_size", "must be at least 1 byte"));
        }
        if !(1..=MAX_ROW_BYTES).contains(&limits.max_row_bytes) {
            let message = format!("must be 1 to {MAX_ROW_BYTES}");
            problems.push(ParamProblem::of("max_row_bytes", message));
        }
        if let Err(message) = encodings::given(K::encoding(params)) {
            problems.push(ParamProblem::of("encoding", message));
        }
        problems.extend(K::problems(params));
        problems
    }

    fn new(params: K::Params, wanted: Vec<Wanted>) -> Result<Self, SourceError> {
        if let Some(missing) = K::MISSING {
            return Err(SourceError::new(SourceErrorKind::InvalidConfig, missing));
        }
        if let Some(problem) = Self::problems(&params).into_iter().next() {
            return Err(problem.of_table(Self::NAME));
        }
        let given = encodings::given(K::encoding(&params)).ok().flatten();
        let format = Self { params, wanted, given, kind: PhantomData };
        format.lines(None)?;
        Ok(format)
    }

    fn made(&self, layout: &Layout) -> bool {
        let made = self.layout();
        let same = |layout: &LinesLayout| {
            let ((row, chunk, of, _), (made_row, made_chunk, made_of, _)) =
                (layout.cut(), made.cut());
            (row, chunk, of) == (made_row, made_chunk, made_of)
        };
        LinesLayout::load(layout).is_ok_and(|layout| same(&layout))
    }

    fn cuts_alike(known: &Layout, now: &Layout) -> Alike {
        let load = |layout| LinesLayout::load(layout).ok();
        match load(known).zip(load(now)) {
            Some((known, now)) if known.cut() == now.cut() => Alike::Yes,
            _ => Alike::No,
        }
    }

    fn max_row_bytes(&self) -> u64 {
        K::limits(&self.params).max_row_bytes
    }

    fn chunk_size(&self) -> u64 {
        K::limits(&self.params).chunk_size
    }

    fn head(
        &self,
        file: &str,
        text: &[u8],
        complete: bool,
        _: Doubts,
    ) -> Result<Option<Head>, SourceError> {
        if K::DESCRIBED {
            return self.described(file, text, complete);
        }
        if !complete && text.len() < SAMPLE {
            return Ok(None);
        }
        let mark = match K::CONVERTED {
            true => 0,
            false => first_bytes::byte_order_mark(file, text, K::TITLE)?,
        };
        let Some(blank) = blank_lines(&text[mark..], complete) else { return Ok(None) };
        let first_row = mark + blank;
        if let Some((what, advice)) = K::other(&text[first_row..], complete) {
            let message = format!("{file} {what}");
            return Err(SourceError::new(SourceErrorKind::InvalidFile, message).advise(advice));
        }
        Ok(Some(Head { layout: self.layout().store()?, header_end: mark, first_row }))
    }

    fn encoding(&self, beginning: &[u8], complete: bool) -> Result<Option<Reading>, Unreadable> {
        if K::DESCRIBED {
            return Ok(Some(Reading::AS_IT_IS));
        }
        let label = K::encoding(&self.params);
        let given = self.given.map(|encoding| Given { encoding, table: K::NAME, label });
        encodings::of_text(given, beginning, complete, CAN)
    }

    fn names_encoding(&self) -> bool {
        K::DESCRIBED || self.given.is_some()
    }

    fn transcoded(layout: &Layout, from: &Reading) -> Result<Layout, SourceError> {
        let transcoded = Some(from.encoding.name().to_owned());
        let warnings = from.warning(K::NAME).into_iter().collect();
        LinesLayout { transcoded, warnings, ..LinesLayout::load(layout)? }.store()
    }

    fn notes(layout: &Layout) -> Vec<Remark> {
        let warnings = LinesLayout::load(layout).map(|layout| layout.warnings).unwrap_or_default();
        warnings.into_iter().map(Remark::degrading).collect()
    }

    fn content(&self, file: &str, bytes: Bytes, max_spool: u64) -> io::Result<Bytes> {
        K::content(&self.params, file, bytes, max_spool)
    }

    fn reader(&self, file: &str, layout: &Layout) -> Result<LinesReader, SourceError> {
        let layout = LinesLayout::load(layout)?;
        if let Some(described) = &layout.described {
            self.refuse_twice(file, described)?;
        }
        self.lines(Some(&layout))
    }

    fn survey(&self, reader: &LinesReader) -> LinesSurvey {
        LinesSurvey::new(&self.wanted, reader)
    }

    fn absent(&self, layout: &Layout, _: Option<u32>) -> Option<Vec<AbsentColumn>> {
        let layout = LinesLayout::load(layout).ok()?;
        let present = layout.present?;
        let labels: BTreeSet<&str> =
            self.wanted.iter().filter_map(|wanted| wanted.locator.label()).collect();
        let absent = labels.into_iter().filter(|label| !present.contains(*label));
        let absent = absent.map(|label| AbsentColumn {
            column: label.to_owned(),
            nearest: layout.meant.get(label).cloned(),
            unreached: false,
            part: None,
        });
        Some(absent.collect())
    }
}

impl<K: LinesKind> LinesFormat<K> {
    fn layout(&self) -> LinesLayout {
        let Limits { max_row_bytes, chunk_size } = K::limits(&self.params);
        let made_of = K::made_of(&self.params);
        LinesLayout { max_row_bytes, chunk_size, made_of, ..LinesLayout::default() }
    }

    /// The start of a file that says itself which fields its rows have.
    fn described(
        &self,
        file: &str,
        text: &[u8],
        complete: bool,
    ) -> Result<Option<Head>, SourceError> {
        let end = match memchr::memchr(b'\n', text) {
            Some(end) => end + 1,
            None if complete => text.len(),
            None => return Ok(None),
        };
        let described: Described = serde_json::from_slice(&text[..end]).map_err(|_| {
            let message = format!("{file} was not read as {}", K::TITLE);
            SourceError::new(SourceErrorKind::Internal, message)
        })?;
        let layout = LinesLayout { described: Some(described), ..self.layout() };
        Ok(Some(Head { layout: layout.store()?, header_end: end, first_row: end }))
    }

    /// Refuses a file in which a field could be either of two columns.
    fn refuse_twice(&self, file: &str, described: &Described) -> Result<(), SourceError> {
        let fields = self.wanted.iter().filter_map(|wanted| top_field(&wanted.locator));
        let Some(name) = fields.into_iter().find(|field| described.twice.contains(field)) else {
            return Ok(());
        };
        let message = format!("{file}: two columns are called {}, and it is mapped", quoted(&name));
        Err(SourceError::new(SourceErrorKind::InvalidFile, message)
            .advise("give them different names where the file is made"))
    }

    /// The reader of a layout.
    fn lines(&self, layout: Option<&LinesLayout>) -> Result<LinesReader, SourceError> {
        let limits = K::limits(&self.params);
        let lines = Lines {
            table: K::NAME,
            max_row_bytes: layout.map_or(limits.max_row_bytes, |layout| layout.max_row_bytes),
            transcoded: layout.and_then(|layout| layout.transcoded.as_deref()),
            marked: false,
            place: &[],
        };
        let mut reader = LinesReader::new(&lines, &self.wanted)?;
        let described = layout.and_then(|layout| layout.described.as_ref());
        reader.described = described.map(|described| described.row.clone());
        Ok(reader)
    }
}
