//! Owns the source itself: which request asks for a page, and where its response comes from.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;

use super::asking::{Asking, Called};
use super::auth::{AuthContext, AuthList, Calls, SentToken};
use super::data_selector::DataSelector;
use super::http::client::{self, Clients};
use super::http::response::Response;
use super::http::said::{self, Said};
use super::page::Page;
use super::page_reader::{PageReader, reject};
use super::paginator::Paginator;
use super::params::{RateLimitParams, RestApiParams};
use super::position::{PagePosition, Run};
use super::recording::Recording;
use super::request::{self, Asked, BASE_URL, RequestParts, address, header_name};
use super::state::State;
use super::template;
use crate::domain::failure::FailureClass;
use crate::domain::hash::ContentHash;
use crate::domain::presence::Reads;
use crate::domain::raw::RawRef;
use crate::domain::slice::SliceId;
use crate::job_file::setting::{PlainOrSecret, Setting};
use crate::mapping::{Mapped, Mapping};
use crate::sources::rows::json::JsonRowReader;
use crate::sources::token_store::{TokenKey, TokenStore, TokensInMemory};
use crate::sources::{
    Access, AllowedRoots, NextSlice, OneSlice, Plan, PlanRequest, Position, Profile, RateLimit,
    RawRows, SliceReader, SliceRequest, Source, SourceError, SourceErrorKind,
};
use crate::values::field::Locator;

/// The most pages normalized in one transaction when they queue up. Of an API that says what it said
/// before, so many are counted by one task.
const PAGES_PER_BATCH: i64 = 50;
/// The most bytes of several such pages: their records are held until they are written.
const BYTES_PER_BATCH: i64 = 16 << 20;

