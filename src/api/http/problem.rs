//! Owns how a request is refused: RFC 9457 problem details, and their place in the document.
//!
//! Text of the database never becomes part of a problem: it goes to the log, here and only here.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use poem::http::StatusCode;
use poem::http::header::RETRY_AFTER;
use poem::{IntoResponse, Response};
use poem_openapi::payload::Payload;
use poem_openapi::registry::{
    MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry,
};
use poem_openapi::types::{ToJSON, Type};
use poem_openapi::{ApiResponse, Object};
use serde_json::{Map, Value, json};

use crate::api::openapi::enums::string_enums;
use crate::db;
use crate::db::source_pauses::SourcePause;
use crate::domain::failure::FailureClass;
use crate::domain::string_enum::string_enum;
use crate::domain::suggest;

string_enum! {
    /// What is wrong, as the stable `type` of a problem.
    Kind ("problem type") {
        /// There is no good token.
        Unauthorized = "urn:kasparro:problem:unauthorized",
        /// The token's scope is too small.
        Forbidden = "urn:kasparro:problem:forbidden",
        /// A request without a token comes from the page of another site, or asks for another name.
        ForeignPage = "urn:kasparro:problem:foreign-page",
        /// A parameter of the path, the query or a header cannot be used.
        InvalidParameter = "urn:kasparro:problem:invalid-parameter",
        /// The body is not JSON.
        MalformedBody = "urn:kasparro:problem:malformed-body",
        /// There is nothing at this address.
        UnknownPath = "urn:kasparro:problem:unknown-path",
        /// No job file of that name.
        UnknownSource = "urn:kasparro:problem:unknown-source",
        /// No run of that id.
        UnknownRun = "urn:kasparro:problem:unknown-run",
        /// No record of that id.
        UnknownRecord = "urn:kasparro:problem:unknown-record",
        /// No run had a job file of that hash.
        UnknownDefinition = "urn:kasparro:problem:unknown-definition",
        /// No change of a schema of that number.
        UnknownDrift = "urn:kasparro:problem:unknown-drift",
        /// No request has drawn from a rate limit of that key.
        UnknownRateLimit = "urn:kasparro:problem:unknown-rate-limit",
        /// The address exists, the method does not.
        MethodNotAllowed = "urn:kasparro:problem:method-not-allowed",
        /// The source has an active run; there is one at a time.
        RunActive = "urn:kasparro:problem:run-active",
        /// The run has ended: there is nothing to cancel.
        RunEnded = "urn:kasparro:problem:run-ended",
        /// The run has no failed task, or a later run of the source has begun.
        NothingToRetry = "urn:kasparro:problem:nothing-to-retry",
        /// The run holds no deletions back, or a later run of the source has begun.
        NothingHeldBack = "urn:kasparro:problem:nothing-held-back",
        /// Somebody has acknowledged the change before.
        DriftAcknowledged = "urn:kasparro:problem:drift-acknowledged",
        /// The operator has named no folder for uploads.
        NoUploads = "urn:kasparro:problem:no-uploads",
        /// A file of that name is there, and is another one.
        FileExists = "urn:kasparro:problem:file-exists",
        /// Nothing is kept that could be normalized again, or no such row is set aside.
        NothingToReplay = "urn:kasparro:problem:nothing-to-replay",
        /// The source is paused: no run of it starts.
        SourcePaused = "urn:kasparro:problem:source-paused",
        /// The source is not paused: there is nothing to resume.
        SourceNotPaused = "urn:kasparro:problem:source-not-paused",
        /// The body did not arrive in time.
        SlowRequest = "urn:kasparro:problem:slow-request",
        /// The client asks too often.
        TooManyRequests = "urn:kasparro:problem:too-many-requests",
        /// The body is larger than anything this API takes.
        BodyTooLarge = "urn:kasparro:problem:body-too-large",
        /// The body ended early, or is not what its digest says.
        DamagedBody = "urn:kasparro:problem:damaged-body",
        /// There is no room for the file.
        NoRoom = "urn:kasparro:problem:no-room",
        /// No run would read the file.
        UnreadFile = "urn:kasparro:problem:unread-file",
        /// The body is not declared as JSON, or is a form in place of a file.
        UnsupportedMediaType = "urn:kasparro:problem:unsupported-media-type",
        /// The body is JSON, but not what the operation takes.
        InvalidRequest = "urn:kasparro:problem:invalid-request",
        /// The source's job file cannot be used.
        InvalidJobFile = "urn:kasparro:problem:invalid-job-file",
        /// The source cannot be read, or does not answer in time.
        UnreadableSource = "urn:kasparro:problem:unreadable-source",
        /// A fault of kasparro.
        Internal = "urn:kasparro:problem:internal",
        /// Too many requests are being worked on, or too many streams are open.
        Busy = "urn:kasparro:problem:busy",
        /// The database does not answer, or not in time.
        Unavailable = "urn:kasparro:problem:unavailable",
    }
}

