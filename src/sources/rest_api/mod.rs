//! The source kind `rest_api`: JSON over HTTP, page by page.
//!
//! `params` is what the job file says, `request` what is sent, `secrets` what is shown of it,
//! `exchange` the network, `onward` where answers may lead, `public` what is not internal, `unpack`
//! how large a body may be, `answer` what a refusal means, `complaint` what an answer says is wrong with it, `paginator` where the next page is,
//! `more_pages` whether there is one that no request fetches, `recording` pages without a network, `data_selector` which values are records, `inspect` what is wrong with a job
//! file. Only this file knows them all.
//!
//! Must not know: the database, the queue, runs, and how values become columns.

mod answer;
mod complaint;
mod data_selector;
mod exchange;
mod inspect;
mod more_pages;
mod onward;
mod paginator;
mod params;
mod public;
mod recording;
mod request;
mod secrets;
mod unpack;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;
use serde_json::value::RawValue;

use self::data_selector::DataSelector;
pub use self::exchange::Answer;
use self::exchange::Clients;
use self::more_pages::OnlyPage;
pub use self::more_pages::PageHeaders;
pub use self::onward::AllowedHost;
pub use self::paginator::Paginator;
use self::paginator::Position;
pub use self::params::{Auth, KeyPlace, ParamValue, RateLimitParams, RestApiParams, Retry};
use self::recording::Recording;
use self::request::Request;
use super::rows::json::{self, JsonRow, JsonRowReader};
use super::{
    Access, AllowedRoots, Kind, LedNowhere, Page, PageSource, RateLimit, Source, SourceError,
};
use crate::domain::failure::FailureClass;
use crate::domain::hash::ContentHash;
use crate::domain::raw::RawRef;
use crate::domain::reject::{Defect, Reject};
use crate::domain::shape::Shape;
use crate::domain::text;
use crate::job_file::Definition;
use crate::mapping::{Frozen, Mapped, Mapping};
use crate::values::field::Locator;

/// The kind, for [`super::KINDS`].
pub(super) const KIND: Kind = Kind {
    name: "rest_api",
    has_pages: true,
    reads_files: false,
    inspect: inspect::inspect,
    check,
    look: inspect::look,
    open,
    schema: || schemars::schema_for!(RestApiParams),
};

fn source_of(definition: &Definition) -> Result<RestApiSource, SourceError> {
    let params = definition.params().map_err(|error| SourceError::permanent(error.to_string()))?;
    RestApiSource::new(params, definition.base_dir().to_owned(), definition.locators())
}

fn check(definition: &Definition) -> Result<(), SourceError> {
    source_of(definition).map(drop)
}

fn open(definition: &Definition, allowed_roots: &AllowedRoots) -> Result<Source, SourceError> {
    let source = source_of(definition)?;
    if let Some(recording) = &source.recording {
        recording.check(&source.base_dir, allowed_roots)?;
    }
    Ok(Source::Pages(Box::new(source)))
}

/// An API, ready to be read.
#[derive(Debug)]
pub struct RestApiSource {
    params: RestApiParams,
    base_dir: PathBuf,
    recording: Option<Recording>,
    records: Arc<Records>,
    /// Made with the first request: replaying and reading a recording need no certificates.
    clients: OnceLock<Clients>,
}

/// How records are found in a body, and values in a record.
#[derive(Debug)]
struct Records {
    selector: DataSelector,
    rows: JsonRowReader,
}

/// What a body turned out to hold.
struct Contents {
    body: String,
    hash: ContentHash,
    records: usize,
    shape: Shape,
    /// The locators that lead into fields and led nowhere.
    leading_nowhere: Vec<LedNowhere>,
    /// What shows that there are more pages.
    more: Option<String>,
    /// What the answer says is wrong with it.
    complaint: Option<String>,
}

/// How an answer is looked at.
#[derive(Debug)]
struct Look {
    /// The address that was asked, without secrets, if there is to be one page only.
    asked_once: Option<String>,
    /// Whether to heed what the answer says is wrong with it.
    heeds_errors: bool,
}

impl RestApiSource {
    /// Opens the source of a job file in `base_dir`; `locators` are those of its definition.
    /// Asks nothing and reads no secret.
    ///
    /// # Errors
    /// When a path, an address or a name in the parameters cannot be used.
    pub fn new(
        params: RestApiParams,
        base_dir: PathBuf,
        locators: Vec<Locator>,
    ) -> Result<Self, SourceError> {
        params.validate()?;
        request::validate(&params)?;
        let selector = DataSelector::new(&params.data_selector)?;
        let records = Arc::new(Records { selector, rows: JsonRowReader::new(&locators)? });
        let recording = params.recording.as_ref().map(|path| Recording::new(&base_dir, path));
        Ok(Self { params, base_dir, recording, records, clients: OnceLock::new() })
    }

