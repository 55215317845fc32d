//! Owns the statements on `unified_records` that name its columns: all of them are made of the one list in
//! `domain/record.rs`. No macro checks them; `tests/it/record_columns.rs` has the database do so, and
//! compares the list with the table.

use std::sync::LazyLock;

use crate::domain::record::{Column, ColumnSpec, ColumnType};

/// The columns that are not mapped, of those that are written with a record.
const FIXED: [(&str, &str); 5] = [
    ("external_id", "text"),
    ("content_hash", "bytea"),
    ("raw_ref", "text"),
    ("raw_row", "bigint"),
    ("source", "text"),
];

/// The statements for a list of columns.
#[derive(Debug)]
pub struct Statements {
    /// A COPY of records; the columns in the order of [`super::encode_record`].
    pub copy: String,
    /// Inserts records that are new. `$1` is the source, `$2` the run, `$3` to `$6` are arrays of keys, hashes,
    /// references to raw payloads and rows in them, and from `$7` on each mapped column has an array; numbers and JSON are
    /// text. The last two arrays say which records are deleted, and how many rows of the run have updated each so far.
    pub insert: String,
    /// The same for records that may be there.
    pub merge: String,
    /// The same for records that stay deleted, and keep the run that deleted them: those that are stored with the same
    /// content are not touched.
    pub merge_deleted: String,
    /// See [`super::read::fitting`]: `$1` is a source or null, `$2` and `$3` are the key that the page starts
    /// behind, `$4` is the most records, `$5` the most bytes of their texts, `$6` whether deleted ones count.
    pub fitting: String,
    /// A page of one source: `$1` and `$2` as in [`Statements::get`], `$3` the source, `$4` the key that the page
    /// starts behind, `$5` the most records, `$6` whether deleted ones are among them.
    pub list_of_source: String,
    /// The same of keys with a beginning: `$7` is it, `$8` the key behind all that begin so.
    pub fitting_of_prefix: String,
    /// The same of keys with a beginning, as in [`Statements::fitting_of_prefix`].
    pub list_of_prefix: String,
    /// A page of all sources: `$3` and `$4` are the source and the key that the page starts behind, the rest as in
    /// [`Statements::list_of_source`].
    pub list: String,
    /// One record. A record with more than `$1` bytes as JSON is answered without the values that have more
    /// than `$2`; `$3` is the source, `$4` the key.
    pub get: String,
}

/// The statements for the columns that there are.
pub static STATEMENTS: LazyLock<Statements> = LazyLock::new(|| Statements::of(Column::SPECS));

impl Statements {
    /// The statements for these columns.
    pub fn of(columns: &[ColumnSpec]) -> Self {
        let insert = insert(columns);
        let (merge, merge_deleted) =
            (merge(&insert, columns, false), merge(&insert, columns, true));
        let select = |which| select(columns, which);
        Self {
            copy: format!(
                "copy unified_records ({}, first_run_id, last_run_id{}) from stdin (format binary)",
                FIXED.map(|(name, _)| name).join(", "),
                each(columns, "", |column| format!(", {}", column.name)),
            ),
            insert,
            merge,
            merge_deleted,
            fitting: fitting(
                columns,
                "($1::text is null or source = $1) and (source, external_id) > (coalesce($1, $2), $3)",
            ),
            fitting_of_prefix: fitting(
                columns,
                "source = $1 and $2::text is not null and external_id > $3 and external_id >= $7 and external_id < $8",
            ),
            list_of_prefix: select(
                "where source = $3 and external_id > $4 and external_id >= $7 and external_id < $8 \
                 and ($6 or deleted_at is null) order by external_id limit $5",
            ),
            list_of_source: select(
                "where source = $3 and external_id > $4 and ($6 or deleted_at is null) \
                 order by external_id limit $5",
            ),
            list: select(
                "where (source, external_id) > ($3, $4) and ($6 or deleted_at is null) \
                 order by source, external_id limit $5",
            ),
            get: select("where source = $3 and external_id = $4"),
        }
    }
}

/// How many columns [`Statements::copy`] has besides the mapped ones.
pub(super) const FIXED_COPIED: usize = FIXED.len() + 2;

fn each(columns: &[ColumnSpec], between: &str, text: impl Fn(&ColumnSpec) -> String) -> String {
    columns.iter().map(text).collect::<Vec<_>>().join(between)
}

/// The type of the arrays that a column is sent in.
fn sent_as(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::Text | ColumnType::Numeric | ColumnType::Json => "text",
        ColumnType::Timestamp => "timestamptz",
    }
}

/// The type of a column in the table.
pub fn sql_type(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::Text => "text",
        ColumnType::Numeric => "numeric",
        ColumnType::Timestamp => "timestamp with time zone",
        ColumnType::Json => "jsonb",
    }
}