string_enums! {
    Kind = "ProblemType": "What is wrong; stable, so that programs can decide by it.",
}

impl Kind {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden | Self::ForeignPage => StatusCode::FORBIDDEN,
            Self::InvalidParameter | Self::MalformedBody | Self::DamagedBody => {
                StatusCode::BAD_REQUEST
            }
            Self::UnknownPath
            | Self::UnknownSource
            | Self::UnknownRun
            | Self::UnknownRecord
            | Self::UnknownDefinition
            | Self::UnknownDrift
            | Self::UnknownRateLimit => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::RunActive
            | Self::RunEnded
            | Self::NothingToRetry
            | Self::NothingHeldBack
            | Self::DriftAcknowledged
            | Self::NothingToReplay
            | Self::SourcePaused
            | Self::SourceNotPaused
            | Self::NoUploads
            | Self::FileExists => StatusCode::CONFLICT,
            Self::SlowRequest => StatusCode::REQUEST_TIMEOUT,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::InvalidRequest | Self::InvalidJobFile | Self::UnreadFile => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::NoRoom => StatusCode::INSUFFICIENT_STORAGE,
            Self::UnreadableSource => StatusCode::BAD_GATEWAY,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Busy | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Unauthorized => "A good token is needed",
            Self::Forbidden => "The token does not allow this",
            Self::ForeignPage => "Other sites and names are not answered without a token",
            Self::InvalidParameter => "A parameter cannot be used",
            Self::MalformedBody => "The body is not JSON",
            Self::UnknownPath => "There is nothing at this address",
            Self::UnknownSource => "There is no such source",
            Self::UnknownRun => "There is no such run",
            Self::UnknownRecord => "There is no such record",
            Self::UnknownDefinition => "No run had that job file",
            Self::UnknownDrift => "There is no such change of a schema",
            Self::DriftAcknowledged => "The change is acknowledged already",
            Self::UnknownRateLimit => "There is no such rate limit",
            Self::MethodNotAllowed => "The method is not allowed here",
            Self::RunActive => "The source has an active run",
            Self::RunEnded => "The run has ended",
            Self::NothingToRetry => "There is nothing to retry",
            Self::NothingHeldBack => "There are no deletions to accept",
            Self::NothingToReplay => "There is nothing to replay",
            Self::SourcePaused => "The source is paused",
            Self::SourceNotPaused => "The source is not paused",
            Self::SlowRequest => "The body did not arrive in time",
            Self::TooManyRequests => "The client asks too often",
            Self::BodyTooLarge => "The body is too large",
            Self::DamagedBody => "The body did not arrive as it was sent",
            Self::NoRoom => "There is no room for the file",
            Self::UnreadFile => "No run would read the file",
            Self::NoUploads => "Files cannot be uploaded here",
            Self::FileExists => "There is another file of that name",
            Self::UnsupportedMediaType => "The body is of a type that is not taken here",
            Self::InvalidRequest => "The request cannot be followed",
            Self::InvalidJobFile => "The job file cannot be used",
            Self::UnreadableSource => "The source cannot be read",
            Self::Internal => "kasparro failed",
            Self::Busy => "Too many requests at once",
            Self::Unavailable => "The database does not answer",
        }
    }
}

