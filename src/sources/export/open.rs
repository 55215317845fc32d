//! Owns the files of a job: where they are, and opening one after the other, looked through first where only its rows
//! say what it has.

use std::sync::Arc;
use std::time::{Duration, Instant};

use encoding_rs::Encoding;
use serde_json::Value;

use super::aside::Aside;
use super::exported::Export;
use super::position::ExportPosition;
use crate::domain::file_note::{About, FileNote};
use crate::domain::slice::SliceId;
use crate::job_file::policy::Policy;
use crate::sources::files::format::{Doubts, RowFormat};
use crate::sources::files::landing::{Coming, Damage, Landed, LandedChunk, Landing, LandingFile};
use crate::sources::files::off_thread::off_thread;
use crate::sources::files::places::incoming::Incoming;
use crate::sources::files::unpack::{Bytes, only};
use crate::sources::rest_api::RestApiSource;
use crate::sources::rest_api::jobs::Download;
use crate::sources::{FirstRow, RateState, SliceRequest, SourceError, SourceErrorKind};

/// The most chunks of a file that are looked through at once, and for how long: a part has a time limit.
const LOOKED_AT_ONCE: usize = 16;
const LOOKED_FOR: Duration = Duration::from_secs(60);
/// How often in a row another address of the same file is asked for.
const MOST_RENEWALS: usize = 3;
/// Where that is no use.
const SAME_ADDRESS: &str = "the API gives the same address when it is asked again, so that its age is not at fault: see \
                            whether the file is there, and `export.download.allowed_hosts` and `export.auth`";

/// The job that is read, apart from its files.
pub(super) struct Job<F: RowFormat> {
    pub source: Arc<Export<F>>,
    pub request: SliceRequest,
}

/// A job whose files are being read.
pub(super) struct Open<F: RowFormat> {
    pub position: ExportPosition,
    /// The slice that is read next.
    pub slice: SliceId,
    pub links: Vec<String>,
    pub number: usize,
    pub begins: SliceId,
    /// `None` between two files.
    pub landing: Option<Landing<F>>,
    /// Its next chunk, where that was read to see what the file has.
    pub ahead: Option<LandedChunk>,
    /// The file that is looked through.
    looking: Option<Looking<F>>,
    /// What there is to say of the file.
    pub notes: Vec<FileNote>,
    pub rate: RateState,
}

/// What is told of a file before its bytes come.
struct Told {
    name: String,
    end_is_told: bool,
    charset: Option<&'static Encoding>,
}

/// A file that is looked through before anything of it is kept.
struct Looking<F: RowFormat> {
    landing: Landing<F>,
    /// What of it has come.
    aside: Aside,
    chunks: usize,
}

impl<F: RowFormat> Job<F> {
    /// Where the files of the job are.
    pub async fn links(&self, at: &Value) -> Result<(Vec<String>, RateState), SourceError> {
        let source = &self.source;
        let answer = source.poll.call(at, &self.request.tokens, &[]).await?;
        let job = RestApiSource::job_of(at)?;
        let links = source.paths.files(&answer, &job, &source.params)?;
        Ok((links, answer.rate))
    }

    /// Looks at the job, and begins where the task stands.
    pub async fn begin(&self, position: ExportPosition) -> Result<Open<F>, SourceError> {
        let (links, rate) = self.links(&position.at).await?;
        let (number, begins) = match position.job.as_ref().and_then(|job| job.file.as_ref()) {
            Some(file) if file.of != links.len() => return Err(other_files(file.of, links.len())),
            Some(file) => (file.number, file.begins),
            None => (0, self.request.slice),
        };
        let slice = self.request.slice;
        let (landing, ahead, looking, notes) = (None, None, None, Vec::new());
        Ok(Open { position, slice, links, number, begins, landing, ahead, looking, notes, rate })
    }

