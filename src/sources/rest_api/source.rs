//! Owns the source itself: which request asks for a page, and where its response comes from.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use chrono::{DateTime, Utc};
use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::StatusCode;
use reqwest::header::{
    CONTENT_TYPE, ETAG, HeaderMap, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
};
use serde_json::{Value, json};

use super::along::along;
use super::answers::Answers;
use super::asking::{Asking, Called};
use super::auth::{AuthContext, AuthList, Calls, SentToken};
use super::children;
use super::conditional;
use super::credentials::Credentials;
use super::data_selector::DataSelector;
use super::deleted::Deleted;
use super::doctor;
use super::explode::Explode;
use super::for_each::ForEach;
use super::http::client::{self, Clients};
use super::http::response::Response;
use super::http::said::{self, Said};
use super::incremental::{FILTERED, REDACTED, Tracker, lanes_with_others_missing};
use super::odd_text;
use super::page::Page;
use super::page_reader::{PageReader, reject};
use super::paginator::{Paginator, Way};
use super::params::{Empty, RateLimitParams, RestApiParams};
use super::position::{PagePosition, Run, Window};
use super::record_keys::RecordKeys;
use super::recording::{self, Index, Recorded, RecordedPage, Recording};
use super::redacted_keys;
use super::request::{Asked, BASE_URL, RequestParts, address, header_name};
use super::state::State;
use super::template;
use crate::domain::failure::FailureClass;
use crate::domain::hash::{ContentHash, StoredHash};
use crate::domain::known_page::{KnownPage, Validators};
use crate::domain::number::grouped;
use crate::domain::parent::{PlannedParents, WhichParents};
use crate::domain::presence::Reads;
use crate::domain::raw::RawRef;
use crate::domain::remark::Remark;
use crate::domain::run::{Mode, ReadRange, RunId};
use crate::domain::slice::SliceId;
use crate::job_file::setting::{PlainOrSecret, Setting};
use crate::mapping::{Mapped, Mapping};
use crate::sources::rows::json::JsonRowReader;
use crate::sources::token_store::{TokenKey, TokenStore, TokensInMemory};
use crate::sources::{
    Access, AllowedRoots, AskedRange, FailedParents, Finding, GoesOn, KnownPages, NextSlice,
    OneSlice, ParentsProfile, Plan, PlanRequest, Position, Profile, RateLimit, RawRow, RawRows,
    ReadLanes, SliceReader, SliceRequest, Source, SourceError, SourceErrorKind,
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
    /// Read when it is needed.
    index: OnceLock<Index>,
    /// With which credentials pages were asked for.
    credentials: Credentials,
    /// Fingerprint of how rows become records, where somebody has said it.
    mapping: Option<ContentHash>,
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
        let mut selector = DataSelector::new(&params.data_selector)?;
        selector.empty_is_ok = params.empty == Empty::Ok;
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
            answers: Answers::new(&params)?,
            tracker: Tracker::new(&params)?,
            explode: explode_of(&params)?,
            deleted: params.deleted.as_deref().map(Deleted::new).transpose()?,
            keys: None,
        };
        let recording = params.recording.as_ref().map(|path| Recording::new(&base_dir, path));
        let (params, reader) = (Arc::new(params), Arc::new(reader));
        let (clients, index) = (OnceLock::new(), OnceLock::new());
        let (credentials, mapping) = (Credentials::default(), None);
        Ok(Self { params, base_dir, recording, reader, clients, index, credentials, mapping })
    }

    /// The same, whose rows become records in the way that has this fingerprint.
    #[must_use]
    pub(in crate::sources) fn mapped_by(self, mapping: Option<ContentHash>) -> Self {
        Self { mapping, ..self }
    }

    /// Whether runs leave parents out that have not changed.
    fn leaves_parents_out(&self) -> bool {
        self.params.for_each.as_ref().is_some_and(ForEach::only_changed)
    }

    /// The same, whose records have this key.
    ///
    /// # Errors
    /// When a part of it is no JSONPath.
    pub(super) fn keyed_by(mut self, key: &[Locator]) -> Result<Self, SourceError> {
        let has_pages = !matches!(self.reader.paginator.way(), Way::Single { .. });
        if let Some(reader) = Arc::get_mut(&mut self.reader).filter(|_| has_pages) {
            reader.keys = RecordKeys::new(&self.params, key)?;
            if let Some(tracker) = &mut reader.tracker {
                tracker.identified_by(&self.params, key)?;
            }
        }
        Ok(self)
    }

    /// What is remembered of the mapping: where runs read what is new, records keep it.
    fn mapping(&self) -> Option<String> {
        let leaves_out = self.reader.tracker.is_some() || self.leaves_parents_out();
        self.mapping.filter(|_| leaves_out).map(|mapping| mapping.to_string())
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
        PagePosition::of(self.reader.paginator.first()).to_json()
    }

    /// What the job file asks for; `None` when the first request cannot be made.
    pub(super) fn state(&self) -> Option<State> {
        if address(&self.params.base_url, "").is_err() && self.recorded_base().is_none() {
            return None;
        }
        let asked = self.request(&self.first(), Called::Nothing).ok()?.asked();
        let mut request = format!("{}\n{}", asked.fingerprint, self.params.data_selector);
        if let Some(incremental) = &self.params.incremental {
            // How pages are walked decides how much was read of what was asked for.
            let paginator = self.params.paginator.identity();
            let explode = self.params.explode.as_deref().unwrap_or_default();
            request.push_str(&format!("\n{}\n{paginator}\n{explode}", incremental.identity()));
        }
        if let Some(for_each) = &self.params.for_each {
            // How pages are walked decides how much was read of each.
            let (paginator, explode) = (self.params.paginator.identity(), &self.params.explode);
            request.push_str(&format!("\n{}\n{paginator}\n{explode:?}", for_each.identity()));
        }
        if !self.params.read_by.is_empty() {
            request.push_str(&format!("\n{}", self.params.read_by));
        }
        let request = ContentHash::of(request.as_bytes()).to_string();
        Some(State { request: Some(request), mapping: self.mapping(), ..State::default() })
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
        self.fetch_unless_known(position, access, tokens, Looks::default()).await
    }

    /// The same; a page that has not changed since it was kept counts as the one that is kept, where the job file
    /// is content with that.
    async fn fetch_unless_known(
        &self,
        position: &Value,
        access: Access,
        tokens: &Arc<dyn TokenStore>,
        looks: Looks<'_>,
    ) -> Result<Page, SourceError> {
        match access {
            Access::Network => {
                self.asked_with_headers(position, tokens, looks).await.map(|(page, _)| page)
            }
            Access::Record => {
                let (recording, recorded) = (self.recording()?, self.recorded(position)?);
                let looks = Looks { known_pages: None, ..looks };
                let (page, headers) = self.asked_with_headers(position, tokens, looks).await?;
                recording.write(recorded, (&page.body, page.redacted), &headers).await?;
                Ok(page)
            }
            Access::Offline => self.recorded_page(position, looks.examine).await,
        }
    }

    /// What a run without a network reads: what was recorded.
    fn recorded_plan(&self) -> Plan {
        let begins = self.index().begins.iter();
        let slices = begins.map(|(lane, position)| NextSlice {
            slice: SliceId::new(*lane, 0),
            position: position.clone(),
        });
        Plan::of_slices(slices.collect())
    }

    /// The parents of a run; those that were recorded, where it reads that.
    fn planned_parents(
        &self,
        request: &PlanRequest,
    ) -> Result<Option<PlannedParents>, SourceError> {
        let Some(for_each) = &self.params.for_each else { return Ok(None) };
        let recorded = match (request.access, &self.recording) {
            (Access::Offline, Some(recording)) => recording.parents()?,
            (Access::Offline | Access::Network | Access::Record, _) => Vec::new(),
        };
        let which = match recorded.is_empty() {
            true => for_each.which(request.mode == Mode::Full),
            false => WhichParents::These(recorded),
        };
        Ok(Some(PlannedParents {
            which,
            per_lane: for_each.batch(),
            asked: self.asked_of_parents(),
            needed: self.params.needed_of_parents(),
        }))
    }

    /// What is asked for each parent.
    fn asked_of_parents(&self) -> String {
        self.state().and_then(|state| state.request).unwrap_or_default()
    }

    /// The position, with what is known of its parents.
    async fn with_parents(
        &self,
        position: &Value,
        request: &SliceRequest,
    ) -> Result<Value, SourceError> {
        let at = PagePosition::from_json(position)?;
        let unknown = at.parents.as_ref().is_some_and(|parents| parents.of.is_empty());
        let Some(parents) = request.parents.as_ref().filter(|_| unknown) else {
            return Ok(position.clone());
        };
        let lane = request.slice.lane();
        let found = parents.of_lane(lane).await?;
        if request.access == Access::Record {
            self.recording()?.write_parents(lane, &found).await?;
        }
        Ok(children::looked_up(at, found)?.to_json())
    }

    pub(super) fn planned(&self, request: &PlanRequest, range: Option<&ReadRange>) -> Plan {
        let asks = self.state();
        let paginator = &self.reader.paginator;
        // What is not on the first pages may be there all the same.
        let all_pages = !paginator.first_pages_only();
        let (windows, remarks, everything, cursor) = match &self.reader.tracker {
            None => {
                let changed = asks.and_then(|asks| asks.change_since(request));
                (vec![None], changed.into_iter().collect(), all_pages, None)
            }
            Some(tracker) => {
                let before = State::of(&request.state);
                let asks = match range {
                    None => tracker.plan(&before, asks.as_ref(), request),
                    Some(range) => tracker.plan_range(&before, asks.as_ref(), request, range),
                };
                let windows = asks.windows.into_iter().map(Some).collect();
                (windows, asks.remarks, asks.everything, asks.cursor)
            }
        };
        let resumed = cursor.and_then(|cursor| paginator.resumed(&cursor));
        let run = Run { id: request.run, date: request.now.date_naive() };
        let run = self.params.names_any("run.").then_some(run);
        let first = |window: Option<Window>| {
            let at = resumed.clone().unwrap_or_else(|| paginator.first());
            let resumed = resumed.is_some();
            let window = window.map(|window| Window { resumed, ..window });
            PagePosition { window, run, ..PagePosition::of(at) }.to_json()
        };
        if let Some(for_each) = &self.params.for_each {
            let first = PagePosition { run, ..PagePosition::of(paginator.first()) };
            let slices = children::begins(for_each, &first);
            return Plan { remarks, everything, ..Plan::of_slices(slices) };
        }
        let slices = (0..).zip(windows).map(|(lane, window)| NextSlice {
            slice: SliceId::new(lane, 0),
            position: first(window),
        });
        Plan { remarks, everything, ..Plan::of_slices(slices.collect()) }
    }

    /// Whether a position is of a run that reads everything, whatever was read before.
    pub(in crate::sources) fn begins_anew(&self, position: &Value) -> bool {
        let window = PagePosition::from_json(position).ok().and_then(|position| position.window);
        window.is_some_and(|window| window.fresh && !window.backfill)
    }

    /// The first page of the chain that is opened when that of a page has ended.
    fn opened_behind(
        &self,
        position: &Value,
        slice: SliceId,
        page: &Page,
    ) -> Result<Option<NextSlice>, SourceError> {
        if page.next.is_some() {
            return Ok(None);
        }
        let Some(for_each) = &self.params.for_each else { return self.behind(position, slice) };
        // Pages that are asked for again on their own open nothing: what ends is their chain.
        let has_ended = page.end.is_some() && page.ahead.is_empty();
        if !has_ended {
            return Ok(None);
        }
        let at = PagePosition::from_json(position)?;
        Ok(children::behind(for_each, (&at, slice), self.reader.paginator.first(), false))
    }

    /// The first page of the window that is opened when the chain of this one has ended.
    pub(in crate::sources) fn behind(
        &self,
        position: &Value,
        slice: SliceId,
    ) -> Result<Option<NextSlice>, SourceError> {
        let Some(tracker) = &self.reader.tracker else { return Ok(None) };
        let at = PagePosition::from_json(position)?;
        let Some((window, lanes)) = at.window.as_ref().and_then(|w| tracker.behind(w)) else {
            return Ok(None);
        };
        let first = self.reader.paginator.first();
        let position = PagePosition { at: first, window: Some(window), ..at }.to_json();
        Ok(Some(NextSlice { slice: SliceId::new(slice.lane() + lanes, 0), position }))
    }

    /// A page of the API, and the headers beside it. A token that the API refuses although its time is not over is
    /// renewed, once.
    async fn asked_with_headers(
        &self,
        position: &Value,
        tokens: &Arc<dyn TokenStore>,
        looks: Looks<'_>,
    ) -> Result<(Page, HeaderMap), SourceError> {
        let at = PagePosition::from_json(position)?;
        let mut refused = Vec::new();
        loop {
            let mut request = self.request(position, Called::Sent(&at))?;
            let sent = self.authorize(&mut request, &at, tokens, &refused).await?;
            match self.page_by(position, &mut request, looks).await {
                Err(error)
                    if error.kind == SourceErrorKind::Unauthorized
                        && refused.is_empty()
                        && !sent.is_empty() =>
                {
                    refused = sent;
                }
                page => {
                    return page.map_err(|error| {
                        let asked = looks.examine.then(|| doctor::of_request(&request));
                        let came = error.findings().iter().cloned();
                        let findings = asked.into_iter().chain(came).collect();
                        request.secrets.redact_error(error.with_findings(findings))
                    });
                }
            }
        }
    }

    /// The page that a request is answered with.
    async fn page_by(
        &self,
        position: &Value,
        request: &mut RequestParts,
        looks: Looks<'_>,
    ) -> Result<(Page, HeaderMap), SourceError> {
        let clients = self.clients()?;
        let asked = self.asked_at(position, request)?;
        let known_pages = looks.known_pages.filter(|_| self.params.conditional);
        let credentials = match self.params.conditional {
            true => self.credentials.of(&self.params, &self.base_dir, request).await?,
            false => None,
        };
        let known = match known_pages {
            Some(pages) => pages.find(asked.fingerprint).await?.map(|known| (pages, known)),
            None => None,
        };
        // Whoever else asked may have been given something else.
        let credentials = credentials.map(StoredHash::from);
        let known = known.filter(|(_, known)| known.validators.credentials == credentials);
        let (response, not_modified) = self.response(clients, request, known).await?;
        let response = request.secrets.redact_response(response);
        let validators = self.params.conditional.then(|| conditional::validators(&response));
        let headers = response.headers.clone();
        let page = self.page_or_findings(position, asked, response, looks.examine).await?;
        // What says that something is wrong with it is asked for again, and so is what is no JSON: it is kept in
        // another form.
        let validators = validators
            .flatten()
            .filter(|_| page.complaint.is_none() && page.is_json && page.said == Said::Page)
            .map(|validators| Validators { credentials, ..validators });
        Ok((Page { validators, not_modified, ..page }, headers))
    }

    /// The response to a request, and whether it is the one that is kept since it has not changed.
    async fn response(
        &self,
        clients: &Clients,
        request: &mut RequestParts,
        known: Option<(&dyn KnownPages, KnownPage)>,
    ) -> Result<(Response, bool), SourceError> {
        let send = async |request: &RequestParts| {
            client::send_for_any(clients, request, &self.params).await
        };
        let Some((pages, known)) = known else { return Ok((send(request).await?, false)) };
        let unconditional = request.headers.clone();
        conditional::ask(&mut request.headers, &known);
        let answer = send(request).await?;
        if answer.status != StatusCode::NOT_MODIFIED {
            return Ok((answer, false));
        }
        match pages.body(known.page).await? {
            Some(body) => Ok((conditional::unchanged(answer, &known, body), true)),
            // It was removed just now.
            None => {
                request.headers = unconditional;
                Ok((send(request).await?, false))
            }
        }
    }

    /// What there is to say of a page to whoever writes the job file. Of an API it is asked for again, to see
    /// what a conditional request is answered.
    async fn examine(
        &self,
        position: &Value,
        request: &SliceRequest,
        page: &Page,
    ) -> Result<Vec<Finding>, SourceError> {
        let asked = self.unsent(position)?;
        let records: Vec<String> = match page.said.is_page() {
            true => {
                self.reader.selector.select(&page.body)?.into_iter().map(String::from).collect()
            }
            false => Vec::new(),
        };
        let mut found = doctor::examine(&self.params, &asked.url, page, &records);
        let validators = [(ETAG, IF_NONE_MATCH), (LAST_MODIFIED, IF_MODIFIED_SINCE)];
        let validator = validators.into_iter().find_map(|(name, condition)| {
            Some((name.clone(), condition, page.headers.get(name)?.clone()))
        });
        if let Some((name, condition, value)) = validator
            && request.access != Access::Offline
            && page.said.is_page()
        {
            let at = PagePosition::from_json(position)?;
            let mut again = self.request(position, Called::Sent(&at))?;
            self.authorize(&mut again, &at, &request.tokens, &[]).await?;
            again.headers.insert(condition, value);
            let answered = client::send(self.clients()?, &again, &self.params).await;
            let is_unchanged = match &answered {
                Ok(response) => response.status == 304,
                Err(error) => error.message.contains(" 304 "),
            };
            found.push(match is_unchanged {
                true => Finding::note("conditional", format!("with `{name}` of the page a second request is answered by 304, without a body")),
                false => Finding::note("conditional", format!("the page has `{name}`, and a second request with it is answered in whole all the same")),
            });
        }
        Ok(found)
    }

    async fn recorded_page(&self, position: &Value, examine: bool) -> Result<Page, SourceError> {
        let recording = self.recording()?;
        let recorded = self.recorded(position)?;
        let read = recording.read(recorded, self.params.max_response_bytes.get()).await;
        let RecordedPage { from, body, mut headers, redacted } = match read {
            // Recordings of earlier versions end with a first page that is short.
            Err(error) if recording::is_missing(&error) && self.ended_before(position)? => {
                RecordedPage {
                    from: recording.folder(),
                    body: said::kept(StatusCode::NO_CONTENT.as_u16(), b"").into_bytes(),
                    headers: HeaderMap::new(),
                    redacted: 0,
                }
            }
            read => read?,
        };
        // The body was recorded as UTF-8, whatever it came in.
        headers.remove(CONTENT_TYPE);
        let response = match std::str::from_utf8(&body).ok().and_then(said::unkept) {
            Some((status, body)) => {
                Response { from, status, headers, body, said: Said::Nothing, ..Response::default() }
            }
            None => Response { from, status: 200, headers, body, redacted, ..Response::default() },
        };
        let asked = self.unsent(position)?;
        // A recorded page is the same whenever it is read: trying again cannot help.
        let permanent = |error: SourceError| match error.class() {
            FailureClass::Permanent => error,
            _ => SourceError { kind: SourceErrorKind::BadRecording, ..error },
        };
        self.page_or_findings(position, asked, response, examine).await.map_err(permanent)
    }

    /// What [`RestApiSource::fetch`] makes of the response to the request for the page at `position`.
    /// Pure, and takes long for a long body.
    ///
    /// # Errors
    /// As of [`RestApiSource::fetch`].
    pub fn read(&self, position: &Value, response: Response) -> Result<Page, SourceError> {
        let asked = self.unsent(position)?;
        let position = PagePosition::from_json(position)?;
        along(&self.reader, &position, &asked, response)
    }

    /// The page of a response; where it is none and somebody wants to know, what came is said beside the error.
    async fn page_or_findings(
        &self,
        position: &Value,
        asked: Asked,
        response: Response,
        examine: bool,
    ) -> Result<Page, SourceError> {
        let kept = examine.then(|| response.clone());
        self.page_of(position, asked, response).await.map_err(|error| match kept {
            Some(answer) => {
                let findings = doctor::of_answer(&self.params, &answer, &error);
                error.with_findings(findings)
            }
            None => error,
        })
    }

    async fn page_of(
        &self,
        position: &Value,
        asked: Asked,
        response: Response,
    ) -> Result<Page, SourceError> {
        let reader = Arc::clone(&self.reader);
        let position = PagePosition::from_json(position)?;
        tokio::task::spawn_blocking(move || along(&reader, &position, &asked, response))
            .await
            .map_err(|error| {
                SourceError::new(SourceErrorKind::Internal, "reading the page failed")
                    .caused_by(error)
            })?
    }

    fn asking<'a>(&'a self, called: Called<'a>) -> Asking<'a> {
        let tracker = self.reader.tracker.as_ref();
        let recorded_base = match self.params.base_url {
            Setting::Literal(_) => None,
            Setting::Variable(_) => self.recorded_base(),
        };
        Asking { params: &self.params, base_dir: &self.base_dir, tracker, called, recorded_base }
    }

    /// The request for the page at a position, without anything secret.
    pub(super) fn request(
        &self,
        position: &Value,
        called: Called<'_>,
    ) -> Result<RequestParts, SourceError> {
        let position = PagePosition::from_json(position)?;
        let mut request = self.asking(called).parts(&position.at)?;
        self.reader.paginator.ask_for(&position.at, &mut request)?;
        Ok(request)
    }

    /// Which recorded page is at a position: any address of the job file gives the same.
    fn recorded(&self, position: &Value) -> Result<Recorded, SourceError> {
        let at = PagePosition::from_json(position)?;
        let request = self.request(position, Called::Unsent(&at))?;
        let base = match (address(&self.params.base_url, ""), self.recorded_base()) {
            (Ok(base), _) => Some(base),
            (Err(_), Some(base)) => address(&Setting::Literal(base.to_owned()), "").ok(),
            (Err(_), None) => Some(RequestParts::no_address()),
        };
        let page = self.ordinal(position)?;
        Ok(Recorded { page, request: request.key_below(base.as_ref()) })
    }

    /// The file of the first recorded page, if it is there.
    pub(super) fn first_recorded(&self) -> Option<PathBuf> {
        let recording = self.recording.as_ref()?;
        let first = self.index().begins.first().map(|(_, position)| position.clone());
        let mut first = first.unwrap_or_else(|| self.first());
        if let Some(for_each) = &self.params.for_each {
            let mut parents = recording.parents().ok()?;
            parents.truncate(for_each.batch() as usize);
            let at = PagePosition::from_json(&first).ok()?;
            first = children::looked_up(at, parents).ok()?.to_json();
        }
        recording.find(self.recorded(&first).ok()?)
    }

    /// What the recording says that a run without a network cannot know.
    fn index(&self) -> &Index {
        self.index.get_or_init(|| self.recording.as_ref().map(Recording::index).unwrap_or_default())
    }

    /// The address of the recording, for where the variable of the job file's own is not set.
    fn recorded_base(&self) -> Option<&str> {
        self.index().base_url.as_deref()
    }

    /// Keeps what a run without a network cannot know.
    async fn record_plan(&self, plan: &Plan) -> Result<(), SourceError> {
        let base_url = match &self.params.base_url {
            Setting::Literal(_) => None,
            Setting::Variable(_) => self.params.base_url.resolve(BASE_URL).ok(),
        };
        let begins = plan.slices.iter().filter(|_| self.differs_by_run());
        let begins = begins.map(|slice| (slice.slice.lane(), slice.position.clone())).collect();
        self.recording()?.remove_parents().await?;
        self.recording()?.write_index(&Index { base_url, begins }).await
    }

    /// Whether what is asked for depends on when it is asked for.
    fn differs_by_run(&self) -> bool {
        self.reader.tracker.is_some() || self.params.names_any("run.")
    }

    /// What would be asked for where nobody sends it, and the address may not be known.
    pub(super) fn unsent(&self, position: &Value) -> Result<Asked, SourceError> {
        let at = PagePosition::from_json(position)?;
        self.asked_at(position, &self.request(position, Called::Unsent(&at))?)
    }

    /// What a request asks for at a position.
    fn asked_at(&self, position: &Value, request: &RequestParts) -> Result<Asked, SourceError> {
        let at = PagePosition::from_json(position)?;
        let parent = children::parent_of(&at, self.params.for_each.as_ref());
        Ok(request.asked().for_parent(parent))
    }

    /// Adds the headers of the job file, and what the API knows us by.
    pub(super) async fn authorize(
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
                    let text = template::parsed(text)?.text(&self.asking(Called::Sent(at)))?;
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

    fn ended_before(&self, position: &Value) -> Result<bool, SourceError> {
        self.reader.paginator.ended_before(&PagePosition::from_json(position)?.at)
    }

    fn ordinal(&self, position: &Value) -> Result<u64, SourceError> {
        self.reader.paginator.ordinal(&PagePosition::from_json(position)?.at)
    }

    pub(super) fn clients(&self) -> Result<&Arc<Clients>, SourceError> {
        if let Some(clients) = self.clients.get() {
            return Ok(clients);
        }
        let clients = Arc::new(Clients::new(&self.params, &self.base_dir)?);
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

/// What is looked at besides, when a page is asked for.
#[derive(Debug, Clone, Copy, Default)]
struct Looks<'a> {
    /// What is known of the pages that earlier runs have kept.
    known_pages: Option<&'a dyn KnownPages>,
    /// Whether to say what came where it is no page.
    examine: bool,
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
            reads: match (&self.reader.tracker, &self.params.for_each) {
                (None, None) => Reads::Again,
                (Some(_), _) | (_, Some(_)) => Reads::News,
            },
            guards_itself: false,
            rows_by_job_file: true,
            tells_deletions: self.params.deleted.is_some(),
            may_shift: self.reader.paginator.may_shift(self.params.for_each.is_some()),
            pages: true,
            slices_per_batch: PAGES_PER_BATCH,
            bytes_per_batch: BYTES_PER_BATCH,
            rate_limit: rate_limit.map(|RateLimitParams { key, requests, per, .. }| RateLimit {
                key,
                requests: requests.get(),
                per,
            }),
            max_attempts: Some(self.params.retry.max_attempts.get()),
            max_block: Some(self.params.retry.max_retry_after),
            max_wait: Some(self.params.retry.max_wait()),
            kept_tokens: self.kept_tokens(),
            recording: self.recording.as_ref().map(|recording| recording.path().to_owned()),
            parents: self.params.for_each.as_ref().map(|for_each| ParentsProfile {
                asked: self.asked_of_parents(),
                one_each: for_each.batch() == 1,
                at: &["rest_api", "for_each"],
                records: for_each.source.clone().map(|source| (source, for_each.fields.clone())),
            }),
            only_by_runs: None,
            must_have_rows: false,
        }
    }

    fn plan(
        self: Arc<Self>,
        request: PlanRequest,
    ) -> BoxFuture<'static, Result<Plan, SourceError>> {
        async move {
            let parents = self.planned_parents(&request)?;
            let plan = match request.access {
                Access::Offline if !self.index().begins.is_empty() => self.recorded_plan(),
                Access::Network | Access::Record | Access::Offline => self.planned(&request, None),
            };
            if request.access == Access::Record && !plan.slices.is_empty() {
                self.record_plan(&plan).await?;
            }
            let restarts = plan.slices.iter().any(|slice| self.begins_anew(&slice.position));
            Ok(Plan { parents, restarts, ..plan })
        }
        .boxed()
    }

    fn read_range(
        &self,
        asked: AskedRange<'_>,
        now: DateTime<Utc>,
    ) -> Result<ReadRange, SourceError> {
        let invalid = |message: String| SourceError::new(SourceErrorKind::InvalidConfig, message);
        match &self.reader.tracker {
            Some(tracker) => tracker.range(asked, now).map_err(invalid),
            None => Err(invalid(
                "a range can be read only where the API can be asked for one, and the job file has no \
                 `rest_api.incremental`: a run reads everything"
                    .to_owned(),
            )),
        }
    }

    fn plan_range(
        self: Arc<Self>,
        request: PlanRequest,
        range: ReadRange,
    ) -> BoxFuture<'static, Result<Plan, SourceError>> {
        std::future::ready(Ok(self.planned(&request, Some(&range)))).boxed()
    }

    fn widened(&self, state: &Value, range: &ReadRange) -> Value {
        let Some(tracker) = &self.reader.tracker else { return state.clone() };
        let since = tracker.widened(&State::of(state), state.is_null(), range);
        let mut state = match state {
            Value::Object(_) => state.clone(),
            _ => json!({ "rest": {} }),
        };
        if let (Some(rest), Some(since)) =
            (state.get_mut("rest").and_then(Value::as_object_mut), since)
        {
            rest.insert("since".to_owned(), since.into());
        }
        state
    }

    fn read(self: Arc<Self>, request: SliceRequest) -> Box<dyn SliceReader> {
        OneSlice::of(async move {
            let Position::Own(position) = &request.position else {
                let message = "an API is read in pages, and has no chunks";
                return Err(SourceError::new(SourceErrorKind::InvalidState, message));
            };
            let position = &self.with_parents(position, &request).await?;
            let looks =
                Looks { known_pages: request.known_pages.as_deref(), examine: request.examine };
            let (access, tokens) = (request.access, &request.tokens);
            let mut page = self.fetch_unless_known(position, access, tokens, looks).await?;
            if request.examine {
                page.findings = self.examine(position, &request, &page).await?;
            }
            let behind = self.opened_behind(position, request.slice, &page)?;
            let mut content = page.into_slice(request.slice);
            content.next.extend(behind);
            Ok(content)
        })
    }

    fn behind_a_failure(&self, position: &Value, slice: SliceId) -> Vec<NextSlice> {
        if self.params.for_each.is_some() {
            // The next run reads all children of the parent again.
            return Vec::new();
        }
        let next = PagePosition::from_json(position).and_then(|position| {
            let next = self.reader.paginator.behind_a_failure(&position.at)?;
            Ok(next.map(|(pages, next)| (pages, position.next(next).to_json())))
        });
        let next = next.ok().flatten();
        let next = next.map(|(pages, position)| NextSlice { slice: slice.ahead(pages), position });
        next.into_iter().collect()
    }

    fn beside_failed_parents(
        &self,
        position: &Value,
        slice: SliceId,
        kind: SourceErrorKind,
    ) -> FailedParents {
        let for_each = self.params.for_each.as_ref().filter(|_| children::is_of_these(kind));
        let (Some(for_each), Ok(position)) = (for_each, PagePosition::from_json(position)) else {
            return FailedParents::NotAtFault;
        };
        let first = self.reader.paginator.first();
        match children::behind(for_each, (&position, slice), first, true) {
            Some(next) => FailedParents::Alone(next),
            None => FailedParents::TooMany,
        }
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
        let odd = odd_text::unkept(text, context)?;
        let text = odd.as_deref().unwrap_or(text);
        let parent = children::of_context(context);
        let is_redacted = redacted_keys::of_context(context);
        self.reader.each_row((text, parent.as_deref()), raw, out, |row, text, raw_row, out| {
            if is_redacted && let Some(defect) = redacted_keys::defect(mapping, row) {
                out.rejects.push(raw, reject(text, raw_row, vec![defect]));
                return Ok(());
            }
            if self.reader.is_deleted(text) {
                out.records.next_is_deleted();
            }
            mapping.map(row, raw, raw_row, out, |defects| reject(text, raw_row, defects))
        })
    }

    fn raw_row(&self, rows: RawRows<'_>, number: i64) -> Result<Option<RawRow>, SourceError> {
        let RawRows::Document { text, context } = rows else { return Err(rows.wrong_form()) };
        if said::is_no_page(context) {
            return Ok(None);
        }
        let odd = odd_text::unkept(text, context)?;
        self.reader.raw_row(odd.as_deref().unwrap_or(text), number)
    }

    fn advance(&self, state: &Value, watermarks: &[Value], complete: bool) -> Value {
        let Some(tracker) = &self.reader.tracker else {
            return self.state().map(|state| state.to_json()).unwrap_or_default();
        };
        let before = State::of(state);
        let since = tracker.since(&before, state.is_null(), watermarks);
        match tracker.advance(&before, watermarks, complete) {
            // The next run asks for the same again.
            None => State { since, ..before }.to_json(),
            Some(watermark) => {
                let cursor = tracker.cursor(&before, watermarks, complete);
                let now = self.state().unwrap_or_default();
                State { watermark, since, cursor, ..now }.to_json()
            }
        }
    }

    fn others_missing(&self, slices: &[(u32, Value)]) -> Vec<(u32, u64)> {
        match &self.reader.tracker {
            Some(_) => lanes_with_others_missing(slices),
            None => Vec::new(),
        }
    }

    fn goes_on(&self, state: &Value, read: &ReadLanes) -> Option<GoesOn> {
        let tracker = self.reader.tracker.as_ref()?;
        let whole = tracker.whole_windows(read)?;
        let before = State::of(state);
        let who = if whole.backfill { "the same command" } else { "the next run" };
        let which = match &whole.missing {
            Some((from, to)) => format!("the window from {from} to {to} could not be read whole"),
            None => "the first window could not be read whole".to_owned(),
        };
        let begins_again =
            || GoesOn { note: format!("{which}: {who} begins where this one did"), kept: None };
        // What it did not change it need not take back.
        if whole.lanes == 0 || whole.fresh && before.watermark.is_some() && !read.changed {
            return Some(begins_again());
        }
        let watermark = tracker.advance(&before, &whole.traces, true).flatten();
        let moves = |mark: &String| whole.fresh || before.watermark.as_ref() != Some(mark);
        let Some(watermark) = watermark.filter(moves) else { return Some(begins_again()) };
        let note =
            format!("{which}; those in front of it are kept, and {who} goes on at {watermark}");
        let all: Vec<Value> = read.slices.iter().map(|(_, trace)| trace.clone()).collect();
        let since = tracker.since(&before, state.is_null(), &all);
        let now = self.state().unwrap_or_default();
        let state = State { watermark: Some(watermark), since, ..now }.to_json();
        Some(GoesOn { note, kept: Some((state, whole.lanes)) })
    }

    fn restarted(&self, state: &Value, run: RunId) -> Value {
        let mut state = state.clone();
        let has_position = self.reader.tracker.is_some() && State::of(&state).watermark.is_some();
        if let Some(rest) = state.get_mut("rest").and_then(Value::as_object_mut)
            && has_position
        {
            // What an earlier one left is not put right by this one.
            rest.entry("again").or_insert_with(|| run.0.into());
        }
        state
    }

    fn restart_ended(&self, state: &Value, run: RunId) -> Value {
        let mut state = state.clone();
        if let Some(rest) = state.get_mut("rest").and_then(Value::as_object_mut)
            && rest.get("again").and_then(Value::as_i64) == Some(run.0)
        {
            rest.remove("again");
        }
        state
    }

    fn replays_first(&self, state: &Value) -> bool {
        let before = State::of(state);
        let leaves_out = before.watermark.is_some() || self.leaves_parents_out();
        let Some(now) = self.state().filter(|_| leaves_out) else { return false };
        before.request == now.request
            && before.mapping.is_some()
            && now.mapping.is_some()
            && before.mapping != now.mapping
    }

    fn replayed(&self, state: &Value) -> Value {
        let mut state = state.clone();
        if let (Some(rest), Some(mapping)) =
            (state.get_mut("rest").and_then(Value::as_object_mut), self.mapping())
        {
            rest.insert("mapping".to_owned(), mapping.into());
        }
        state
    }

    fn remarks(&self, watermarks: &[Value]) -> Vec<Remark> {
        let tracker = self.reader.tracker.as_ref();
        let mut remarks = tracker.map(|t| t.remarks(watermarks)).unwrap_or_default();
        let sum = |key| -> u64 {
            watermarks.iter().filter_map(|watermark| watermark.get(key)?.as_u64()).sum()
        };
        let (filtered, redacted) = (sum(FILTERED), sum(REDACTED));
        if filtered > 0 {
            let (count, selector) = (grouped(filtered), &self.params.data_selector);
            remarks.push(Remark::note(format!("`{selector}` left out {count} records")));
        }
        if redacted > 0 {
            let (count, places) =
                (grouped(redacted), if redacted == 1 { "place" } else { "places" });
            remarks.push(Remark::note(format!(
                "the API repeats a secret of its requests: it was replaced by `***` in {count} {places} of what is \
                 stored"
            )));
        }
        remarks
    }
}

/// The list within each record whose elements are the records.
fn explode_of(params: &RestApiParams) -> Result<Option<Explode>, SourceError> {
    let explode = params.explode.as_deref().map(Explode::new).transpose();
    explode.map_err(|why| {
        SourceError::new(SourceErrorKind::InvalidConfig, format!("`rest_api.explode` {why}"))
    })
}

/// Refuses what no environment can fix, before the first request.
fn validate_request(params: &RestApiParams) -> Result<(), SourceError> {
    // A variable that is not set here may be set where the source runs.
    if params.base_url.resolve(BASE_URL).is_ok() {
        address(&params.base_url, &params.path)?;
    }
    params.headers.keys().try_for_each(|name| header_name(name).map(drop))
}
