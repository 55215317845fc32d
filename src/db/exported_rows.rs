//! Owns reading all rows of a source: its records, the rows that were set aside, or both in the order in which they
//! came. They are read through a cursor, so that nothing holds more than a few of them, and all as they were at one
//! moment.
//!
//! Must not know what they are written as.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures::TryStreamExt;
use sqlx::{AssertSqlSafe, PgPool, Row};
use tokio::sync::mpsc;

use super::Transaction;
use super::typed_columns::{TypedColumn, literal, micros};
use crate::domain::string_enum::string_enum;
use crate::values::calendar::write_instant;
use crate::values::field::FieldKind;

/// Bytes that are read at a time, about.
const AT_ONCE: usize = 1 << 20;
/// The most rows that are read at a time.
const MOST_ROWS: usize = 1_000;

string_enum! {
    /// Which rows of a source are exported.
    Which ("kind of rows") {
        /// Its records, in the order of their keys.
        Records = "records",
        /// The rows that are set aside, in the order in which they came.
        Quarantine = "quarantine",
        /// Both, in the order in which they came.
        All = "all",
    }
}

/// How values are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As text.
    Text,
    /// As JSON text.
    Json,
}

/// What is exported.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The source, whose name is one.
    pub source: String,
    /// Its mapped fields.
    pub columns: Vec<TypedColumn>,
    /// Which rows.
    pub which: Which,
    /// Also records that are marked as deleted.
    pub deleted: bool,
    /// Also where each record comes from, and when it was written.
    pub lineage: bool,
    /// How values are read.
    pub form: Form,
}

/// A row as it came, where it is UTF-8, and where it is not.
const RAW_TEXT: &str = "raw_text";
const RAW_BASE64: &str = "raw_base64";

/// A row: a value per name, `None` where there is none.
pub type Values = Vec<Option<String>>;

/// Rows that are being read, by a task of their own: it waits for whoever takes them, and ends with them.
#[derive(Debug)]
pub struct ExportedRows {
    names: Vec<String>,
    kinds: Vec<FieldKind>,
    parts: mpsc::Receiver<Result<Vec<Values>, sqlx::Error>>,
}

impl ExportedRows {
    /// Begins to read them so many times, one after the other: each time the same ones.
    ///
    /// # Errors
    /// Database errors.
    pub async fn open(pool: &PgPool, wanted: &Wanted, times: usize) -> Result<Self, sqlx::Error> {
        let Selected { names, kinds, statement, reading } = wanted.select();
        let mut transaction = Transaction::begin(pool).await?;
        if times > 1 {
            sqlx::raw_sql("set transaction isolation level repeatable read, read only")
                .execute(&mut *transaction)
                .await?;
        }
        let (send, parts) = mpsc::channel(1);
        tokio::spawn(async move {
            let all = read_all(transaction, &statement, times, &reading, &send);
            if let Err(error) = all.await {
                // Nobody may be there any more.
                let _ = send.send(Err(error)).await;
            }
        });
        Ok(Self { names, kinds, parts })
    }

    /// What the values of each row are called.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Of which types these are, in rows that are text.
    pub fn kinds(&self) -> &[FieldKind] {
        &self.kinds
    }

    /// The next rows; none behind the last.
    ///
    /// # Errors
    /// Database errors.
    pub async fn next(&mut self) -> Result<Vec<Values>, sqlx::Error> {
        // The last part is empty: without it not all rows came.
        self.parts.recv().await.unwrap_or(Err(sqlx::Error::WorkerCrashed))
    }
}

/// Reads all rows so many times, and sends them in parts: behind the last one of each time comes an empty one. Abandoned
/// before, the connection is closed.
async fn read_all(
    mut transaction: Transaction,
    statement: &str,
    times: usize,
    reading: &Reading,
    send: &mpsc::Sender<Result<Vec<Values>, sqlx::Error>>,
) -> Result<(), sqlx::Error> {
    for time in 1..=times {
        let Some(part) = read(&mut transaction, statement.to_owned(), reading, send).await? else {
            return Ok(());
        };
        if !part.is_empty() && send.send(Ok(part)).await.is_err() {
            return Ok(());
        }
        if time < times && send.send(Ok(Vec::new())).await.is_err() {
            return Ok(());
        }
    }
    transaction.rollback().await?;
    // Nobody may be there any more.
    let _ = send.send(Ok(Vec::new())).await;
    Ok(())
}