/// An API, ready to be read.
#[derive(Debug)]
pub struct RestApiSource {
    pub(super) params: Arc<RestApiParams>,
    base_dir: PathBuf,
    recording: Option<Recording>,
    pub(super) reader: Arc<PageReader>,
    /// Made with the first request: replaying and reading a recording need no certificates.
    clients: OnceLock<Arc<Clients>>,
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
        validate_request(&params)?;
        let selector = DataSelector::new(&params.data_selector)?;
        if matches!(params.paginator, Paginator::Offset(_)) && !selector.counts {
            let message = format!(
                "`rest_api.data_selector` = `{}` has a filter before its end, so that nobody can tell how many \
                 records came, by which the paginator `offset` steps",
                params.data_selector
            );
            return Err(SourceError::new(SourceErrorKind::InvalidConfig, message)
                .advise("select the list by keys alone, with one filter at its end at most"));
        }
        let reader = PageReader {
            selector,
            rows: JsonRowReader::new(&locators)?,
            paginator: params.paginator.clone(),
            heeds_errors: !params.ignore_errors,
        };
        let recording = params.recording.as_ref().map(|path| Recording::new(&base_dir, path));
        let (params, reader) = (Arc::new(params), Arc::new(reader));
        Ok(Self { params, base_dir, recording, reader, clients: OnceLock::new() })
    }

    /// Whether the recording is below the allowed roots.
    ///
    /// # Errors
    /// Permanent when it is not.
    pub(super) fn check_roots(&self, allowed_roots: &AllowedRoots) -> Result<(), SourceError> {
        match &self.recording {
            Some(recording) => recording.check(&self.base_dir, allowed_roots),
            None => Ok(()),
        }
    }

    /// The position of the first page of a full sync.
    pub fn first(&self) -> Value {
        PagePosition::of(self.reader.paginator.kind().first()).to_json()
    }

    /// What is remembered of a run that has read everything; `None` when the first request cannot be made.
    fn state(&self) -> Option<State> {
        request::address(&self.params.base_url, "").ok()?;
        let asked = self.request(&self.first(), Called::Nothing).ok()?.asked();
        let request = format!("{}\n{}", asked.fingerprint, self.params.data_selector);
        Some(State { request: ContentHash::of(request.as_bytes()) })
    }

    /// Reads one page; tokens of login servers are kept for this once.
    ///
    /// # Errors
    /// As of [`RestApiSource::fetch_with`].
    pub async fn fetch(&self, position: &Value, access: Access) -> Result<Page, SourceError> {
        let tokens: Arc<dyn TokenStore> = Arc::new(TokensInMemory::default());
        self.fetch_with(position, access, &tokens).await
    }

    /// Reads one page.
    ///
    /// # Errors
    /// [`SourceError`] of the kind that the response means: see [`SourceErrorKind`].
    pub async fn fetch_with(
        &self,
        position: &Value,
        access: Access,
        tokens: &Arc<dyn TokenStore>,
    ) -> Result<Page, SourceError> {
        match access {
            Access::Network => self.asked_page(position, tokens).await,
            Access::Record => {
                let recording = self.recording()?;
                let page = self.asked_page(position, tokens).await?;
                recording.write(self.ordinal(position)?, &page.body).await?;
                Ok(page)
            }
            Access::Offline => self.recorded_page(position).await,
        }
    }

    /// A page of the API. A token that the API refuses although its time is not over is renewed, once.
    async fn asked_page(
        &self,
        position: &Value,
        tokens: &Arc<dyn TokenStore>,
    ) -> Result<Page, SourceError> {
        let clients = self.clients()?;
        let at = PagePosition::from_json(position)?;
        let mut refused = Vec::new();
        loop {
            let mut request = self.request(position, Called::Sent(&at))?;
            let asked = request.asked();
            let sent = self.authorize(&mut request, &at, tokens, &refused).await?;
            let page = async {
                let response = client::send(clients, &request, &self.params).await?;
                self.page_of(position, asked, request.secrets.redact_response(response)).await
            };
            match page.await {
                Err(error)
                    if error.kind == SourceErrorKind::Unauthorized
                        && refused.is_empty()
                        && !sent.is_empty() =>
                {
                    refused = sent;
                }
                page => return page.map_err(|error| request.secrets.redact_error(error)),
            }
        }
    }

    async fn recorded_page(&self, position: &Value) -> Result<Page, SourceError> {
        let recording = self.recording()?;
        let page = self.ordinal(position)?;
        let body = recording.read(page, self.params.max_response_bytes.get()).await?;
        let from = recording.address(page);
        let response = match std::str::from_utf8(&body).ok().and_then(said::unkept) {
            Some((status, body)) => {
                Response { from, status, body, said: Said::Nothing, ..Response::default() }
            }
            None => Response { from, status: 200, body, ..Response::default() },
        };
        let asked = self.unsent(position)?;
        // A recorded page is the same whenever it is read: trying again cannot help.
        let permanent = |error: SourceError| match error.class() {
            FailureClass::Permanent => error,
            _ => SourceError { kind: SourceErrorKind::BadRecording, ..error },
        };
        self.page_of(position, asked, response).await.map_err(permanent)
    }

    /// What [`RestApiSource::fetch`] makes of the response to the request for the page at `position`.
    /// Pure, and takes long for a long body.
    ///
    /// # Errors
    /// As of [`RestApiSource::fetch`].
    pub fn read(&self, position: &Value, response: Response) -> Result<Page, SourceError> {
        let asked = self.unsent(position)?;
        let position = PagePosition::from_json(position)?;
        Ok(along(&position, self.reader.page(&position.at, &asked, response)?))
    }

    async fn page_of(
        &self,
        position: &Value,
        asked: Asked,
        response: Response,
    ) -> Result<Page, SourceError> {
        let reader = Arc::clone(&self.reader);
        let position = PagePosition::from_json(position)?;
        tokio::task::spawn_blocking(move || {
            Ok(along(&position, reader.page(&position.at, &asked, response)?))
        })
        .await
        .map_err(|error| {
            SourceError::new(SourceErrorKind::Internal, "reading the page failed").caused_by(error)
        })?
    }

    /// The request for the page at a position, without anything secret.
    fn request(&self, position: &Value, names: Called<'_>) -> Result<RequestParts, SourceError> {
        let asking = Asking { params: &self.params, base_dir: &self.base_dir, names };
        let mut request = asking.parts()?;
        let position = PagePosition::from_json(position)?;
        self.reader.paginator.kind().ask_for(&position.at, &mut request)?;
        Ok(request)
    }

    /// What would be asked for where nobody sends it, and the address may not be known.
    fn unsent(&self, position: &Value) -> Result<Asked, SourceError> {
        let at = PagePosition::from_json(position)?;
        Ok(self.request(position, Called::Unsent(&at))?.asked())
    }

    /// Adds the headers of the job file, and what the API knows us by.
    async fn authorize(
        &self,
        request: &mut RequestParts,
        at: &PagePosition,
        tokens: &Arc<dyn TokenStore>,
        refused: &[SentToken],
    ) -> Result<Vec<SentToken>, SourceError> {
        for (name, value) in &self.params.headers {
            let key = format!("rest_api.headers.{name}");
            match value {
                PlainOrSecret::Plain(text) => {
                    let text = template::parsed(text)?.text(&Called::Sent(at))?;
                    request.set_header(name, &text, &key)?;
                }
                PlainOrSecret::Secret(secret) => {
                    let text = secret.resolve(&key, &self.base_dir)?;
                    request.set_secret_header(name, "", &text, &key)?;
                }
            }
        }
        let Some(auth) = &self.params.auth else { return Ok(Vec::new()) };
        let (clients, params) = (self.clients()?.clone(), self.params.clone());
        let calls: Arc<dyn Calls> = Arc::new(Caller { clients, params });
        let (at, base_dir) = ("rest_api.auth", self.base_dir.as_path());
        let context = AuthContext { at, base_dir, calls: &calls, tokens, refused };
        auth.authorize(request, context).await
    }

    /// The tokens that must be kept between runs, with the keys of the job file that have them.
    fn kept_tokens(&self) -> Vec<(String, TokenKey)> {
        let placed = self.params.auth.iter().flat_map(AuthList::each);
        placed.filter_map(|placed| Some((placed.at(), placed.kind.kept_token()?))).collect()
    }

    fn ordinal(&self, position: &Value) -> Result<u64, SourceError> {
        self.reader.paginator.kind().ordinal(&PagePosition::from_json(position)?.at)
    }

    fn clients(&self) -> Result<&Arc<Clients>, SourceError> {
        if let Some(clients) = self.clients.get() {
            return Ok(clients);
        }
        let clients = Arc::new(Clients::new(&self.params)?);
        Ok(self.clients.get_or_init(|| clients))
    }

    fn recording(&self) -> Result<&Recording, SourceError> {
        self.recording.as_ref().ok_or_else(|| {
            SourceError::new(SourceErrorKind::BadRecording, "the source has no recording").advise(
                "name its folder in the job file, such as `recording = \"recordings/NAME\"` under \
                 [rest_api]",
            )
        })
    }
}