/// Why a request was refused (RFC 9457).
#[derive(Debug, Clone, Object)]
pub struct Problem {
    /// Stable; programs decide by it.
    #[oai(rename = "type")]
    kind: Kind,
    /// The same for every problem of the type.
    title: String,
    /// The status of the response.
    status: u16,
    /// What is wrong with this request, for people.
    detail: String,
    /// The active run, when one is in the way.
    #[oai(skip_serializing_if_is_none)]
    run_id: Option<i64>,
    /// The sources there are, when the one asked for is not among them.
    #[oai(skip_serializing_if_is_none)]
    known_sources: Option<Vec<String>>,
}

impl Problem {
    /// A problem of that kind. `detail` must not hold anything the client may not read.
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            title: kind.title().to_owned(),
            status: kind.status().as_u16(),
            detail: detail.into(),
            run_id: None,
            known_sources: None,
        }
    }

    /// The source asked for has no job file.
    pub(crate) fn unknown_source(name: &str, known: Vec<String>) -> Self {
        let list = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let near = suggest::nearest(name, known.iter().map(String::as_str));
        let near = near.map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
        let detail = format!("there is no source {name:?}{near}; known sources: {list}");
        Self { known_sources: Some(known), ..Self::new(Kind::UnknownSource, detail) }
    }

    /// The run asked for does not exist.
    pub(crate) fn unknown_run(id: i64) -> Self {
        Self::new(Kind::UnknownRun, format!("there is no run {id}"))
    }

    /// The source is busy with a run.
    pub(crate) fn run_active(source: &str, run_id: i64) -> Self {
        let detail = format!(
            "run {run_id} of source {source:?} is active; start the next one when it has ended"
        );
        Self { run_id: Some(run_id), ..Self::new(Kind::RunActive, detail) }
    }

    /// The source is paused.
    pub(crate) fn source_paused(pause: &SourcePause) -> Self {
        Self::new(Kind::SourcePaused, pause.to_string())
    }

    /// A fault of kasparro; what happened is in the log.
    pub(crate) fn internal() -> Self {
        Self::new(Kind::Internal, "kasparro failed to answer; its log says why")
    }

    /// The database, or whatever else is needed, did not answer in time.
    pub(crate) fn unavailable() -> Self {
        Self::new(Kind::Unavailable, "the database does not answer, or not in time; try again")
    }

    /// The error that is answered with this response, which says the problem and more.
    pub(crate) fn into_error(self, response: Response) -> poem::Error {
        let mut error = poem::Error::from_response(response);
        // For those who show it as a page.
        error.set_data(self);
        error
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.kind.status()
    }

    /// Its stable type.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// What every problem of the type says.
    pub(crate) fn title(&self) -> &str {
        &self.title
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Problem {}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        let problem = match db::failure_class(&error) {
            FailureClass::Permanent => Self::internal(),
            _ => Self::unavailable(),
        };
        tracing::error!(
            error = &error as &dyn std::error::Error,
            status = problem.status,
            "a request failed in the database"
        );
        problem
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let response =
            Response::builder().status(self.status()).content_type(<Self as Payload>::CONTENT_TYPE);
        let response = match self.kind {
            Kind::Busy => response.header(RETRY_AFTER, "1"),
            _ => response,
        };
        let mut response = response.body(self.to_json_string());
        // For those who show it as a page.
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Problem> for poem::Error {
    fn from(problem: Problem) -> Self {
        let response = problem.clone().into_response();
        problem.into_error(response)
    }
}

impl Payload for Problem {
    const CONTENT_TYPE: &'static str = "application/problem+json";

    fn schema_ref() -> MetaSchemaRef {
        <Self as Type>::schema_ref()
    }
}

impl Kind {
    /// The last part of its URN.
    fn short(self) -> &'static str {
        self.as_str().rsplit(':').next().unwrap_or_default()
    }

    /// A problem of this kind, as a reader of the document may meet it.
    fn example(self) -> Problem {
        let detail = match self {
            Self::UnknownSource => {
                let known = vec!["products_csv".to_owned(), "vendors_csv".to_owned()];
                return Problem::unknown_source("produts_csv", known);
            }
            Self::UnknownRun => return Problem::unknown_run(7),
            Self::RunActive => return Problem::run_active("products_csv", 7),
            Self::Internal => return Problem::internal(),
            Self::Unavailable => return Problem::unavailable(),
            Self::Unauthorized => {
                "send a token with `Authorization: Bearer kas_…`; `kasparro token create` makes one"
            }
            Self::Forbidden => "the token has the scope `read`; this needs `run`",
            Self::ForeignPage => "without a token, pages of other sites are not answered",
            Self::InvalidParameter => {
                "parameter `limit`: \"0\" is not a whole number from 1 to 1000"
            }
            Self::MalformedBody => "EOF while parsing a value at line 1 column 11",
            Self::UnknownPath => "there is nothing at /rnus; see /docs for what there is",
            Self::UnknownRateLimit => "no request has drawn from a rate limit \"gihub\"",
            Self::UnknownRecord => "source \"products_csv\" has no record \"SKU-1\"",
            Self::UnknownDefinition => "no run had a job file \"5f1d7a84db00d2fce00b31a7fc73224f\"",
            Self::UnknownDrift => "there is no change 7 of a schema",
            Self::DriftAcknowledged => {
                "cli:eva acknowledged the change of \"stock\" of source products_csv at 2026-01-01 00:00:00 UTC"
            }
            Self::MethodNotAllowed => "/runs takes POST, GET, HEAD, not DELETE",
            Self::RunEnded => "run 7 has ended: it is success",
            Self::NothingToRetry => "run 7 has no failed task",
            Self::NothingHeldBack => "run 7 holds no deletions back",
            Self::NothingToReplay => "no row of \"products_csv\" is kept",
            Self::SourcePaused => "source \"products_csv\" is paused: stocktaking",
            Self::SourceNotPaused => "source \"products_csv\" is not paused",
            Self::SlowRequest => "the body must arrive within 10 s",
            Self::TooManyRequests => "this client asks too often; try again in 1 s",
            Self::BodyTooLarge => "a body may have 1048576 bytes at most",
            Self::DamagedBody => "the body ended before it was complete",
            Self::NoRoom => "the folder for uploads is full",
            Self::UnreadFile => {
                "csv.paths: no entry leads to /srv/uploads/products_csv/prices.csv; add \"../uploads/products_csv/*.csv\""
            }
            Self::NoUploads => "the setting `upload_dir` names the folder for uploaded files",
            Self::FileExists => {
                "products_csv has a file prices.csv with other content; `replace=true` replaces it"
            }
            Self::UnsupportedMediaType => {
                "send the body with the header `Content-Type: application/json`"
            }
            Self::InvalidRequest => "unknown field `sorce`, expected `source` at line 1 column 8",
            Self::InvalidJobFile => {
                "jobs/products_csv.toml:8: csv.path: unknown key; did you mean `paths`?"
            }
            Self::UnreadableSource => {
                "https://api.example.com/v1/items answered 401 Unauthorized: see `rest_api.auth`"
            }
            Self::Busy => "too many requests are being worked on; try again",
        };
        Problem::new(self, detail)
    }
}

