//! Owns the views in the schema `sources`: one per source, with its mapped fields as typed columns, so that people
//! need not take `attributes` apart.
//!
//! A view is made anew only when its columns change. What is not ours in that schema is left alone. Must not know
//! when views are made.

use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::typed_columns::{TypedColumn, distinct, literal, quoted};
use crate::domain::hash::ContentHash;
use crate::values::field::FieldDefinition;

/// The schema of the views.
pub const SCHEMA: &str = "sources";
/// What the comment on each of them begins with.
const MARK: &str = "made by kasparro from the job file; do not edit: ";
/// How long to wait for those who use a view that is to be replaced.
const LOCK_TIMEOUT: &str = "1s";

/// What there is of each record besides its fields.
const LINEAGE: [&str; 6] =
    ["raw_ref", "raw_row", "first_run_id", "last_run_id", "created_at", "updated_at"];

/// Texts that are no value of a type become null: PostgreSQL before 16 cannot ask whether a cast would fail. None is
/// `strict`: such functions are not inlined, and called for each row they take ten times as long.
const FUNCTIONS: [(&str, &str, &str); 3] = [
    (
        "as_date",
        "date",
        "select case when value ~ '^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$' and value >= '0001'
            and (substr(value, 9, 2) < '29' or substr(value, 9, 2)::int <=
                extract(day from (left(value, 7) || '-01')::date + interval '1 month' - interval '1 day'))
            then value::date end",
    ),
    (
        "as_timestamp",
        "timestamptz",
        "select case when value ~ '^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,6})?Z$'
            and value >= '0001' and (substr(value, 9, 2) < '29' or substr(value, 9, 2)::int <=
                extract(day from (left(value, 7) || '-01')::date + interval '1 month' - interval '1 day'))
            then value::timestamptz end",
    ),
    (
        "as_uuid",
        "uuid",
        "select case when value ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then value::uuid end",
    ),
];

/// What became of a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    /// It is there, with these columns.
    Made,
    /// It was so already.
    AsItWas,
    /// It could not be made.
    Not(Obstacle),
}

/// Why a view cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// The database's user may not make any.
    #[error("the database's user may not make it: {0}")]
    NoRight(String),
    /// It is there, and the database's user may not renew it.
    #[error("its columns have changed, and the database's user may not renew it: {0}")]
    NotOwner(String),
    /// Others read it.
    #[error("others are reading it, or another process is making it")]
    InUse,
    /// Somebody else made what has its name.
    #[error(
        "there is something of that name already that kasparro did not make: rename or drop it"
    )]
    NotOurs,
    /// Others are built upon it, and its columns are others now.
    #[error("its columns have changed, and others are built upon it: {0}")]
    BuiltUpon(String),
    /// Whatever else the database says against it.
    #[error("{0}")]
    Other(String),
}

/// Makes the view of a source, or renews it. In a transaction, of which nothing else is undone where it fails.
///
/// # Errors
/// Database errors.
pub async fn make(
    connection: &mut PgConnection,
    source: &str,
    fields: &[FieldDefinition],
) -> Result<Made, sqlx::Error> {
    let schema = "select quote_ident(n.nspname) from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
        where c.oid = 'unified_records'::regclass";
    let schema: String = sqlx::query_scalar(schema).fetch_one(&mut *connection).await?;
    let wanted = Wanted::of(&schema, source, fields);
    let there = is_there(connection, source).await?;
    if there.as_ref().is_some_and(|there| *there == wanted.comment) {
        return Ok(Made::AsItWas);
    }
    let begin = format!("savepoint source_view; set local lock_timeout = '{LOCK_TIMEOUT}'");
    run(connection, begin).await?;
    let made = wanted.make(connection).await;
    let made = match made {
        Ok(made) => made,
        Err(error) => Made::Not(obstacle(error, there.is_some())?),
    };
    let end = match made {
        Made::Not(_) => "rollback to savepoint source_view",
        _ => "set local lock_timeout to default",
    };
    run(connection, format!("{end}; release savepoint source_view")).await?;
    Ok(made)
}

/// The view of a source as it is to be.
struct Wanted {
    /// Its name as SQL takes it.
    view: String,
    name: String,
    select: String,
    /// What the comments on those begin with that read the same tables.
    mark: String,
    comment: String,
}

impl Wanted {
    fn of(schema: &str, source: &str, fields: &[FieldDefinition]) -> Self {
        let columns = TypedColumn::of(fields);
        let is_field = |name: &str| columns.iter().any(|column| column.name == name);
        // A field keeps its name; what else there is of a record gives way.
        let beside = |name: &str| match is_field(name) {
            true => format!("_{name}"),
            false => name.to_owned(),
        };
        let fixed = |name: &str| (format!("r.{name}"), beside(name));
        let mapped = columns.iter().map(|column| (column.value(), column.name.clone()));
        let all: Vec<_> = std::iter::once(fixed("external_id"))
            .chain(mapped)
            .chain(LINEAGE.iter().map(|name| fixed(name)))
            .collect();
        let names = distinct(all.iter().map(|(_, name)| name.clone()));
        let listed: Vec<_> = all
            .iter()
            .zip(names)
            .map(|((value, _), name)| format!("{value} as {}", quoted(&name)))
            .collect();
        let select = format!(
            "select {} from {schema}.unified_records as r where r.source = {} and r.deleted_at is null",
            listed.join(", "),
            literal(source)
        );
        let mark = format!("{MARK}{schema} ");
        let comment = format!("{mark}{}", ContentHash::of(select.as_bytes()));
        let view = format!("{SCHEMA}.{}", quoted(source));
        Self { view, name: source.to_owned(), select, mark, comment }
    }