/// Asks login servers as the source asks its API.
struct Caller {
    clients: Arc<Clients>,
    params: Arc<RestApiParams>,
}

impl Calls for Caller {
    fn call(&self, request: RequestParts) -> BoxFuture<'_, Result<Response, SourceError>> {
        async move {
            let answered = client::send(&self.clients, &request, &self.params).await;
            let answered = answered.and_then(|response| match response.refused {
                Some(refused) => Err(refused.into()),
                None => Ok(response),
            });
            answered.map_err(|error| request.secrets.redact_error(error))
        }
        .boxed()
    }

    fn base_url(&self) -> &Setting {
        &self.params.base_url
    }
}

impl Source for RestApiSource {
    fn profile(&self) -> Profile {
        let rate_limit = self.params.rate_limit.clone();
        Profile {
            reads: Reads::Again,
            rows_by_job_file: true,
            slices_per_batch: PAGES_PER_BATCH,
            bytes_per_batch: BYTES_PER_BATCH,
            rate_limit: rate_limit.map(|RateLimitParams { key, requests, per }| RateLimit {
                key,
                requests: requests.get(),
                per,
            }),
            max_attempts: Some(self.params.retry.max_attempts.get()),
            kept_tokens: self.kept_tokens(),
        }
    }

    fn plan(
        self: Arc<Self>,
        request: PlanRequest,
    ) -> BoxFuture<'static, Result<Plan, SourceError>> {
        let run = Run { id: request.run, date: request.now.date_naive() };
        let first = PagePosition {
            run: self.params.names_the_run().then_some(run),
            ..PagePosition::of(self.reader.paginator.kind().first())
        };
        let position = first.to_json();
        let mut plan = Plan::of_slices(vec![NextSlice { slice: SliceId::FIRST, position }]);
        plan.remarks.extend(self.state().and_then(|state| state.change_since(&request)));
        std::future::ready(Ok(plan)).boxed()
    }

    fn read(self: Arc<Self>, request: SliceRequest) -> Box<dyn SliceReader> {
        OneSlice::of(async move {
            let Position::Own(position) = &request.position else {
                let message = "an API is read in pages, and has no chunks";
                return Err(SourceError::new(SourceErrorKind::InvalidState, message));
            };
            Ok(self
                .fetch_with(position, request.access, &request.tokens)
                .await?
                .into_slice(request.slice))
        })
    }

    fn map(
        &self,
        rows: RawRows<'_>,
        raw: RawRef,
        mapping: &Mapping,
        out: &mut Mapped,
    ) -> Result<(), SourceError> {
        // What pages have besides their text comes with child requests.
        let RawRows::Document { text, context } = rows else { return Err(rows.wrong_form()) };
        if said::is_no_page(context) {
            return Ok(());
        }
        self.reader.each_row(text, raw, out, |row, text, raw_row, out| {
            mapping.map(row, raw, raw_row, out, |defects| reject(text, raw_row, defects))
        })
    }

    fn advance(&self, _state: &Value, _watermarks: &[Value], _complete: bool) -> Value {
        self.state().map(|state| state.to_json()).unwrap_or_default()
    }
}

/// The page, whose next one is of the same chain.
fn along(position: &PagePosition, page: Page) -> Page {
    let next = page.next.map(|at| position.next(at).to_json());
    Page { next, ..page }
}

/// Refuses what no environment can fix, before the first request.
fn validate_request(params: &RestApiParams) -> Result<(), SourceError> {
    // A variable that is not set here may be set where the source runs.
    if params.base_url.resolve(BASE_URL).is_ok() {
        address(&params.base_url, &params.path)?;
    }
    params.headers.keys().try_for_each(|name| header_name(name).map(drop))
}
