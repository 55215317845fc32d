//! The console's pages of records and of changes of schemas.

use kasparro::domain::run::RunStatus;
use kasparro::domain::token::Scope;
use serde_json::{Value, json};

use crate::api::problem;
use crate::console::{Console, location};

const JOB: &str = "kind = \"csv\"\nprimary_key = [\"id\"]\n[csv]\npaths = [\"*.csv\"]\n\
                   [fields]\nname = { column = \"name\", required = true }\n";

/// A console of a source that has got a column.
async fn with_drift() -> Console {
    let console = Console::open().await;
    let app = &console.api.app;
    app.write("shop.toml", JOB);
    app.write("shop.csv", "id,name\n1,a\n");
    app.run("shop").await;
    app.write("shop.csv", "id,name,Stock\n1,a,\n2,b<i>,5\n");
    app.run("shop").await;
    console
}

#[tokio::test]
async fn a_record_is_found_by_how_its_key_begins_whatever_is_in_it() {
    let console = Console::open().await;
    let app = &console.api.app;
    app.write("shop.toml", JOB);
    let keys = ["a/b c", "a%2Fb?x=1&y#z", "<script>alert(1)</script>", "a\u{202e}ü", "a\\'b"];
    let rows: String = keys.iter().map(|key| format!("{key},n\n")).collect();
    app.write("shop.csv", format!("id,name\n{rows}bad,\n"));
    app.run("shop").await;
    let list = console.page("/ui/records?source=shop&key=a").await;
    for (key, shown) in keys.iter().zip([
        "a/b c",
        "a%2Fb?x=1&amp;y#z",
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "a⟨U+202E⟩ü",
        "a\\&#39;b",
    ]) {
        assert_eq!(list.contains(&format!(">{shown}</a>")), key.starts_with('a'), "{key}: {list}");
        let address =
            percent_encoding::utf8_percent_encode(key, percent_encoding::NON_ALPHANUMERIC);
        let page = console.page(&format!("/ui/records/shop/{address}")).await;
        assert!(page.contains(&format!("<h1 class=\"mono\">{shown}</h1>")), "{key}: {page}");
        assert!(page.contains("Where it comes from"), "{page}");
        assert!(page.contains("parse_csv_chunk:0") && page.contains("shop.csv"), "{page}");
        assert!(!page.contains("<script>"), "{page}");
    }
    let all = console.page("/ui/records").await;
    assert!(all.contains("&lt;script&gt;"), "{all}");
    assert!(console.page("/ui/records?source=shop&key=zzz").await.contains("No record fits"));
    assert!(console.page("/ui/records?source=shop&key=%00").await.contains("No record fits"));
    assert_eq!(console.get("/ui/records?key=a").await.status(), 400);
    for unknown in ["/ui/records/shop/zzz", "/ui/records/shop/%00", "/ui/records/nope/a"] {
        let response = console.get(unknown).await;
        assert_eq!(response.status(), 404, "{unknown}");
        assert!(response.text().await.unwrap().contains("has no record"), "{unknown}");
    }
    console.api.app.database.close().await;
}

#[tokio::test]
async fn records_are_paged_through_in_the_order_of_keys() {
    let console = Console::open().await;
    let app = &console.api.app;
    app.write("shop.toml", JOB);
    let rows: String = (0..120).map(|id| format!("k{id:03},n\n")).collect();
    app.write("shop.csv", format!("id,name\n{rows}"));
    app.run("shop").await;
    let (mut address, mut seen) = ("/ui/records?source=shop&key=k".to_owned(), Vec::new());
    loop {
        let page = console.page(&address).await;
        let keys = page.split("/ui/records/shop/").skip(1).map(|rest| rest[..4].to_owned());
        seen.extend(keys);
        let Some(next) = page.split_once("\">Further records").map(|(before, _)| before) else {
            break;
        };
        address = next.rsplit_once("href=\"").unwrap().1.replace("&amp;", "&");
    }
    assert_eq!(seen, (0..120).map(|id| format!("k{id:03}")).collect::<Vec<_>>());
    console.api.app.database.close().await;
}

