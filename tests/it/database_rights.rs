//! What rights kasparro needs, and that what it and its documentation say of them is true.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::app::TestApp;
use crate::process::{Process, free_address, kasparro};

/// A database of its own with roles of its own on the test's server: roles belong to all databases.
struct Roles {
    names: BTreeMap<&'static str, String>,
    server: String,
}

impl Roles {
    async fn new(app: &TestApp) -> Self {
        let own: String = sqlx::query_scalar("select current_database()::text")
            .fetch_one(&app.pool)
            .await
            .unwrap();
        let names = ["kasparro_owner", "kasparro_app", "stranger", "kasparro"]
            .map(|name| (name, format!("{own}_{name}")));
        Self { names: names.into(), server: app.database.url().to_owned() }
    }

    fn name(&self, name: &str) -> &str {
        &self.names[name]
    }

    fn url(&self, user: &str) -> String {
        let mut url = reqwest::Url::parse(&self.server).unwrap();
        url.set_username(user).unwrap();
        url.set_path(self.name("kasparro"));
        url.to_string()
    }

    fn superuser(&self) -> String {
        let mut url = reqwest::Url::parse(&self.server).unwrap();
        url.set_path(self.name("kasparro"));
        url.to_string()
    }

    /// Statements as they were shown, by somebody of this name.
    async fn say(&self, url: &str, statements: &str) {
        let mut connection = PgConnection::connect(url).await.unwrap();
        for statement in statements.split_inclusive(';') {
            // Not in a transaction, as `create database` demands.
            let said = sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut connection);
            said.await.unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
        connection.close().await.unwrap();
    }

    /// The block of SQL in docs/operating.md that begins with these words.
    fn documented(&self, beginning: &str) -> String {
        let docs = include_str!("../../docs/operating.md");
        let block = docs.split("```sql\n").skip(1).find(|block| block.starts_with(beginning));
        let block = block.unwrap_or_else(|| panic!("{beginning} is documented"));
        let block = block.split("```").next().unwrap();
        // The longer names first: they hold the shorter one.
        let (owner, app) = (self.name("kasparro_owner"), self.name("kasparro_app"));
        let block = block.replace("kasparro_owner", "OWNER").replace("kasparro_app", "APP");
        let block =
            block.replace("database kasparro", &format!("database {}", self.name("kasparro")));
        block.replace("OWNER", owner).replace("APP", app)
    }

    async fn drop(self) {
        let database = format!("drop database if exists {} with (force);", self.name("kasparro"));
        self.say(&self.server, &database).await;
        for role in ["kasparro_owner", "kasparro_app", "stranger"] {
            self.say(&self.server, &format!("drop role if exists {};", self.name(role))).await;
        }
    }
}

/// The statements that a refused command showed.
fn statements(stderr: &str) -> String {
    let (_, shown) =
        stderr.split_once("says in this database:").unwrap_or_else(|| panic!("{stderr}"));
    shown.lines().map(str::trim).filter(|line| line.contains(';')).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn the_documented_grants_suffice_and_what_lacks_is_said_as_statements_that_help() {
    let app = TestApp::shipped().await;
    let roles = Roles::new(&app).await;
    let (owner, worker) =
        (roles.url(roles.name("kasparro_owner")), roles.url(roles.name("kasparro_app")));
    let call = async |url: &str, arguments: &[&str]| {
        let mut command = kasparro(&app, arguments);
        command.env("DATABASE_URL", url);
        Process::start(command).ended().await
    };
    roles.say(&roles.server, &roles.documented("create role kasparro_owner")).await;
    call(&worker, &["migrate"])
        .await
        .code(1)
        .complains(&["lacks rights", "grant create on database"]);
    // Nobody is sent where the way is shut.
    let refused = call(&worker, &["runs"]).await;
    refused.code(1).complains(&["may not change that", "of the role that owns", "grant create on"]);
    assert!(!refused.stderr.contains("needs; run `kasparro migrate`"), "{}", refused.stderr);
    call(&owner, &["migrate"]).await.code(0);
    for command in
        [&["runs"][..], &["worker"], &["scheduler"], &["serve", "--listen", &free_address()]]
    {
        let refused = call(&worker, command).await;
        refused.code(1).complains(&["lacks rights", "grant usage on schema apalis to"]);
    }
    // What is said helps as well as what is documented.
    let said = statements(&call(&worker, &["runs"]).await.stderr);
    roles.say(&owner, &said).await;
    call(&worker, &["runs"]).await.code(0);
    roles.say(&owner, &said.replace("grant", "revoke").replace(" to ", " from ")).await;
    call(&worker, &["runs"]).await.code(1);

    roles.say(&owner, &roles.documented("grant usage on schema public")).await;
    call(&owner, &["run", "products_csv", "--detach"]).await.code(0);
    let mut working = kasparro(&app, &["worker"]);
    working.env("DATABASE_URL", &worker);
    let mut working = Process::start(working);
    working.says("run finished").await;
    let listed = call(&worker, &["runs"]).await;
    listed.code(0).prints(&["success"]);
    working.kill();
    roles.drop().await;
    app.database.close().await;
}

#[tokio::test]
async fn a_user_that_may_not_migrate_is_told_before_anything_is_begun() {
    let app = TestApp::empty().await;
    let roles = Roles::new(&app).await;
    let (database, stranger) =
        (roles.name("kasparro").to_owned(), roles.name("stranger").to_owned());
    let create = format!(
        "create role {stranger} login; create database {database} encoding 'UTF8' template template0;"
    );
    roles.say(&roles.server, &create).await;
    let superuser = roles.superuser();
    let migrate = async || {
        let mut command = kasparro(&app, &["migrate"]);
        command.env("DATABASE_URL", roles.url(&stranger));
        Process::start(command).ended().await
    };
    let refused = migrate().await;
    let extension = "create extension pgcrypto;";
    let create = format!("grant create on database {database} to {stranger};");
    refused.code(1).complains(&["lacks rights", &create, extension]);
    let mut connection = PgConnection::connect(&superuser).await.unwrap();
    let tables: i64 = sqlx::query_scalar(
        "select count(*) from pg_class where relnamespace = 'public'::regnamespace",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
    assert_eq!(tables, 0, "nothing was begun");
    roles.say(&superuser, &statements(&refused.stderr)).await;
    migrate().await.code(0);

    // A table of somebody else's, made by a superuser by hand, say.
    roles.say(&superuser, "alter table etl_runs owner to current_user;").await;
    let refused = migrate().await;
    refused.code(1).complains(&[&format!("alter table public.etl_runs owner to {stranger};")]);
    roles.say(&superuser, &statements(&refused.stderr)).await;
    migrate().await.code(0);
    roles.drop().await;
    app.database.close().await;
}