    async fn make(&self, connection: &mut PgConnection) -> Result<Made, sqlx::Error> {
        prepare(connection).await?;
        match is_there(connection, &self.name).await? {
            Some(comment) if !comment.starts_with(&self.mark) => {
                return Ok(Made::Not(Obstacle::NotOurs));
            }
            Some(_) => self.replace(connection).await?,
            None => {
                run(connection, format!("create view {} as {}", self.view, self.select)).await?
            }
        }
        let comment = literal(&self.comment);
        run(connection, format!("comment on view {} is {comment}", self.view)).await?;
        Ok(Made::Made)
    }

    /// Replaces the view, and gives back what others may do with it. What is built upon it stays in the way.
    async fn replace(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let grants = sqlx::query(
            "select format('grant %s%s on %s to %s%s', a.privilege_type, a.columns, c.oid::regclass,
                    case a.grantee when 0 then 'public' else quote_ident(g.rolname) end,
                    case when a.is_grantable then ' with grant option' else '' end), a.columns <> ''
             from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
                cross join lateral (
                    select '' as columns, of_view.* from aclexplode(c.relacl) as of_view
                    union all
                    select format(' (%I)', t.attname), of_column.*
                    from pg_attribute as t cross join lateral aclexplode(t.attacl) as of_column
                    where t.attrelid = c.oid and not t.attisdropped
                ) as a
                left join pg_roles as g on g.oid = a.grantee
             where n.nspname = 'sources' and c.relname = $1 and a.grantee <> c.relowner",
        );
        let grants = grants.bind(&self.name).fetch_all(&mut *connection).await?;
        run(connection, format!("drop view {}", self.view)).await?;
        run(connection, format!("create view {} as {}", self.view, self.select)).await?;
        for grant in grants {
            // A column may be there no more.
            let grant: (String, bool) = (grant.try_get(0)?, grant.try_get(1)?);
            run(connection, "savepoint source_view_grant".to_owned()).await?;
            match run(connection, grant.0).await {
                Err(error) if grant.1 && error.as_database_error().is_some() => {
                    run(connection, "rollback to savepoint source_view_grant".to_owned()).await?;
                }
                granted => granted?,
            }
        }
        Ok(())
    }
}

/// Makes the schema and what views use, where they are not there. The tables of the catalog are asked: `to_regnamespace`
/// and its like may not see what another transaction has committed since this one asked first.
async fn prepare(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    if missing(&mut *connection).await?.is_empty() {
        return Ok(());
    }
    // Two that make them at the same time wait for each other.
    run(connection, "select pg_advisory_xact_lock(hashtext('kasparro.source_views'))".into())
        .await?;
    for create in missing(&mut *connection).await? {
        run(connection, create).await?;
    }
    Ok(())
}

/// The statements that make what is not there. `if not exists` would ask for the right to create it even where it is.
async fn missing(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    let mut statements = Vec::new();
    let no_schema = "select not exists (select 1 from pg_namespace where nspname = 'sources')";
    if sqlx::query_scalar(no_schema).fetch_one(&mut *connection).await? {
        statements.push(format!("create schema {SCHEMA}"));
    }
    for (function, of_type, body) in FUNCTIONS {
        let no_function = sqlx::query_scalar(
            "select not exists (select 1 from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace
             where n.nspname = 'sources' and p.proname = $1 and p.prosrc = $2)",
        );
        if no_function.bind(function).bind(body).fetch_one(&mut *connection).await? {
            statements.push(format!(
                "create or replace function {SCHEMA}.{function}(value text) returns {of_type}
                 language sql stable parallel safe as $${body}$$"
            ));
        }
    }
    Ok(statements)
}

/// The comment on the view, or nothing at all on what has its name and is none; `None` where nothing has it.
async fn is_there(
    connection: &mut PgConnection,
    source: &str,
) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar(
        "select case c.relkind when 'v' then coalesce(obj_description(c.oid, 'pg_class'), '') else '' end
         from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
         where n.nspname = 'sources' and c.relname = $1",
    )
    .bind(source)
    .fetch_optional(connection)
    .await
}

async fn run(connection: &mut PgConnection, statement: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await?;
    Ok(())
}

/// What an error means. What the database says of itself, and not of the view, is none of this.
fn obstacle(error: sqlx::Error, is_there: bool) -> Result<Obstacle, sqlx::Error> {
    let Some(said) = error.as_database_error() else { return Err(error) };
    let code = said.code().unwrap_or_default();
    let message = said.message().to_owned();
    match &*code {
        "42501" if is_there => Ok(Obstacle::NotOwner(message)),
        "42501" => Ok(Obstacle::NoRight(message)),
        "55P03" | "40P01" => Ok(Obstacle::InUse),
        "2BP01" => {
            let detail = said.try_downcast_ref::<sqlx::postgres::PgDatabaseError>();
            let detail = detail.and_then(|error| error.detail());
            Ok(Obstacle::BuiltUpon(detail.unwrap_or(&message).to_owned()))
        }
        _ if ["08", "40", "53", "57", "58"].iter().any(|class| code.starts_with(class)) => {
            Err(error)
        }
        _ => Ok(Obstacle::Other(message)),
    }
}