#[tokio::test]
async fn a_change_of_a_schema_says_how_many_rows_have_it_and_which_one_shows_it_first() {
    let console = with_drift().await;
    let open = console.api.get("/drift?status=open").await.json::<Value>().await.unwrap();
    let drift = &open["items"][0];
    assert_eq!((&drift["field"], &drift["change"]), (&json!("Stock"), &json!("added")));
    assert_eq!((&drift["rows_seen"], &drift["rows_with_value"]), (&json!(2), &json!(1)));
    let one = console.api.get("/drift/1").await.json::<Value>().await.unwrap();
    assert_eq!(one["first"]["raw_text"], "2,b<i>,5", "{one}");
    let inbox = console.page("/ui/drift?source=shop").await;
    for part in
        ["50.0 % of 2 rows have a value", "row 2 of file/", "policy evolve", "data-key=\"e\""]
    {
        assert!(inbox.contains(part), "{part}: {inbox}");
    }
    let page = console.page("/ui/drift/1").await;
    assert!(page.contains("2,b&lt;i&gt;,5"), "{page}");
    let line = "stock = { column = &quot;Stock&quot;, type = &quot;integer&quot; }";
    assert!(page.contains(line), "{page}");
    assert_eq!(console.get("/ui/drift/2").await.status(), 404);
    assert_eq!(console.get("/ui/drift?status=x").await.status(), 400);
    problem(console.api.get("/drift/2").await, 404, "unknown-drift").await;
    console.api.app.database.close().await;
}

#[tokio::test]
async fn a_column_that_is_mapped_is_filled_backwards_by_a_replay_that_is_shown_first() {
    let console = with_drift().await;
    let app = &console.api.app;
    app.write("shop.toml", format!("{JOB}stock = {{ column = \"Stock\", type = \"integer\" }}\n"));
    assert!(console.page("/ui/drift/1").await.contains("The job file reads this field"));
    let started = console.post("/ui/drift/1/replay", &[]).await;
    assert_eq!(location(&started), "/ui/runs/3?done=started.3");
    app.drain().await;
    let run: Value = console.api.get("/runs/3").await.json().await.unwrap();
    assert_eq!((&run["mode"], &run["dry_run"]), (&json!("replay"), &json!(true)), "{run}");
    assert_eq!(run["counters"]["updated"], 1, "{run}");
    assert_eq!(
        app.number("select count(*) from unified_records where attributes is not null").await,
        0
    );
    console.api.app.database.close().await;
}

#[tokio::test]
async fn a_change_is_acknowledged_once_by_whoever_is_first() {
    let mut console = with_drift().await;
    let token = console.token(Scope::Run).await;
    console.sign_in(&token.reveal(), "").await;
    let bad = console.post("/ui/drift/1/acknowledge", &[("note", "a\nb")]).await;
    assert_eq!(bad.status(), 422);
    let form = [("note", "<b>known</b>"), ("source", "shop"), ("status", "open")];
    let done = console.post("/ui/drift/1/acknowledge", &form).await;
    assert_eq!(location(&done), "/ui/drift?source=shop&status=open&done=acknowledged.1");
    let inbox = console.page("/ui/drift?source=shop&status=open&done=acknowledged.1").await;
    assert!(
        inbox.contains("1 change acknowledged.") && inbox.contains("No change fits"),
        "{inbox}"
    );
    let again = console.post("/ui/drift/1/acknowledge", &form).await;
    assert_eq!(again.status(), 409);
    assert!(again.text().await.unwrap().contains("(&lt;eva&gt;) acknowledged the change"));
    let all = console.page("/ui/drift?status=any").await;
    assert!(all.contains("&lt;b&gt;known&lt;/b&gt;") && all.contains("(&lt;eva&gt;)"), "{all}");
    assert!(!console.page("/ui/").await.contains("/ui/drift?source=shop"));
    console.api.app.database.close().await;
}

#[tokio::test]
async fn of_two_people_who_acknowledge_at_once_one_is_told_of_the_other() {
    let console = with_drift().await;
    let post =
        |note: &'static str| console.api.post_json("/drift/1/acknowledge", json!({ "note": note }));
    let (one, other) = tokio::join!(post("one"), post("other"));
    let mut statuses = [one.status().as_u16(), other.status().as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
    let (first, second) = if one.status() == 200 { (one, other) } else { (other, one) };
    let first: Value = first.json().await.unwrap();
    assert_eq!(first["status"], "acknowledged");
    let refused = problem(second, 409, "drift-acknowledged").await;
    assert!(refused["detail"].as_str().unwrap().contains("address:127.0.0.1 acknowledged"));
    let kept = console.api.get("/drift/1").await.json::<Value>().await.unwrap();
    assert_eq!(kept["drift"]["note"], first["note"]);
    let nothing = console.api.post_json("/drift/7/acknowledge", json!({})).await;
    problem(nothing, 404, "unknown-drift").await;
    console.api.app.database.close().await;
}

#[tokio::test]
async fn what_an_earlier_version_recorded_has_no_share() {
    let console = with_drift().await;
    let app = &console.api.app;
    sqlx::query("update schema_drift set rows_seen = null, rows_with_value = null")
        .execute(&app.pool)
        .await
        .unwrap();
    assert!(console.page("/ui/drift").await.contains("An earlier version did not count"));
    let run = app.run("shop").await;
    assert_eq!(run.status, RunStatus::Success);
    console.api.app.database.close().await;
}