/// The examples of problems of these kinds, as a media type refers to them.
pub(crate) fn examples(kinds: impl IntoIterator<Item = Kind>) -> Map<String, Value> {
    let of = |kind: Kind| {
        let reference = json!({ "$ref": format!("#/components/examples/{}", kind.short()) });
        (kind.short().to_owned(), reference)
    };
    kinds.into_iter().map(of).collect()
}

/// An example of each problem, as the document keeps them.
pub(crate) fn all_examples() -> Map<String, Value> {
    let example = |kind: &Kind| {
        let example = json!({ "summary": kind.title(), "value": kind.example().to_json() });
        (kind.short().to_owned(), example)
    };
    Kind::ALL.iter().map(example).collect()
}

/// The problems that an operation can answer, besides those that every operation has.
pub(crate) trait Declares: Send + Sync + 'static {
    /// Each kind that a handler of the operation, or the reading of its parameters, may produce.
    const KINDS: &'static [Kind];
}

/// Any handler may meet these.
const EVERYWHERE: &[Kind] = &[Kind::Internal, Kind::Unavailable];

/// A problem of the operation `O`, which declares it in the document.
pub(crate) struct Refusal<O> {
    problem: Problem,
    operation: PhantomData<fn() -> O>,
}

impl<O: Declares> From<Problem> for Refusal<O> {
    fn from(problem: Problem) -> Self {
        let declared = || O::KINDS.iter().chain(EVERYWHERE);
        debug_assert!(declared().any(|kind| *kind == problem.kind), "undeclared {problem:?}");
        Self { problem, operation: PhantomData }
    }
}