    /// Opens the next file. Where only its rows say what it has, nothing of it is kept before these have shown all
    /// that it must have: it is looked through, and read from its beginning. `None` when it was looked through for
    /// long enough: what is done is committed, and it goes on.
    pub async fn next_file(&self, open: &mut Open<F>) -> Result<Option<Landing<F>>, SourceError> {
        let must_have = self.source.guarded(&open.position.had);
        let mut looking = match open.looking.take() {
            Some(looking) => looking,
            None => {
                let (landing, aside) = self.file(open).await?;
                let file = open.position.job.as_ref().and_then(|job| job.file.as_ref());
                let goes_on =
                    file.is_some_and(|file| file.number == open.number && file.landed.is_some());
                if goes_on || landing.has_met(&must_have) {
                    aside.stop();
                    return Ok(Some(landing));
                }
                Looking { landing, aside, chunks: 0 }
            }
        };
        let (began, before) = (Instant::now(), looking.chunks);
        loop {
            let looked_at = looking.chunks - before;
            if looked_at == LOOKED_AT_ONCE || looked_at > 0 && began.elapsed() > LOOKED_FOR {
                open.looking = Some(looking);
                return Ok(None);
            }
            let Looking { landing, aside, chunks } = looking;
            let (landing, chunk) = next_chunk(landing).await;
            let (chunk, chunks) = (chunk?, chunks + 1);
            self.refuse(open, &landing, &chunk.landed, chunk.first_row)?;
            let has_met = landing.has_met(&must_have);
            if chunks == 1 && (chunk.end.is_some() || has_met) {
                aside.stop();
                open.ahead = Some(chunk);
                return Ok(Some(landing));
            }
            if let Some(known) = &chunk.end {
                self.source.guard(landing.name(), &known.layout, &open.position.had)?;
            }
            if chunk.end.is_some() || has_met {
                let (name, end_is_told) = (landing.name().to_owned(), landing.end_is_told());
                let looked = Told { name, end_is_told, charset: landing.charset() };
                drop(landing);
                return self.again_from_its_start(open, looked, aside).await.map(Some);
            }
            looking = Looking { landing, aside, chunks };
        }
    }

    /// A file that was looked through. Where it could not be put aside it is asked for again, which is said.
    async fn again_from_its_start(
        &self,
        open: &mut Open<F>,
        told: Told,
        aside: Aside,
    ) -> Result<Landing<F>, SourceError> {
        match aside.again() {
            Ok(bytes) => self.landed(told, bytes, None).await,
            Err(why) => {
                let name = told.name;
                let text = format!(
                    "{name} was downloaded twice, since it was looked through for the fields that it must have: it {why}"
                );
                open.notes.push(FileNote {
                    url: name.clone(),
                    name,
                    about: About::Odd,
                    text,
                    again: None,
                    stays: None,
                });
                let (landing, aside) = self.file(open).await?;
                aside.stop();
                Ok(landing)
            }
        }
    }

    /// Opens the file that is read next, and passes over what of it is stored.
    async fn file(&self, open: &mut Open<F>) -> Result<(Landing<F>, Aside), SourceError> {
        let Download { name, end_is_told, charset, bytes } = self.download(open).await?;
        let name = match open.links.len() {
            1 => name,
            _ => format!("{name}#{}", open.number + 1),
        };
        let aside = Aside::of(Incoming::of(bytes), self.source.packing.max_spool);
        let file = open.position.job.as_ref().and_then(|job| job.file.clone());
        let stored = file.filter(|file| file.number == open.number).and_then(|file| file.landed);
        if stored.is_some() {
            // It is not looked through again.
            aside.stop();
        }
        let how = Told { name, end_is_told, charset };
        let landing = self.landed(how, Box::new(aside.clone()), stored).await?;
        Ok((landing, aside))
    }

