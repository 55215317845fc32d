//! Owns exporting the rows of a source as CSV, JSON Lines or Parquet, for the API and the command line alike.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use poem::web::Data;
use poem::{Body, IntoResponse, Response};
use poem_openapi::param::Query;
use poem_openapi::registry::{
    MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry,
};
use poem_openapi::{ApiResponse, OpenApi};
use sqlx::PgPool;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

use super::catalog::Catalog;
#[cfg(feature = "parquet")]
use super::parquet_file::ParquetFile;
use crate::api::http::problem::{Declares, Kind, Problem, Refusal};
use crate::api::openapi::enums::string_enums;
use crate::api::openapi::tags::Tag;
use crate::api::state::ApiState;
use crate::db::exported_rows::{ExportedRows, Form, Values, Wanted, Which};
use crate::db::typed_columns::TypedColumn;
use crate::domain::source_name::SourceName;
use crate::domain::string_enum::string_enum;
use crate::sources::formats;

/// Exports at once in one process: each holds a connection to the database.
const MOST: usize = 4;
/// The longest that one may take over HTTP: the database keeps for it all that was there when it began.
const LONGEST: Duration = Duration::from_secs(3600);
/// The most columns of a row: PostgreSQL answers 1,664 at most.
const MOST_COLUMNS: usize = 1_600;
static ROOM: Semaphore = Semaphore::const_new(MOST);

string_enum! {
    /// What rows are written as.
    ExportFormat ("export format") {
        /// A header and a line per row; what has no value is empty.
        Csv = "csv",
        /// One JSON object per line.
        Jsonl = "jsonl",
        /// A file of Parquet, with a typed column per field.
        Parquet = "parquet",
    }
}

string_enums! {
    ExportFormat = "ExportFormat": "What rows are written as.",
    Which = "ExportedRows": "Which rows of a source are exported.",
}

/// The rows that are exported where nothing is said.
fn records() -> Which {
    Which::Records
}

/// Rows of a source on their way.
pub(crate) struct Export {
    rows: ExportedRows,
    format: ExportFormat,
    /// The first rows, until they are written: what is wrong with all of them shows with these.
    first: Option<Vec<Values>>,
    /// Whether there are no rows at all, or no more.
    ended: bool,
    #[cfg(feature = "parquet")]
    file: ParquetFile,
}

/// Why rows cannot be written so, if this kasparro cannot.
pub(crate) fn missing(format: ExportFormat) -> Option<&'static str> {
    formats::parquet::MISSING.filter(|_| format == ExportFormat::Parquet)
}

impl Export {
    /// Begins to read.
    ///
    /// # Errors
    /// Database errors.
    pub(crate) async fn open(
        pool: &PgPool,
        mut wanted: Wanted,
        format: ExportFormat,
    ) -> Result<Self, sqlx::Error> {
        wanted.form = match format {
            ExportFormat::Csv | ExportFormat::Parquet => Form::Text,
            ExportFormat::Jsonl => Form::Json,
        };
        // The types of a file stand before its values, and depend on all of them.
        let times = if format == ExportFormat::Parquet { 2 } else { 1 };
        let mut rows = ExportedRows::open(pool, &wanted, times).await?;
        let first = Some(rows.next().await?);
        Ok(Self {
            #[cfg(feature = "parquet")]
            file: ParquetFile::of(rows.names(), rows.kinds()),
            rows,
            format,
            first,
            ended: false,
        })
    }

    /// The next part, and how many rows are in it; `None` behind the last.
    ///
    /// # Errors
    /// Database errors.
    pub(crate) async fn next(&mut self) -> Result<Option<(Bytes, usize)>, sqlx::Error> {
        if self.format == ExportFormat::Parquet {
            return self.next_of_file().await;
        }
        let is_first = self.first.is_some();
        let rows = match self.first.take() {
            // Behind the last part nothing more is asked for.
            Some(rows) if rows.is_empty() && self.format == ExportFormat::Csv => {
                self.ended = true;
                rows
            }
            Some(rows) => rows,
            None if self.ended => return Ok(None),
            None => self.rows.next().await?,
        };
        if rows.is_empty() && !self.ended {
            return Ok(None);
        }
        let written = match self.format {
            ExportFormat::Csv => csv(self.rows.names(), is_first, &rows),
            _ => Ok(jsonl(self.rows.names(), &rows)),
        };
        let written = written.map_err(|error| sqlx::Error::Encode(error.into()))?;
        Ok(Some((written.into(), rows.len())))
    }

