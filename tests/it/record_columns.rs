//! The one list of what a record's columns are, against the table and its statements. No macro checks
//! these: they are made of the list.

use chrono::{DateTime, Utc};
use kasparro::db::pgcopy::CopyBuffer;
use kasparro::db::unified_records::statements::{Statements, sql_type};
use kasparro::db::unified_records::{self, After, Fitting, Record};
use kasparro::domain::record::{Column, ColumnSpec, ColumnType, Hashed, Value};
use sqlx::{AssertSqlSafe, PgPool, Postgres, query::Query};

use crate::app::TestApp;

/// Columns that somebody adds, one of each type.
const FURTHER: [ColumnSpec; 4] = [
    further("brand", ColumnType::Text),
    further("weight", ColumnType::Numeric),
    further("seen_at", ColumnType::Timestamp),
    further("labels", ColumnType::Json),
];

const fn further(name: &'static str, kind: ColumnType) -> ColumnSpec {
    ColumnSpec { name, kind, hashed: Hashed::IfPresent }
}

#[tokio::test]
async fn the_list_has_each_mapped_column_of_the_table_with_its_type() {
    let app = TestApp::empty().await;
    let in_table = "select column_name || ' ' || data_type from information_schema.columns
        where table_name = 'unified_records' and column_name not in (
            'source', 'external_id', 'content_hash', 'raw_ref', 'raw_row', 'first_run_id',
            'last_run_id', 'created_at', 'updated_at', 'deleted_at', 'hash_before_run', 'updates_in_run')
        order by 1";
    let mut listed: Vec<_> = Column::SPECS
        .iter()
        .map(|column| format!("{} {}", column.name, sql_type(column.kind)))
        .collect();
    listed.sort();
    assert_eq!(listed, app.texts(in_table).await);
    app.database.close().await;
}

#[test]
fn the_api_shows_each_mapped_column() {
    let document = include_str!("../../openapi/openapi.json");
    let document: serde_json::Value = serde_json::from_str(document).unwrap();
    let shown = &document["components"]["schemas"]["Record"]["properties"];
    for column in Column::SPECS {
        assert!(shown.get(column.name).is_some(), "the API's Record has no {}", column.name);
    }
}