    async fn page(&self, position: &Value, access: Access) -> Result<Page, SourceError> {
        let position = Position::of_json(position)?;
        match access {
            Access::Network => self.asked_page(&position).await,
            Access::Record => {
                let recording = self.recording()?;
                let page = self.asked_page(&position).await?;
                recording.write(self.params.paginator.ordinal(&position), &page.body).await?;
                Ok(page)
            }
            Access::Offline => self.recorded_page(&position).await,
        }
    }

    async fn asked_page(&self, position: &Position) -> Result<Page, SourceError> {
        let clients = self.clients()?;
        let query = self.params.paginator.query(position);
        let request = Request::build(&self.params, &self.base_dir, &query)?;
        let page = async {
            let mut answer = exchange::ask(clients, &request, &self.params).await?;
            answer.body = request.secrets.hide_in_body(answer.body);
            self.page_of(answer, position).await
        };
        page.await.map_err(|error| request.secrets.hide_in(error))
    }

    async fn recorded_page(&self, position: &Position) -> Result<Page, SourceError> {
        let recording = self.recording()?;
        let page = self.params.paginator.ordinal(position);
        let body = recording.read(page, self.params.max_response_bytes.get()).await?;
        let from = recording.address(page);
        let headers = PageHeaders::default();
        let answer = Answer { from, status: 200, content_type: None, headers, body };
        // A recorded page is the same whenever it is read: trying again cannot help.
        let permanent = |error| SourceError { class: FailureClass::Permanent, ..error };
        self.page_of(answer, position).await.map_err(permanent)
    }

    /// What [`PageSource::fetch`] makes of the answer to the request for the page at `position`.
    /// Pure, and takes long for a long body.
    ///
    /// # Errors
    /// As of [`PageSource::fetch`].
    pub fn read(&self, position: &Value, answer: Answer) -> Result<Page, SourceError> {
        let position = Position::of_json(position)?;
        let (from, status) = (answer.from.clone(), answer.status);
        let contents = contents_of(&self.records, answer, &self.look(&position));
        self.page_with(contents, &position, from, status)
    }

    async fn page_of(&self, answer: Answer, position: &Position) -> Result<Page, SourceError> {
        let (from, status) = (answer.from.clone(), answer.status);
        let records = Arc::clone(&self.records);
        let look = self.look(position);
        let contents = tokio::task::spawn_blocking(move || contents_of(&records, answer, &look))
            .await
            .map_err(|error| SourceError::transient("reading the page failed").caused_by(error))?;
        self.page_with(contents, position, from, status)
    }

    fn look(&self, position: &Position) -> Look {
        let paginator = &self.params.paginator;
        let asked = || request::asked(&self.params, &paginator.query(position));
        // An address that cannot be made was refused with the job file.
        let asked = || asked().map(String::from).unwrap_or_default();
        let asked_once = paginator.expects_one().then(asked);
        Look { asked_once, heeds_errors: !self.params.ignore_errors }
    }

    fn page_with(
        &self,
        contents: Result<Contents, SourceError>,
        position: &Position,
        from: String,
        status: u16,
    ) -> Result<Page, SourceError> {
        let named = |error: SourceError| {
            let message = format!("{from}: {}", error.message);
            SourceError { message, ..error }
        };
        let Contents { body, hash, records, shape, leading_nowhere, more, complaint } =
            contents.map_err(named)?;
        let next = self.params.paginator.next(position, records, hash).map_err(named)?;
        let next = next.as_ref().map(Position::to_json);
        let more = more.map(more_than_one);
        let records = records as i64;
        let url = from;
        Ok(Page { url, status, body, hash, records, shape, leading_nowhere, next, more, complaint })
    }

    fn clients(&self) -> Result<&Clients, SourceError> {
        if let Some(clients) = self.clients.get() {
            return Ok(clients);
        }
        let clients = Clients::new(&self.params)?;
        Ok(self.clients.get_or_init(|| clients))
    }

    fn recording(&self) -> Result<&Recording, SourceError> {
        self.recording.as_ref().ok_or_else(|| {
            SourceError::permanent(
                "the source has no recording: name its folder in the job file, such as \
                 `recording = \"recordings/NAME\"` under [rest_api]",
            )
        })
    }