    /// The same of a file of Parquet, a part of which is many rows.
    #[cfg(feature = "parquet")]
    async fn next_of_file(&mut self) -> Result<Option<(Bytes, usize)>, sqlx::Error> {
        let cannot = |error: io::Error| sqlx::Error::Encode(error.into());
        if let Some(mut rows) = self.first.take() {
            while !rows.is_empty() {
                self.file.look_at(&rows);
                rows = self.rows.next().await?;
            }
        }
        let (mut part, mut count) = (Vec::new(), 0);
        while part.is_empty() && !self.ended {
            let rows = self.rows.next().await?;
            count += rows.len();
            self.ended = rows.is_empty();
            part = match self.ended {
                true => self.file.end(),
                false => self.file.write(&rows),
            }
            .map_err(cannot)?;
        }
        Ok((!part.is_empty()).then(|| (part.into(), count)))
    }

    /// Nobody gets as far as here: see [`missing`].
    #[cfg(not(feature = "parquet"))]
    async fn next_of_file(&mut self) -> Result<Option<(Bytes, usize)>, sqlx::Error> {
        let missing = missing(self.format).unwrap_or_default();
        Err(sqlx::Error::Encode(io::Error::other(missing).into()))
    }
}

fn csv(names: &[String], with_header: bool, rows: &[Values]) -> Result<Vec<u8>, io::Error> {
    let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
    if with_header {
        writer.write_record(names)?;
    }
    for row in rows {
        writer.write_record(row.iter().map(|value| value.as_deref().unwrap_or_default()))?;
    }
    writer.into_inner().map_err(csv::IntoInnerError::into_error)
}

/// Each value is JSON text.
fn jsonl(names: &[String], rows: &[Values]) -> Vec<u8> {
    let names: Vec<_> =
        names.iter().map(|name| serde_json::Value::from(name.as_str()).to_string()).collect();
    let mut out = Vec::new();
    for row in rows {
        let mut before = b'{';
        for (name, value) in names.iter().zip(row) {
            out.push(before);
            out.extend_from_slice(name.as_bytes());
            out.push(b':');
            out.extend_from_slice(value.as_deref().unwrap_or("null").as_bytes());
            before = b',';
        }
        out.extend_from_slice(b"}\n");
    }
    out
}

/// A file that is made while it is sent: it breaks off if it cannot be made to its end.
struct Exported {
    source: String,
    format: ExportFormat,
    body: BoxStream<'static, Result<Bytes, io::Error>>,
}

/// What a format is called in HTTP.
fn media_type(format: ExportFormat) -> &'static str {
    match format {
        ExportFormat::Csv => "text/csv; charset=utf-8",
        ExportFormat::Jsonl => "application/jsonl",
        ExportFormat::Parquet => "application/vnd.apache.parquet",
    }
}

/// By hand: of several answers with one status `#[derive(ApiResponse)]` shows the last.
impl ApiResponse for Exported {
    fn meta() -> MetaResponses {
        let content = |format: &ExportFormat| MetaMediaType {
            content_type: media_type(*format),
            schema: MetaSchemaRef::Inline(Box::new(MetaSchema::new_with_format(
                "string", "binary",
            ))),
        };
        MetaResponses {
            responses: vec![MetaResponse {
                description: "The rows: a header and a line per row, an object per line, or a file with typed columns.",
                status: Some(200),
                status_range: None,
                content: ExportFormat::ALL.iter().map(content).collect(),
                headers: Vec::new(),
            }],
        }
    }

