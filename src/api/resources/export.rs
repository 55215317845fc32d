//! Owns exporting the rows of a source as CSV or JSON Lines, for the API and the command line alike.

use std::io;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use poem::web::Data;
use poem::{Body, IntoResponse, Response};
use poem_openapi::param::Query;
use poem_openapi::payload::Payload;
use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::{ApiResponse, OpenApi};
use sqlx::PgPool;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::catalog::Catalog;
use crate::api::http::problem::{Declares, Kind, Problem, Refusal};
use crate::api::openapi::enums::string_enums;
use crate::api::openapi::tags::Tag;
use crate::api::state::ApiState;
use crate::db::exported_rows::{ExportedRows, Form, Values, Wanted, Which};
use crate::db::typed_columns::TypedColumn;
use crate::domain::source_name::SourceName;
use crate::domain::string_enum::string_enum;

/// Exports at once in one process: each holds a connection to the database.
const MOST: usize = 4;
static ROOM: Semaphore = Semaphore::const_new(MOST);

string_enum! {
    /// What rows are written as.
    ExportFormat ("export format") {
        /// A header and a line per row; what has no value is empty.
        Csv = "csv",
        /// One JSON object per line.
        Jsonl = "jsonl",
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
    begun: bool,
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
            ExportFormat::Csv => Form::Text,
            ExportFormat::Jsonl => Form::Json,
        };
        Ok(Self { rows: ExportedRows::open(pool, &wanted).await?, format, begun: false })
    }

    /// The next part, and how many rows are in it; `None` behind the last.
    ///
    /// # Errors
    /// Database errors.
    pub(crate) async fn next(&mut self) -> Result<Option<(Bytes, usize)>, sqlx::Error> {
        let rows = self.rows.next().await?;
        let is_first = !std::mem::replace(&mut self.begun, true);
        if rows.is_empty() && !(is_first && self.format == ExportFormat::Csv) {
            return Ok(None);
        }
        let written = match self.format {
            ExportFormat::Csv => csv(self.rows.names(), is_first, &rows),
            ExportFormat::Jsonl => Ok(jsonl(self.rows.names(), &rows)),
        };
        let written = written.map_err(|error| sqlx::Error::Encode(error.into()))?;
        Ok(Some((written.into(), rows.len())))
    }

    /// Ends reading.
    ///
    /// # Errors
    /// Database errors.
    pub(crate) async fn close(self) -> Result<(), sqlx::Error> {
        self.rows.close().await
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
struct Streamed<const IS_CSV: bool> {
    name: String,
    body: BoxStream<'static, Result<Bytes, io::Error>>,
}

impl<const IS_CSV: bool> Payload for Streamed<IS_CSV> {
    const CONTENT_TYPE: &'static str =
        if IS_CSV { "text/csv; charset=utf-8" } else { "application/jsonl" };

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Inline(Box::new(MetaSchema::new_with_format("string", "binary")))
    }
}

impl<const IS_CSV: bool> IntoResponse for Streamed<IS_CSV> {
    fn into_response(self) -> Response {
        Response::builder()
            .content_type(Self::CONTENT_TYPE)
            .header("content-disposition", format!("attachment; filename=\"{}\"", self.name))
            .body(Body::from_bytes_stream(self.body))
    }
}

#[derive(ApiResponse)]
enum Exported {
    /// A header, and a line per row.
    #[oai(status = 200)]
    Csv(Streamed<true>),
    /// An object per row and line.
    #[oai(status = 200)]
    Jsonl(Streamed<false>),
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
    /// file as columns. Numbers with a fraction are texts in JSON, so that every digit stays. A response that breaks off
    /// is not whole. There is room for 4 exports at a time.
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
        let name = format!("{}.{}", source.as_str(), format.as_str());
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
        // Waits no longer for a connection than other requests.
        drop(state.connection().await?);
        let export = Export::open(&state.pool, wanted, format.0).await?;
        let body = parts(export, room).boxed();
        Ok(match format.0 {
            ExportFormat::Csv => Exported::Csv(Streamed { name, body }),
            ExportFormat::Jsonl => Exported::Jsonl(Streamed { name, body }),
        })
    }
}

/// The parts of an export as they are asked for.
fn parts(
    export: Export,
    room: SemaphorePermit<'static>,
) -> impl futures::Stream<Item = Result<Bytes, io::Error>> + Send + 'static {
    stream::unfold(Some((export, room)), |open| async {
        let (mut export, room) = open?;
        match export.next().await {
            Ok(Some((bytes, _))) => Some((Ok(bytes), Some((export, room)))),
            Ok(None) => {
                // All is sent: that the connection is lost now loses nothing.
                let _ = export.close().await;
                None
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "an export broke off");
                Some((Err(io::Error::other(error)), None))
            }
        }
    })
}