/// Values of the columns: those of `FURTHER` say something, of the others only the name.
fn value(column: &ColumnSpec, text: &'static str) -> Option<Value<'static>> {
    match (column.name, column.kind) {
        ("name" | "brand", _) => Some(Value::Text(text)),
        ("weight", _) => Some(Value::Text("1.50")),
        ("seen_at", _) => Some(Value::Time(1_735_783_445_500_000)),
        ("labels", _) => Some(Value::Text(r#"{"a":1}"#)),
        _ => None,
    }
}

fn columns() -> Vec<ColumnSpec> {
    // Where a column stands in the list does not matter.
    [&FURTHER[..2], Column::SPECS, &FURTHER[2..]].concat()
}

/// Sends one record as arrays.
fn sent<'q>(
    statement: &'q str,
    key: &'q str,
    text: &'static str,
) -> Query<'q, Postgres, sqlx::postgres::PgArguments> {
    let mut query = sqlx::query(AssertSqlSafe(statement.to_owned()))
        .bind("s")
        .bind(1_i64)
        .bind(vec![key])
        .bind(vec![vec![7_u8; 32]])
        .bind(vec!["file/1"])
        .bind(vec![1_i64]);
    for column in columns() {
        query = match value(&column, text) {
            Some(Value::Time(micros)) => {
                query.bind(vec![DateTime::<Utc>::from_timestamp_micros(micros)])
            }
            Some(Value::Text(text)) => query.bind(vec![Some(text)]),
            None if column.kind == ColumnType::Timestamp => query.bind(vec![None::<DateTime<Utc>>]),
            None => query.bind(vec![None::<&str>]),
        };
    }
    query.bind(vec![false]).bind(vec![None::<i32>])
}

async fn copy(pool: &PgPool, statement: &str, key: &str) {
    let mut buffer = CopyBuffer::new();
    let columns = columns();
    buffer.row(7 + columns.len() as i16);
    buffer.text(Some(key));
    buffer.bytes(&[7; 32]);
    buffer.text(Some("file/1"));
    buffer.bigint(Some(1));
    buffer.text(Some("s"));
    buffer.bigint(Some(1));
    buffer.bigint(Some(1));
    for column in &columns {
        unified_records::encode_value(&mut buffer, column.kind, value(column, "copied"));
    }
    let mut connection = pool.acquire().await.unwrap();
    let mut copy = connection.copy_in_raw(statement).await.unwrap();
    copy.send([buffer.as_bytes(), &(-1_i16).to_be_bytes()].concat()).await.unwrap();
    assert_eq!(copy.finish().await.unwrap(), 1);
}

#[tokio::test]
async fn a_further_column_of_the_list_is_written_and_read_by_all_statements() {
    let app = TestApp::empty().await;
    let statements = Statements::of(&columns());
    let add = FURTHER.map(|column| format!("add {} {}", column.name, sql_type(column.kind)));
    let add = format!("alter table unified_records {}", add.join(", "));
    sqlx::raw_sql(AssertSqlSafe(add)).execute(&app.pool).await.unwrap();

    sent(&statements.insert, "1", "inserted").execute(&app.pool).await.unwrap();
    sent(&statements.insert, "2", "inserted").execute(&app.pool).await.unwrap();
    sent(&statements.merge, "2", "merged").execute(&app.pool).await.unwrap();
    copy(&app.pool, &statements.copy, "3").await;
    let stand = "select concat_ws('|', external_id, name, brand, weight, seen_at at time zone 'UTC', labels)
        from unified_records order by external_id";
    let rest = "1.50|2025-01-02 02:04:05.5|{\"a\": 1}";
    let expected = [("1", "inserted"), ("2", "merged"), ("3", "copied")]
        .map(|(key, text)| format!("{key}|{text}|{text}|{rest}"));
    assert_eq!(app.texts(stand).await, expected);

    let page = || After { source: "s".into(), external_id: "1".into() };
    let fitting: Fitting = sqlx::query_as(AssertSqlSafe(statements.fitting))
        .bind("s")
        .bind(page().source)
        .bind(page().external_id)
        .bind(10_i64)
        .bind(1_i64 << 20)
        .bind(false)
        .fetch_one(&app.pool)
        .await
        .unwrap();
    assert_eq!((fitting.rows, fitting.cut), (2, false));
    let fitting: Fitting = sqlx::query_as(AssertSqlSafe(statements.fitting_of_prefix))
        .bind("s")
        .bind("")
        .bind("")
        .bind(10_i64)
        .bind(1_i64 << 20)
        .bind(false)
        .bind("2")
        .bind("3")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    assert_eq!((fitting.rows, fitting.cut), (1, false));
    // Two bytes are less than any of their texts has, but for those that are null.
    for statement in [statements.list, statements.list_of_source] {
        let rows: Vec<(String, Option<String>, Vec<String>)> = sqlx::query_as(AssertSqlSafe(
            format!("select external_id, brand, left_out from ({statement}) as page"),
        ))
        .bind(2_i32)
        .bind(2_i32)
        .bind(page().source)
        .bind(page().external_id)
        .bind(10_i64)
        .bind(false)
        .fetch_all(&app.pool)
        .await
        .unwrap();
        let left_out = vec!["brand".to_owned(), "name".to_owned(), "labels".to_owned()];
        let of = |key: &str| (key.to_owned(), None, left_out.clone());
        assert_eq!(rows, [of("2"), of("3")]);
    }
    let of_prefix: Vec<Record> = sqlx::query_as(AssertSqlSafe(statements.list_of_prefix))
        .bind(1000_i32)
        .bind(1000_i32)
        .bind("s")
        .bind("")
        .bind(10_i64)
        .bind(false)
        .bind("2")
        .bind("3")
        .fetch_all(&app.pool)
        .await
        .unwrap();
    assert_eq!(of_prefix.iter().map(|row| &*row.external_id).collect::<Vec<_>>(), ["2"]);
    let record: Option<Record> = sqlx::query_as(AssertSqlSafe(statements.get))
        .bind(1000_i32)
        .bind(1000_i32)
        .bind("s")
        .bind("2")
        .fetch_optional(&app.pool)
        .await
        .unwrap();
    assert_eq!(record.unwrap().name.as_deref(), Some("merged"));
    app.database.close().await;
}