    fn register(_registry: &mut Registry) {}
}

impl IntoResponse for Exported {
    fn into_response(self) -> Response {
        let name = format!("attachment; filename=\"{}.{}\"", self.source, self.format);
        Response::builder()
            .content_type(media_type(self.format))
            .header("content-disposition", name)
            .body(Body::from_bytes_stream(self.body))
    }
}

/// `GET /records/export`
struct ExportRecords;
impl Declares for ExportRecords {
    const KINDS: &'static [Kind] =
        &[Kind::InvalidParameter, Kind::UnknownSource, Kind::InvalidJobFile, Kind::Busy];
}

/// The operation that exports rows.
pub(crate) struct ExportApi;

#[OpenApi(tag = "Tag::Records")]
impl ExportApi {
    /// Export the rows of a source
    ///
    /// All of them as they are at one moment, while they are read from the database: with the mapped fields of the job
    /// file as columns. Numbers with a fraction are texts in JSON, so that every digit stays; in Parquet, which kasparro
    /// may have been built without, columns have types that hold all their values exactly. A response that breaks off is
    /// not whole. There is room for 4 exports at a time, and each may take an hour.
    #[oai(path = "/records/export", method = "get", operation_id = "export_records")]
    async fn export(
        &self,
        state: Data<&ApiState>,
        /// The source.
        source: Query<SourceName>,
        /// What the rows are written as.
        format: Query<ExportFormat>,
        /// Records, rows that are set aside, or both in the order in which they came.
        #[oai(default = "records")]
        rows: Query<Which>,
        /// Also records that are marked as deleted.
        #[oai(default)]
        deleted: Query<bool>,
        /// Also where each record comes from, and when it was written.
        #[oai(default)]
        lineage: Query<bool>,
    ) -> Result<Exported, Refusal<ExportRecords>> {
        let room = ROOM.try_acquire().map_err(|_| {
            Problem::new(Kind::Busy, format!("{MOST} exports are under way; try again"))
        })?;
        let catalog = Catalog::load(&state.jobs).await?;
        let columns = TypedColumn::of(&catalog.require(source.as_str())?.fields);
        let wanted = Wanted {
            source: source.0.to_string(),
            columns,
            which: rows.0,
            deleted: deleted.0,
            lineage: lineage.0,
            form: Form::Text,
        };
        if let Some(missing) = missing(format.0) {
            return Err(Problem::new(Kind::InvalidParameter, missing).into());
        }
        if let Some(wide) = too_wide(&wanted) {
            return Err(Problem::new(Kind::InvalidParameter, wide).into());
        }
        // Waits no longer for a connection than other requests.
        drop(state.connection().await?);
        let export = Export::open(&state.pool, wanted, format.0).await?;
        let body = parts(export, room).boxed();
        Ok(Exported { source: source.0.to_string(), format: format.0, body })
    }
}

/// The parts of an export as they are asked for.
fn parts(
    export: Export,
    room: SemaphorePermit<'static>,
) -> impl futures::Stream<Item = Result<Bytes, io::Error>> + Send + 'static {
    let until = Instant::now() + LONGEST;
    stream::unfold(Some((export, room)), move |open| async move {
        let (mut export, room) = open?;
        let late = "it took more than an hour";
        let next = timeout_at(until, export.next()).await;
        match next.unwrap_or_else(|_| Err(sqlx::Error::Io(io::Error::other(late)))) {
            Ok(part) => part.map(|(bytes, _)| (Ok(bytes), Some((export, room)))),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "an export broke off");
                Some((Err(io::Error::other(error)), None))
            }
        }
    })
}

/// Says so if the rows have more values than the database can give at once.
pub(crate) fn too_wide(wanted: &Wanted) -> Option<String> {
    let width = wanted.width();
    (width > MOST_COLUMNS).then(|| {
        format!("a row would have {width} columns, and {MOST_COLUMNS} are the most: take fewer fields into the job file")
    })
}