    /// A file of these bytes, behind what of it is stored.
    async fn landed(
        &self,
        Told { name, end_is_told, charset }: Told,
        bytes: Bytes,
        stored: Option<Landed>,
    ) -> Result<Landing<F>, SourceError> {
        let (files, packing) = (Arc::clone(&self.source.files), self.source.packing.clone());
        let signs = self.request.signs.clone();
        off_thread(move || {
            let bytes = only(signs.over(bytes), &packing, end_is_told);
            let (damage, doubts) = (Damage::MayPass, Doubts::default());
            let coming = Coming { end_is_told, charset, damage, doubts };
            let mut landing = Landing::open(files, name, bytes, coming)?;
            if let Some(stored) = stored {
                landing.pass(&stored)?;
            }
            Ok(landing)
        })
        .await
    }

    /// Begins to download the next file. An address may be good for a while only: another one is asked for, as long as
    /// the API has another one.
    async fn download(&self, open: &mut Open<F>) -> Result<Download, SourceError> {
        let source = &self.source;
        let tokens = &self.request.tokens;
        let mut refused: Vec<String> = Vec::new();
        loop {
            let link = open.links.get(open.number).cloned().unwrap_or_default();
            refused.push(link);
            match source.poll.download(&open.position.at, &refused, tokens).await {
                Err(error) if may_be_expired(error.kind) && refused.len() <= MOST_RENEWALS => {}
                Err(error) if may_be_expired(error.kind) => {
                    return Err(error.advise(format!(
                        "{} addresses of it were refused, one after the other, each as soon as the API had given it: it \
                         is not their age that is at fault",
                        refused.len()
                    )));
                }
                download => return download,
            }
            let (links, rate) = self.links(&open.position.at).await?;
            if links.len() != open.links.len() {
                return Err(other_files(open.links.len(), links.len()));
            }
            let is_same = links.get(open.number) == refused.last();
            (open.links, open.rate) = (links, rate);
            if is_same {
                // It may be one that is good again, or was refused by chance.
                let last = source.poll.download(&open.position.at, &refused, tokens).await;
                return last.map_err(|error| match may_be_expired(error.kind) {
                    true => error.advise(SAME_ADDRESS),
                    false => error,
                });
            }
        }
    }

    /// Refuses a file that is not what it should be.
    pub fn refuse(
        &self,
        open: &Open<F>,
        landing: &Landing<F>,
        landed: &Landed,
        first_row: FirstRow,
    ) -> Result<(), SourceError> {
        let (source, name) = (&self.source, landing.name());
        let most = source.params.download.max_bytes.get();
        if landed.end.bytes > most {
            let message =
                format!("{name} has more than `export.download.max_bytes` = {most} bytes");
            return Err(SourceError::new(SourceErrorKind::TooLarge, message)
                .advise("ask for a shorter time, or raise it"));
        }
        let guards = source.definition.contract.missing_field != Policy::Evolve;
        if guards && first_row == FirstRow::OtherHeader {
            let message = format!(
                "{name}: its first row is a header, in another order than the job file names the columns"
            );
            return Err(SourceError::new(SourceErrorKind::InvalidFile, message)
                .advise("name the columns in that order"));
        }
        if landed.end.rows > 0 {
            source.guard(name, landing.layout(), &open.position.had)?;
        }
        Ok(())
    }
}

/// The next chunk of a file that is coming.
pub(super) async fn next_chunk<F: RowFormat>(
    mut landing: Landing<F>,
) -> (Landing<F>, Result<LandedChunk, SourceError>) {
    off_thread(move || {
        let chunk = landing.next();
        (landing, chunk)
    })
    .await
}

/// Whether an address may have been good for a while only.
fn may_be_expired(kind: SourceErrorKind) -> bool {
    matches!(
        kind,
        SourceErrorKind::Forbidden
            | SourceErrorKind::Unauthorized
            | SourceErrorKind::NotFound
            | SourceErrorKind::Rejected
    )
}

fn other_files(before: usize, now: usize) -> SourceError {
    let message =
        format!("the export job had {before} files when it was looked at first, and has {now} now");
    SourceError::new(SourceErrorKind::FileChanged, message)
        .advise("the next run asks for a new one")
}