/// Merges what is inserted into what is there. Records that do not stay deleted are written whatever their content: a key that
/// was set back to the content that is stored comes from another row now.
fn merge(insert: &str, columns: &[ColumnSpec], stay_deleted: bool) -> String {
    let columns = each(columns, "", |column| format!("{0} = excluded.{0}, ", column.name));
    let set = format!(
        "{columns}raw_ref = excluded.raw_ref, raw_row = excluded.raw_row, updated_at = excluded.updated_at"
    );
    // Not the hash of the content alone: with that, a record that comes back as it was would count as unchanged.
    let deleted = "sha256(excluded.content_hash || 'deleted'::bytea)";
    match stay_deleted {
        true => format!(
            "{insert} on conflict (source, external_id) do update set {set}, content_hash = {deleted} \
             where r.content_hash <> {deleted}"
        ),
        false => format!(
            "{insert} on conflict (source, external_id) do update set {set}, content_hash = excluded.content_hash, \
             hash_before_run = case when r.last_run_id = excluded.last_run_id then r.hash_before_run \
             else r.content_hash end, updates_in_run = excluded.updates_in_run, \
             last_run_id = excluded.last_run_id, deleted_at = case when excluded.deleted_at is not null then \
             coalesce(r.deleted_at, excluded.deleted_at) end"
        ),
    }
}

fn insert(columns: &[ColumnSpec]) -> String {
    let arrays = FIXED[..4].iter().map(|(_, kind)| *kind);
    let arrays = arrays.chain(columns.iter().map(|column| sent_as(column.kind)));
    let arrays = arrays.chain(["boolean", "integer"]);
    let arrays: Vec<_> = (3..).zip(arrays).map(|(n, kind)| format!("${n}::{kind}[]")).collect();
    // Two transactions that lock rows in the same order cannot deadlock.
    format!(
        "insert into unified_records as r (source, external_id, content_hash, raw_ref, raw_row, {names}, \
         first_run_id, last_run_id, created_at, updated_at, deleted_at, updates_in_run) \
         select $1, external_id, content_hash, raw_ref, raw_row, {values}, $2, $2, now(), now(), \
            case when deleted then now() end, updates \
         from unnest({arrays}) as record (external_id, content_hash, raw_ref, raw_row, {names}, deleted, updates) \
         order by external_id",
        names = each(columns, ", ", |column| column.name.to_owned()),
        values =
            each(columns, ", ", |column| format!("{}::{}", column.name, sql_type(column.kind))),
        arrays = arrays.join(", "),
    )
}

/// Sizes of texts are known without reading them; numbers and JSON have to be written out: a numeric of a few
/// bytes may have 131,072 digits.
fn fitting(columns: &[ColumnSpec], which: &str) -> String {
    let bytes = each(columns, "", |ColumnSpec { name, kind, .. }| match kind {
        ColumnType::Text => format!(" + coalesce(octet_length({name}), 0)"),
        ColumnType::Numeric | ColumnType::Json => {
            format!(" + coalesce(octet_length({name}::text), 0)")
        }
        ColumnType::Timestamp => String::new(),
    });
    format!(
        "with page as (
            select source, external_id, 200::bigint + octet_length(external_id){bytes} as bytes
            from unified_records
            where {which} and ($6::boolean or deleted_at is null)
            order by source, external_id
            limit $4
        ),
        running as (
            select row_number() over in_order as place, (sum(bytes) over in_order)::bigint as so_far
            from page
            window in_order as (order by source, external_id)
        )
        select count(*) filter (where place = 1 or so_far <= $5::bigint) as rows,
            count(*) > count(*) filter (where place = 1 or so_far <= $5::bigint) as cut
        from running"
    )
}

/// Selects records for people. Sizes are those of JSON: in it a control character has six bytes, and numbers
/// of attributes are written out. Texts that are short, or large however they are written, need not be read
/// for it.
fn select(columns: &[ColumnSpec], which: &str) -> String {
    let large: Vec<_> = columns
        .iter()
        .filter(|column| matches!(column.kind, ColumnType::Text | ColumnType::Json))
        .copied()
        .collect();
    let values = each(columns, ", ", |ColumnSpec { name, kind, .. }| match kind {
        ColumnType::Text | ColumnType::Json => {
            format!("case when {name}_bytes > most then null else {name} end as {name}")
        }
        ColumnType::Numeric => format!("{name}::text"),
        ColumnType::Timestamp => (*name).to_owned(),
    });
    let left_out = each(&large, ", ", |ColumnSpec { name, .. }| {
        format!("case when {name}_bytes > most then '{name}' end")
    });
    let sum = each(&large, "", |ColumnSpec { name, .. }| format!(" + coalesce({name}_bytes, 0)"));
    let sizes = each(&large, ", ", |ColumnSpec { name, kind, .. }| match kind {
        ColumnType::Json => format!("octet_length({name}::text) as {name}_bytes"),
        _ => format!(
            "case when octet_length({name}) between 10000 and 16777216
                then octet_length(to_json({name})::text) else octet_length({name})
             end as {name}_bytes"
        ),
    });
    format!(
        "select source, external_id, {values}, raw_ref, raw_row, first_run_id, last_run_id, created_at,
            updated_at, deleted_at, array_remove(array[{left_out}], null) as left_out
         from (
            select *, case when 0::bigint{sum} > $1::integer then $2::integer end as most
            from (select *, {sizes} from unified_records {which} offset 0) as sized
         ) as judged
         order by source, external_id"
    )
}