    /// Calls `map` for each record with its number, from 1; what is no object is a reject.
    fn each_row(
        &self,
        body: &str,
        raw: RawRef,
        out: &mut Mapped,
        map: impl Fn(&JsonRow<'_>, &str, i64, &mut Mapped) -> Result<(), Frozen>,
    ) -> Result<(), SourceError> {
        out.records.enter_raw(raw);
        for (raw_row, text) in (1..).zip(self.records.selector.select(body)?) {
            match json::record(&text) {
                Ok(record) => map(&self.records.rows.row(&record), &text, raw_row, out)
                    .map_err(|frozen| SourceError::permanent(frozen.to_string()))?,
                Err(defect) => out.rejects.push(raw, reject(&text, raw_row, vec![defect])),
            }
        }
        Ok(())
    }
}

impl PageSource for RestApiSource {
    fn first(&self) -> Value {
        self.params.paginator.first().to_json()
    }

    fn rate_limit(&self) -> Option<RateLimit> {
        let RateLimitParams { key, requests, per } = self.params.rate_limit.clone()?;
        Some(RateLimit { key, requests: requests.get(), per })
    }

    fn max_attempts(&self) -> u32 {
        self.params.retry.max_attempts.get()
    }

    fn fetch<'a>(
        &'a self,
        position: &'a Value,
        access: Access,
    ) -> BoxFuture<'a, Result<Page, SourceError>> {
        self.page(position, access).boxed()
    }

    fn map(
        &self,
        body: &str,
        raw: RawRef,
        mapping: &Mapping,
        out: &mut Mapped,
    ) -> Result<(), SourceError> {
        self.each_row(body, raw, out, |row, text, raw_row, out| {
            mapping.map(row, raw, raw_row, out, |defects| reject(text, raw_row, defects))
        })
    }
}

/// What an answer holds.
fn contents_of(records: &Records, answer: Answer, look: &Look) -> Result<Contents, SourceError> {
    let Answer { status, content_type, headers, body, .. } = answer;
    let mut body = String::from_utf8(body)
        .map_err(|error| SourceError::permanent("the answer is no UTF-8 text").caused_by(error))?;
    // Some servers begin with a byte order mark, which is no JSON: RFC 8259 lets readers drop it.
    if body.starts_with('\u{feff}') {
        body.drain(..'\u{feff}'.len_utf8());
    }
    check_json(&body, content_type.as_deref())?;
    let Records { selector, rows } = records;
    let found = selector.select(&body)?;
    let heeds = look.heeds_errors.then_some(());
    let complaint = heeds.and_then(|()| complaint::complaint(&body, &selector.place));
    if let Some(complaint) = &complaint
        && found.is_empty()
        && selector.finds_null(&body)
    {
        let message = format!("the answer has null in place of records, and says {complaint}");
        return Err(SourceError::permanent(message));
    }
    let hash = ContentHash::of(body.as_bytes());
    let more = look.asked_once.as_deref().and_then(|asked| {
        let (headers, place) = (&headers, &selector.place);
        let only = OnlyPage { asked, status, headers, body: &body, place, records: found.len() };
        only.evidence_of_more()
    });
    let (shape, leading_nowhere) = rows.shape_of(&found, &RawRef::Page(hash.into()).to_string());
    let records = found.len();
    Ok(Contents { body, hash, records, shape, leading_nowhere, more, complaint })
}

/// What there is to say when more pages show than are read.
fn more_than_one(evidence: String) -> String {
    format!(
        "the answer is one page of several ({evidence}), and only this one is read: set \
         `rest_api.paginator`, or ask for larger pages in `rest_api.params`; if the first page is all \
         you want, write paginator = {{ type = \"single_page\", first_page_only = true }}"
    )
}

/// Whether a body is JSON from end to end.
fn check_json(body: &str, content_type: Option<&str>) -> Result<(), SourceError> {
    serde_json::from_str::<&RawValue>(body).map(drop).map_err(|error| {
        if error.is_eof() {
            return SourceError::transient("the JSON ends early").caused_by(error);
        }
        let content_type = text::beginning(content_type.unwrap_or("text"));
        let beginning = text::beginning(body);
        SourceError::permanent(format!("the answer is {content_type}, no JSON: {beginning}"))
            .caused_by(error)
    })
}

fn reject(text: &str, raw_row: i64, defects: Vec<Defect>) -> Reject {
    let raw = &text.as_bytes()[..text.len().min(Reject::MAX_RAW)];
    Reject { raw_row, line: None, byte_range: None, raw: raw.to_vec(), defects }
}