/// Reads the rows to their end, row by row, and sends all but the last part of them; `None` if nobody takes them any more.
async fn read(
    transaction: &mut Transaction,
    statement: String,
    reading: &Reading,
    send: &mpsc::Sender<Result<Vec<Values>, sqlx::Error>>,
) -> Result<Option<Vec<Values>>, sqlx::Error> {
    // Not kept as a prepared one: sqlx remembers the columns of those by their text.
    let query = sqlx::query(AssertSqlSafe(statement)).persistent(false);
    let mut rows = query.fetch(&mut **transaction);
    let (mut part, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.try_next().await? {
        let mut values =
            (0..row.len()).map(|column| row.try_get(column)).collect::<Result<Values, _>>()?;
        reading.show(&mut values);
        bytes += values.iter().flatten().map(String::len).sum::<usize>();
        part.push(values);
        if bytes >= AT_ONCE || part.len() >= MOST_ROWS {
            bytes = 0;
            if send.send(Ok(std::mem::take(&mut part))).await.is_err() {
                return Ok(None);
            }
        }
    }
    Ok(Some(part))
}

/// What is done to the values of a row before it is shown.
#[derive(Debug)]
struct Reading {
    /// Which of the values is a raw row in base64; the one in front of it is for its text.
    raw: Option<usize>,
    /// Which are times, as microseconds since 1970.
    times: Vec<usize>,
    form: Form,
}

impl Reading {
    fn show(&self, row: &mut Values) {
        if let Some(raw) = self.raw {
            show_raw(row, raw, self.form);
        }
        for time in &self.times {
            let micros = row[*time].take().and_then(|micros| micros.parse().ok());
            row[*time] = micros.map(|micros| {
                let mut text = String::new();
                write_instant(micros, &mut text);
                self.form.of(text)
            });
        }
    }
}

impl Form {
    fn of(self, text: String) -> String {
        match self {
            Self::Text => text,
            Self::Json => serde_json::Value::from(text).to_string(),
        }
    }
}

/// Shows a raw row as text if it is one.
fn show_raw(row: &mut Values, at: usize, form: Form) {
    let Some(base64) = row[at].take() else { return };
    let text = BASE64_STANDARD.decode(&base64).ok().and_then(|raw| String::from_utf8(raw).ok());
    match text {
        Some(text) => row[at - 1] = Some(form.of(text)),
        None => row[at] = Some(form.of(base64)),
    }
}

/// A value of a row: what it is called, and how it is had of a record and of a row that was set aside.
struct Column {
    name: String,
    kind: FieldKind,
    of_record: String,
    of_rejected: String,
    is_time: bool,
}

/// How rows are read.
struct Selected {
    names: Vec<String>,
    kinds: Vec<FieldKind>,
    statement: String,
    reading: Reading,
}

impl Wanted {
    /// How many values each row has.
    pub fn width(&self) -> usize {
        self.listed().len()
    }

    /// The statement that gives the rows, and what is done to them.
    fn select(&self) -> Selected {
        let columns = self.listed();
        let list = |of: fn(&Column) -> &str| {
            let listed: Vec<_> = columns.iter().map(of).collect();
            listed.join(", ")
        };
        let source = literal(&self.source);
        let alive = if self.deleted { "" } else { " and r.deleted_at is null" };
        let select = match self.which {
            Which::Records => format!(
                "select {} from unified_records as r where r.source = {source}{alive} order by r.external_id",
                list(|column| &column.of_record),
            ),
            Which::Quarantine => format!(
                "with {}, {} select {} from q left join p on p.raw_ref = q.raw_ref
                 order by p.run, p.place, p.id, q.raw_row",
                places(&source),
                rejected(&source),
                list(|column| &column.of_rejected),
            ),
            Which::All => format!(
                "with {}, {} select {} from (
                    select p.run, p.place, p.id, r.raw_row as at, 0 as set_aside, array[{}]::text[] as v
                    from unified_records as r left join p on p.raw_ref = r.raw_ref where r.source = {source}{alive}
                    union all
                    select p.run, p.place, p.id, q.raw_row, 1, array[{}]::text[]
                    from q left join p on p.raw_ref = q.raw_ref
                 ) as both_kinds order by run, place, id, at, set_aside",
                places(&source),
                rejected(&source),
                (1..=columns.len()).map(|at| format!("v[{at}]")).collect::<Vec<_>>().join(", "),
                list(|column| &column.of_record),
                list(|column| &column.of_rejected),
            ),
        };
        let times = columns.iter().enumerate().filter(|(_, column)| column.is_time);
        let times = times.map(|(at, _)| at).collect();
        let kinds = columns.iter().map(|column| column.kind).collect();
        let names: Vec<_> = columns.into_iter().map(|column| column.name).collect();
        let shows_raw = self.which != Which::Records;
        let raw = names.iter().rposition(|name| shows_raw && name.ends_with(RAW_BASE64));
        let reading = Reading { raw, times, form: self.form };
        Selected { names, kinds, statement: select, reading }
    }

    fn listed(&self) -> Vec<Column> {
        let text = |value: &str| match self.form {
            Form::Text => value.to_owned(),
            Form::Json => format!("to_json({value})::text"),
        };
        let number = |value: &str| format!("({value})::text");
        let list = |value: &str| match self.form {
            Form::Text => format!("array_to_string({value}, '; ')"),
            Form::Json => format!("to_json({value})::text"),
        };
        let column = |name: &str, of_record: String, of_rejected: String| Column {
            name: name.to_owned(),
            kind: FieldKind::Text,
            of_record,
            of_rejected,
            is_time: false,
        };
        let whole = |column: Column| Column { kind: FieldKind::Integer, ..column };
        let none = || "null::text".to_owned();
        let both = |name: &str, value: &dyn Fn(&str) -> String| {
            column(name, value(&format!("r.{name}")), value(&format!("q.{name}")))
        };
        let mut columns = Vec::new();
        if self.which == Which::All {
            columns.push(column(
                "outcome",
                text("case when r.deleted_at is null then 'record' else 'deleted' end"),
                text("'quarantined'::text"),
            ));
        }
        if self.which != Which::Quarantine {
            columns.push(column("external_id", text("r.external_id"), text("q.external_id")));
            columns.extend(self.columns.iter().map(|field| Column {
                name: field.name.clone(),
                kind: field.kind(),
                of_record: match self.form {
                    Form::Text => field.text(),
                    Form::Json => field.json(),
                },
                of_rejected: none(),
                is_time: field.is_time(),
            }));
        }
        if self.which != Which::Records {
            columns.push(column("file", none(), text("p.file")));
            columns.push(whole(column("line", none(), number("q.line"))));
            columns.push(column("reasons", none(), list("q.reasons")));
            columns.push(column("messages", none(), list("q.messages")));
            // Which of the two it is, is seen when it is read.
            columns.push(column(RAW_TEXT, none(), none()));
            columns.push(column(RAW_BASE64, none(), "q.raw".to_owned()));
        }
        if self.which != Which::Records || self.lineage {
            columns.push(both("raw_ref", &text));
            columns.push(whole(both("raw_row", &number)));
        }
        if self.which != Which::Quarantine && self.lineage {
            for name in ["first_run_id", "last_run_id"] {
                columns.push(whole(column(name, number(&format!("r.{name}")), none())));
            }
            for name in ["created_at", "updated_at", "deleted_at"] {
                let time = micros(&format!("r.{name}"));
                let kind = FieldKind::Timestamp;
                columns.push(Column { is_time: true, kind, ..column(name, time, none()) });
            }
        }
        self.beside_fields(columns)
    }

    /// A field keeps its name; what else there is of a row gives way.
    fn beside_fields(&self, mut columns: Vec<Column>) -> Vec<Column> {
        if self.which == Which::Quarantine {
            return columns;
        }
        let first = usize::from(self.which == Which::All) + 1;
        let fields = first..first + self.columns.len();
        for at in (0..columns.len()).filter(|at| !fields.contains(at)) {
            while self.columns.iter().any(|field| field.name == columns[at].name) {
                columns[at].name.insert(0, '_');
            }
        }
        columns
    }
}

/// Where payloads stand in the order in which they came.
fn places(source: &str) -> String {
    format!(
        "p as (
            select 'file/' || id as raw_ref, url as file, first_run_id as run, coalesce(streamed_from, -1) as place, id
            from source_files where source = {source}
            union all
            select 'page/' || encode(page_hash, 'hex'), null, run_id, slice, 0
            from raw_api_pages where source = {source}
        )"
    )
}

/// The rows that are set aside, one a row, with everything that is wrong with each.
fn rejected(source: &str) -> String {
    format!(
        "q as (
            select raw_ref, raw_row, min(line) as line, min(external_id) as external_id,
                array_agg(case field when '' then reason else field || ': ' || reason end
                          order by field, reason) as reasons,
                array_agg(message order by field, reason) as messages,
                replace(encode((array_agg(raw order by octet_length(raw) desc))[1], 'base64'), chr(10), '') as raw
            from quarantined_rows where source = {source} and status in ('open', 'redriven')
            group by raw_ref, raw_row
        )"
    )
}
