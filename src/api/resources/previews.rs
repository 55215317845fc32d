//! Owns looking at a source before anything of it is loaded, and how that is shown.

use std::collections::BTreeMap;
use std::time::Duration;

use poem::web::Data;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use serde_json::Value;
use tokio::time::timeout;

use super::catalog::Catalog;
use crate::api::http::problem::{Declares, Kind, Problem, Refusal};
use crate::api::openapi::tags::Tag;
use crate::api::state::ApiState;
use crate::domain::source_name::SourceName;
use crate::sources::{self, Finding};
use crate::tasks::in_memory::{self, HowToRead, ReadInMemory};

/// The most slices that are looked at: two pages tell more than one.
pub(crate) const MOST_SLICES: usize = 2;
/// The most records, and rows that would be set aside, that are shown.
const SHOWN: usize = 3;
/// How long a source may take to answer: less than a request to this API may take in all.
const LONGEST: Duration = Duration::from_secs(25);

/// What a source gives first. Nothing of it is loaded.
#[derive(Debug, Object)]
pub(crate) struct Preview {
    /// Name of the source.
    source: String,
    counts: PreviewCounts,
    /// The pages or pieces of files that were read, in order.
    slices: Vec<PreviewSlice>,
    /// The first of the records, as the table would have them: `external_id` and their filled columns.
    records: Vec<Value>,
    /// The first of the rows that would be set aside.
    set_aside: Vec<PreviewRow>,
    /// What there is to know for the job file.
    findings: Vec<PreviewFinding>,
    /// The fields of the source, with how often each type was seen in them.
    fields: BTreeMap<String, BTreeMap<String, u64>>,
    /// What there is to say of the whole.
    remarks: Vec<String>,
    /// Whether there is more to read.
    more: bool,
    /// Why no more could be read; only `kasparro preview --json` has it, over HTTP that is a problem.
    #[oai(nullable)]
    error: Option<String>,
}

/// How many there are in what was read.
#[derive(Debug, Object)]
struct PreviewCounts {
    /// Records.
    records: u64,
    /// Rows that would be set aside.
    set_aside: u64,
}

/// A page or a piece of a file.
#[derive(Debug, Object)]
struct PreviewSlice {
    /// The address or the file.
    from: String,
    /// Its rows, good and bad.
    rows: i64,
    /// Its bytes.
    bytes: u64,
}

/// A row that would be set aside.
#[derive(Debug, Object)]
struct PreviewRow {
    /// The address or the file that it is in.
    from: String,
    /// Its number there, from 1.
    row: i64,
    /// What is wrong with it.
    defects: Vec<String>,
}

/// Something that was found, and what to do about it.
#[derive(Debug, Object)]
struct PreviewFinding {
    /// What it is about, in a word or two.
    topic: String,
    /// What was found.
    text: String,
    /// Whether something is likely to be wrong.
    suspicious: bool,
    /// A line for the job file.
    #[oai(nullable)]
    suggestion: Option<String>,
}

/// `POST /sources/{name}/preview`
struct PreviewSource;
impl Declares for PreviewSource {
    const KINDS: &'static [Kind] = &[
        Kind::InvalidParameter,
        Kind::UnknownSource,
        Kind::InvalidJobFile,
        Kind::UnreadableSource,
    ];
}

/// The operation that looks at a source.
pub(crate) struct PreviewsApi;

#[OpenApi(tag = "Tag::Sources")]
impl PreviewsApi {
    /// Preview a source
    ///
    /// Asks an API for one page, and a second one if there is one, or looks at the first pieces of files, and
    /// says what is found. Nothing is loaded. A source that takes longer than 25 seconds is looked at by
    /// `kasparro preview`.
    #[oai(path = "/sources/:name/preview", method = "post", operation_id = "preview_source")]
    async fn preview(
        &self,
        state: Data<&ApiState>,
        /// The source's name.
        name: Path<SourceName>,
    ) -> Result<Json<Preview>, Refusal<PreviewSource>> {
        let name = name.0.as_str();
        let catalog = Catalog::load(&state.jobs).await?;
        let definition = catalog.require(name)?.clone();
        let allowed_roots = state.allowed_roots.clone();
        let unreadable = |text: String| Problem::new(Kind::UnreadableSource, text);
        let how = HowToRead {
            access: state.access,
            tokens: state.tokens.of(name),
            most_slices: Some(MOST_SLICES),
            examine: true,
            pool: Some(state.pool.clone()),
        };
        let reading = async move {
            let source = sources::open(&definition, &allowed_roots)?;
            in_memory::read(&definition, &source, &how).await
        };
        match timeout(LONGEST, reading).await {
            Ok(Ok(read)) => match &read.failure {
                Some(failure) => {
                    let findings = read.findings.iter();
                    let said =
                        findings.map(|finding| format!("; {}: {}", finding.topic, finding.text));
                    Err(unreadable(format!("{failure}{}", said.collect::<String>())).into())
                }
                None => Ok(Json(Preview::of(name, read))),
            },
            Ok(Err(error)) => Err(unreadable(error.to_string()).into()),
            Err(_) => {
                let seconds = LONGEST.as_secs();
                let text = format!(
                    "source {name:?} took longer than {seconds} s: `kasparro preview {name}` waits for it"
                );
                Err(unreadable(text).into())
            }
        }
    }
}

impl Preview {
    /// What was read of a source, as much of it as is shown.
    pub(crate) fn of(source: &str, read: ReadInMemory) -> Self {
        let ReadInMemory { slices, records, set_aside, findings, fields, remarks, more, failure } =
            read;
        let counts =
            PreviewCounts { records: records.len() as u64, set_aside: set_aside.len() as u64 };
        let records = records.iter().take(SHOWN);
        let slices = slices.into_iter();
        let set_aside = set_aside.into_iter().take(SHOWN);
        let fields = fields.into_iter().map(|(name, types)| {
            let types = types.into_iter().map(|(kind, count)| (kind.to_owned(), count));
            (name, types.collect())
        });
        Self {
            source: source.to_owned(),
            counts,
            slices: slices
                .map(|slice| PreviewSlice {
                    from: slice.from,
                    rows: slice.rows,
                    bytes: slice.bytes,
                })
                .collect(),
            records: records.filter_map(|record| serde_json::to_value(record).ok()).collect(),
            set_aside: set_aside
                .map(|row| PreviewRow { from: row.from, row: row.row, defects: row.defects })
                .collect(),
            findings: findings.into_iter().map(PreviewFinding::from).collect(),
            fields: fields.collect(),
            remarks,
            more,
            error: failure,
        }
    }
}

impl From<Finding> for PreviewFinding {
    fn from(finding: Finding) -> Self {
        let Finding { topic, text, suspicious, suggestion } = finding;
        Self { topic: topic.to_owned(), text, suspicious, suggestion }
    }
}
