//! What DATABASE_URL may lead to, and how kasparro says that it leads nowhere. Every wait is set so long
//! that a test which has to wait has failed.

use std::io::Write;
use std::process::Stdio;

use sqlx::AssertSqlSafe;

use crate::app::TestApp;
use crate::process::{Ended, Process, kasparro, until};

async fn migrate(app: &TestApp, url: &str) -> Ended {
    let mut command = kasparro(app, &["migrate", "--database-wait", "100000"]);
    command.env("DATABASE_URL", url);
    Process::start(command).ended().await
}

fn with_database(url: &str, name: &str) -> String {
    let mut url = reqwest::Url::parse(url).unwrap();
    url.set_path(name);
    url.to_string()
}

#[tokio::test]
async fn an_address_that_names_nothing_is_refused_at_once_without_its_password() {
    let app = TestApp::empty().await;
    for (url, said) in [
        ("mysql://me:hidden-word@localhost/x", "begins with `mysql:`"),
        ("me:hidden-word@localhost/x", "does not begin with postgresql://"),
        ("postgres:/me:hidden-word@localhost/x", "two slashes"),
        ("postgresql://me:hidden#-word@localhost/x", "write %23 for `#`"),
        ("host=localhost password=hidden-word", "list of keywords"),
        ("postgresql://me:hidden-word@localhost/x?sslmod=disable", "did you mean `sslmode`"),
        ("postgresql://me:hidden-word@localhost:0/x", "its port is no number from 1"),
    ] {
        let ended = migrate(&app, url).await;
        ended.code(1).complains(&["the database URL cannot be read: ", said]);
        assert!(
            !ended.stderr.contains("hidden") && !ended.stderr.contains("-word"),
            "{}",
            ended.stderr
        );
    }
    app.database.close().await;
}

#[tokio::test]
async fn what_does_not_go_away_by_waiting_is_said_at_once_with_host_database_and_user() {
    let app = TestApp::empty().await;
    let url = app.database.url();
    let missing = migrate(&app, &with_database(url, "No such")).await;
    let create = "create database \"No such\" encoding 'UTF8' template template0";
    missing.code(1).complains(&["database `No such`", "user `", create, "does not exist"]);

    let mut stranger = reqwest::Url::parse(url).unwrap();
    stranger.set_username("nobody_of_that_name").unwrap();
    stranger.set_password(Some("hidden-word")).unwrap();
    let stranger = migrate(&app, stranger.as_str()).await;
    stranger.code(1).complains(&["user `nobody_of_that_name`", "check user and password"]);
    assert!(!stranger.stderr.contains("hidden-word"), "{}", stranger.stderr);

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let _ = client.unwrap().write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let ended = migrate(&app, &format!("postgresql://me:hidden-word@{address}/x")).await;
    ended.code(1).complains(&[
        "is not PostgreSQL",
        &address.to_string(),
        "database `x`",
        "user `me`",
    ]);
    let ended = migrate(&app, "postgresql:///x?user=me&host=/no/such/folder").await;
    ended.code(1).complains(&["there is no folder /no/such/folder", "the socket in"]);
    app.database.close().await;
}

#[tokio::test]
async fn an_ipv6_address_leads_to_its_host() {
    let app = TestApp::empty().await;
    let Ok(listener) = std::net::TcpListener::bind("[::1]:0") else { return };
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let _ = client.unwrap().write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let url = format!("postgresql://me:p@{address}/x?connect_timeout=2");
    let ended = migrate(&app, &url).await;
    ended.code(1).complains(&[
        "is not PostgreSQL",
        &address.to_string(),
        "not know connect_timeout",
    ]);
    app.database.close().await;
}

#[tokio::test]
async fn a_database_that_takes_no_writes_is_named_with_what_ends_that() {
    let app = TestApp::empty().await;
    let own: String =
        sqlx::query_scalar("select current_database()::text").fetch_one(&app.pool).await.unwrap();
    let set = format!("alter database {own} set default_transaction_read_only = on");
    sqlx::query(AssertSqlSafe(set)).execute(&app.pool).await.unwrap();
    let refused = migrate(&app, app.database.url()).await;
    let reset = format!("alter database {own} reset default_transaction_read_only;");
    refused.code(1).complains(&["default_transaction_read_only is on", &reset]);
    let (_, advice) = refused.stderr.split_once("line by line:").unwrap();
    let lines: Vec<&str> = advice.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    let psql = ["exec", "--", "psql", "-XAtq", "-c", lines[0], "-c", lines[1]];
    Process::start(kasparro(&app, &psql)).ended().await.code(0);
    migrate(&app, app.database.url()).await.code(0);
    let url = format!("{}&options=-cdefault_transaction_read_only=on", app.database.url());
    let refused = migrate(&app, &url).await;
    refused.code(1).complains(&["take it out of DATABASE_URL"]);
    app.database.close().await;
}