impl<O: Declares> From<sqlx::Error> for Refusal<O> {
    fn from(error: sqlx::Error) -> Self {
        Problem::from(error).into()
    }
}

impl<O> From<Refusal<O>> for poem::Error {
    fn from(refusal: Refusal<O>) -> Self {
        refusal.problem.into()
    }
}

impl<O: Declares> ApiResponse for Refusal<O> {
    fn meta() -> MetaResponses {
        let mut kinds = BTreeMap::<StatusCode, Vec<Kind>>::new();
        for kind in O::KINDS.iter().chain(EVERYWHERE) {
            kinds.entry(kind.status()).or_default().push(*kind);
        }
        let declared = kinds.into_iter().map(|(status, kinds)| declare(status, kinds));
        MetaResponses { responses: declared.collect() }
    }

    fn register(registry: &mut Registry) {
        <Problem as Type>::register(registry);
    }
}

/// poem-openapi has no examples of media types, only of schemas: `declared` takes them from there.
fn declare(status: StatusCode, kinds: Vec<Kind>) -> MetaResponse {
    let schema = MetaSchema {
        all_of: vec![<Problem as Payload>::schema_ref()],
        example: Some(Value::Object(examples(kinds))),
        ..MetaSchema::ANY
    };
    MetaResponse {
        description: describe(status),
        status: Some(status.as_u16()),
        status_range: None,
        content: vec![MetaMediaType {
            content_type: <Problem as Payload>::CONTENT_TYPE,
            schema: MetaSchemaRef::Inline(Box::new(schema)),
        }],
        headers: Vec::new(),
    }
}

fn describe(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 => "A parameter or the body cannot be read; `detail` says which and where.",
        404 => "It does not exist; `type` says what.",
        409 => {
            "The state of the run or the source does not allow this; `type` says how, `detail` which."
        }
        408 => "The body did not arrive in time.",
        413 => "The body is larger than it may be; `detail` says how large that is.",
        415 => "The body is of a type that is not taken here; `detail` says which is.",
        422 => "The request can be read and cannot be followed; `detail` says why.",
        507 => "There is no room for the file.",
        502 => "The source cannot be read; `detail` says why.",
        503 => "The database does not answer, or not in time; try again.",
        _ => "A fault of kasparro; its log says more.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Operation;
    impl Declares for Operation {
        const KINDS: &'static [Kind] = &[Kind::InvalidRequest, Kind::InvalidJobFile];
    }

    #[tokio::test]
    async fn a_problem_is_rfc_9457_json() {
        let response = Problem::run_active("vendors_csv", 7).into_response();
        assert_eq!(response.status(), StatusCode::CONFLICT);
        assert_eq!(response.content_type(), Some("application/problem+json"));
        let body: serde_json::Value = response.into_body().into_json().await.unwrap();
        let expected = serde_json::json!({
            "type": "urn:kasparro:problem:run-active",
            "title": "The source has an active run",
            "status": 409,
            "detail": "run 7 of source \"vendors_csv\" is active; start the next one when it has \
                       ended",
            "run_id": 7,
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn text_of_the_database_does_not_reach_a_client() {
        let error = sqlx::Error::Protocol("password of user kasparro".to_owned());
        let problem = Problem::from(error);
        assert_eq!(problem.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(!problem.to_json_string().contains("password"));
        assert_eq!(
            Problem::from(sqlx::Error::RowNotFound).status(),
            StatusCode::INTERNAL_SERVER_ERROR
        );
    }

    #[test]
    fn kinds_of_one_status_are_declared_once() {
        let meta = Refusal::<Operation>::meta();
        let statuses: Vec<_> = meta.responses.iter().filter_map(|r| r.status).collect();
        assert_eq!(statuses, [422, 500, 503]);
    }

    #[test]
    fn every_kind_has_a_urn_of_its_own() {
        for kind in Kind::ALL {
            assert!(kind.as_str().starts_with("urn:kasparro:problem:"), "{kind}");
        }
    }
}