#[tokio::test]
async fn a_search_path_without_a_place_for_tables_is_named_with_what_mends_it() {
    let app = TestApp::empty().await;
    for path in ["pg_catalog", "no_such_schema", "information_schema,public"] {
        let mut url = reqwest::Url::parse(app.database.url()).unwrap();
        url.query_pairs_mut().append_pair("options", &format!("-csearch_path={path}"));
        let ended = migrate(&app, url.as_str()).await;
        let path = format!("search_path is {path:?}");
        ended.code(1).complains(&["have no place", &path, "set search_path = \"$user\", public"]);
        // Where what is said can be done.
        let mut psql = kasparro(&app, &["exec", "--", "psql", "-XAtqc", "select 6 * 7"]);
        psql.env("DATABASE_URL", url.as_str());
        Process::start(psql).ended().await.code(0).prints(&["42"]);
    }
    app.database.close().await;
}

#[tokio::test]
async fn a_database_that_cannot_hold_every_text_is_refused_by_name() {
    let app = TestApp::empty().await;
    let own: String =
        sqlx::query_scalar("select current_database()::text").fetch_one(&app.pool).await.unwrap();
    for encoding in ["LATIN1", "SQL_ASCII"] {
        let name = format!("{own}_{}", encoding.to_lowercase());
        let create = format!(
            "create database {name} encoding '{encoding}' template template0 lc_collate 'C' lc_ctype 'C'"
        );
        sqlx::query(AssertSqlSafe(create)).execute(&app.pool).await.unwrap();
        let ended = migrate(&app, &with_database(app.database.url(), &name)).await;
        let advice = format!("create database {name} encoding 'UTF8' template template0");
        ended.code(1).complains(&[&format!("encoding {encoding}"), &advice]);
        let drop = format!("drop database {name} with (force)");
        sqlx::query(AssertSqlSafe(drop)).execute(&app.pool).await.unwrap();
    }
    app.database.close().await;
}

/// PgBouncer in front of the app's server; `None` where there is no PgBouncer.
struct Bouncer(Process, tempfile::TempDir, String);

async fn bouncer(app: &TestApp, mode: &str) -> Option<Bouncer> {
    use std::os::unix::process::CommandExt;
    let there =
        std::process::Command::new("pgbouncer").arg("--version").stdout(Stdio::null()).status();
    if there.is_err() {
        // Past libtest, which would keep it to itself.
        let _ = writeln!(std::io::stderr(), "NOT TESTED: PgBouncer is not installed");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let options: sqlx::postgres::PgConnectOptions = app.database.url().parse().unwrap();
    let socket = options.get_socket()?.display().to_string();
    let (port, user) = (options.get_port(), options.get_username());
    let address = crate::process::free_address();
    let listen = address.rsplit(':').next()?;
    let settings = format!(
        "[databases]\n* = host={socket} port={port} user={user}\n[pgbouncer]\nlisten_addr=127.0.0.1\n\
         listen_port={listen}\nunix_socket_dir=\nauth_type=any\npool_mode={mode}\n"
    );
    std::fs::write(folder.path().join("pgbouncer.ini"), settings).unwrap();
    let mut command = std::process::Command::new("pgbouncer");
    command.arg(folder.path().join("pgbouncer.ini"));
    if nix::unistd::geteuid().is_root() {
        // The user that the test's server runs as: its socket is closed to others.
        let known = |name: &&str| nix::unistd::User::from_name(name).ok().flatten();
        let user = ["postgres", "nobody"].iter().find_map(known)?;
        let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
        for path in [folder.path().to_owned(), folder.path().join("pgbouncer.ini")] {
            std::os::unix::fs::chown(path, Some(uid), Some(gid)).unwrap();
        }
        command.uid(uid).gid(gid);
    }
    let process = Process::start(command);
    until("PgBouncer listens", async || std::net::TcpStream::connect(&address).is_ok()).await;
    let database = options.get_database().unwrap_or_default();
    Some(Bouncer(process, folder, format!("postgresql://{user}@{address}/{database}")))
}

#[tokio::test]
async fn pgbouncer_is_refused_by_name_where_it_shares_connections_and_serves_where_it_does_not() {
    let app = TestApp::shipped().await;
    for mode in ["transaction", "statement"] {
        let Some(Bouncer(process, _folder, url)) = bouncer(&app, mode).await else { return };
        for _ in 0..3 {
            let ended = migrate(&app, &url).await;
            ended.code(1).complains(&["pool_mode=transaction", "pool_mode=session"]);
        }
        process.kill();
    }
    let Some(Bouncer(process, _folder, url)) = bouncer(&app, "session").await else { return };
    let mut command = kasparro(&app, &["run", "products_csv"]);
    command.env("DATABASE_URL", &url);
    Process::start(command).ended().await.code(0);
    process.kill();
    app.database.close().await;
}
