//! The pages of quarantine: what fails alike, the rows as they came with the field marked, what would pass now, and putting
//! rows through again.

use kasparro::domain::token::Scope;
use reqwest::StatusCode;
use serde_json::Value;

use crate::api::problem;
use crate::app::TestApp;
use crate::console::{Console, location};

const JOB: &str = "kind = \"csv\"\nprimary_key = [\"id\"]\n[csv]\npaths = [\"*.csv\"]\nencoding = \"utf-8\"\n\
                   [checks]\nmax_quarantine_ratio = 1.0\n\
                   [fields]\nname = { column = \"Note, <b>\" }\nprice = { column = \"Preis\", aliases = [\"price\"], type = \"decimal\" }\n";

const FINGERPRINTS: &str =
    "select encode(fingerprint, 'hex') from quarantine_totals order by reason, field";

/// The address of the only reason, or of the first of several.
async fn reason(app: &TestApp) -> String {
    let found = app.texts(FINGERPRINTS).await;
    format!("/ui/quarantine/{}", found.first().expect("a row is set aside"))
}

#[tokio::test]
async fn the_field_of_a_csv_row_is_marked_where_it_stands_and_hostile_text_is_text() {
    let console = Console::open().await;
    let app = &console.api.app;
    app.write("shop.toml", JOB);
    let mut file = b"id,\"Note, <b>\",price\n\
                     1,\"a, \"\"x\"\"\",\"<script>alert(1)</script>\"\n\
                     2,abc,abc\n\
                     3,\"two\nlines\",\xe2\x80\xae1\n\
                     4,good,1.5\n"
        .to_vec();
    file.extend_from_slice(b"5,\xff\xfe,2\n6,a\0b,2\n");
    app.write("shop.csv", &file);
    app.run("shop").await;
    let list = console.page("/ui/quarantine").await;
    for part in [
        "invalid_decimal",
        "invalid_encoding",
        "nul_character",
        "Note, &lt;b&gt;",
        "3 in <a href=\"/ui/runs/1\">",
    ] {
        assert!(list.contains(part), "{part}: {list}");
    }
    let found = app.texts(FINGERPRINTS).await;
    let [decimal, encoding, nul] = &found[..] else { panic!("{found:?}") };
    let page = console.page(&format!("/ui/quarantine/{decimal}")).await;
    for part in [
        "1,&quot;a, &quot;&quot;x&quot;&quot;&quot;,&quot;<mark>&lt;script&gt;alert(1)&lt;/script&gt;</mark>&quot;",
        "2,abc,<mark>abc</mark></pre>",
        "3,&quot;two\nlines&quot;,<mark>⟨U+202E⟩1</mark>",
        "shop.csv</b> line 2, row 1, bytes ",
        "shop.toml line 10",
        "price = { column = &quot;Preis&quot;",
        "Values seen most",
        "In the first 3 rows",
        "<td class=\"key\">abc</td><td class=\"num\">1</td>",
        "Found: <code>abc</code>",
        "14 days, at most 3 a day; today 3",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let not_text = console.page(&format!("/ui/quarantine/{encoding}")).await;
    assert!(not_text.contains("<pre>35 2c <mark>ff fe </mark>2c 32 </pre>"), "{not_text}");
    let with_nul = console.page(&format!("/ui/quarantine/{nul}")).await;
    assert!(with_nul.contains("6,<mark>a⟨00⟩b</mark>,2"), "{with_nul}");
    for page in [&list, &page, &not_text, &with_nul] {
        assert!(!page.contains("<script>") && !page.contains("<b>\""), "{page}");
        assert!(!page.contains('\u{202e}') && !page.contains('\0') && !page.contains("style="));
    }
    let sorted =
        console.page("/ui/quarantine?reason=invalid_decimal&source=shop&field=Preis").await;
    assert!(sorted.contains(decimal.as_str()) && !sorted.contains(nul.as_str()), "{sorted}");
    console.api.app.database.close().await;
}

#[tokio::test]
async fn the_field_of_a_json_record_is_marked_by_its_path_and_not_by_its_value() {
    let console = Console::open().await;
    let app = &console.api.app;
    app.write(
        "shop.toml",
        "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\nbase_url = \"http://localhost:1/\"\n\
         data_selector = \"$[*]\"\nrecording = \"pages\"\npaginator = { type = \"single_page\" }\n\
         [checks]\nmax_quarantine_ratio = 1.0\n\
         [fields]\nprice = { from = \"$.offer.price\", type = \"decimal\" }\n\
         tags = { from = \"$.tags[0].n\", type = \"integer\" }\n",
    );
    app.write(
        "pages/page-0001.json",
        r#"[{"id": 1, "price": "x", "offer": {"a": "price", "price" : "x"}, "tags": [{"n": "y"}]}]"#,
    );
    app.run("shop").await;
    let found = app.texts(FINGERPRINTS).await;
    let [decimal, integer] = &found[..] else { panic!("{found:?}") };
    let page = console.page(&format!("/ui/quarantine/{decimal}")).await;
    let marked =
        "&quot;a&quot;: &quot;price&quot;, &quot;price&quot; : <mark>&quot;x&quot;</mark>}";
    assert!(page.contains(marked), "{page}");
    assert_eq!(page.matches("<mark").count(), 1, "{page}");
    let page = console.page(&format!("/ui/quarantine/{integer}")).await;
    assert!(page.contains("[{&quot;n&quot;: <mark>&quot;y&quot;</mark>}]"), "{page}");
    console.api.app.database.close().await;
}

const PRICES: &str = "kind = \"csv\"\nprimary_key = [\"id\"]\n[csv]\npaths = [\"*.csv\"]\n\
                      [checks]\nmax_quarantine_ratio = 1.0\n[fields]\nprice = { type = \"decimal\" }\n";

#[tokio::test]
async fn what_would_pass_is_shown_before_rows_are_put_through_again() {
    let mut console = Console::open().await;
    let token = console.token(Scope::Run).await;
    console.sign_in(&token.reveal(), "").await;
    let app = &console.api.app;
    app.write("shop.toml", PRICES);
    app.write("shop.csv", "id,price\n1,on request\n2,2.00\n3,cheap\n4,on request\n");
    app.run("shop").await;
    let address = reason(app).await;
    let page = console.page(&address).await;
    assert!(page.contains("<button>What would pass now?</button>"), "{page}");
    assert!(
        page.contains("disabled title=\"needs a token with the scope `admin`\">Redrive 3<"),
        "{page}"
    );
    app.write(
        "shop.toml",
        PRICES.replace("[checks]", "null_values = [\"\", \"on request\"]\n[checks]"),
    );
    let begun = console.post(&format!("{address}/dry-run"), &[]).await;
    assert_eq!(location(&begun), format!("{address}?dry=2&done=started.2"));
    assert!(console.page(&format!("{address}?dry=2")).await.contains("Under way"));
    let busy = console.post(&format!("{address}/dry-run"), &[]).await;
    assert_eq!(busy.status(), StatusCode::CONFLICT);
    app.drain().await;
    let page = console.page(&format!("{address}?dry=2")).await;
    assert!(page.contains("Of 3 rows <b>2</b> would pass, <b>1</b> would not."), "{page}");
    for part in [
        "Some that would pass",
        "Some that would not pass",
        "<td class=\"key\">1: {}</td>",
        "<code>kasparro run shop --redrive</code>",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let open = "select count(*) from quarantined_rows where status = 'open'";
    assert_eq!(app.number(open).await, 3, "a dry run changes nothing");
    // A run that is none of these says nothing of them.
    assert!(!console.page(&format!("{address}?dry=1")).await.contains("would pass,"));
    let refused = console.post(&format!("{address}/redrive"), &[]).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    let token = console.token(Scope::Admin).await;
    console.sign_in(&token.reveal(), "").await;
    let begun = console.post(&format!("{address}/redrive"), &[]).await;
    let run = location(&begun).strip_prefix("/ui/runs/").and_then(|rest| rest.split_once('?'));
    assert!(run.is_some_and(|(run, done)| done == format!("done=started.{run}")), "{begun:?}");
    let app = &console.api.app;
    app.drain().await;
    let page = console.page(&address).await;
    assert!(page.contains("1 of 3 that were found") && page.contains("Redrive 1<"), "{page}");
    let resolved = console.page(&format!("{address}?status=resolved")).await;
    assert_eq!(resolved.matches("<article").count(), 2, "{resolved}");
    let all_pass = "null_values = [\"\", \"on request\", \"cheap\"]\n[checks]";
    app.write("shop.toml", PRICES.replace("[checks]", all_pass));
    console.post(&format!("{address}/redrive"), &[]).await;
    app.drain().await;
    let page = console.page(&address).await;
    assert!(page.contains("0 of 3 that were found") && !page.contains("Redrive"), "{page}");
    assert_eq!(console.post(&format!("{address}/redrive"), &[]).await.status(), 409);
    assert!(console.page("/ui/quarantine").await.contains("No row is set aside."));
    console.api.app.database.close().await;
}

#[tokio::test]
async fn rows_are_downloaded_byte_for_byte_also_beside_their_second_defect() {
    let console = Console::open().await;
    let app = &console.api.app;
    app.write("shop.toml", format!("{PRICES}stock = {{ type = \"integer\" }}\n"));
    let long = "x".repeat(40_000);
    let rows = [format!("1,a,b,\"{long}\""), "2,1,<s>,\"\u{202e}\"".to_owned()];
    app.write("shop.csv", format!("id,price,stock,note\n{}\n{}\n", rows[0], rows[1]));
    app.run("shop").await;
    let fingerprint = app
        .texts("select encode(fingerprint, 'hex') from quarantine_totals where field = 'stock'")
        .await;
    let response = console.get(&format!("/ui/quarantine/{}/raw", fingerprint[0])).await;
    assert_eq!(response.headers()["content-type"], "application/octet-stream");
    let attachment = format!("attachment; filename=\"{}.raw\"", fingerprint[0]);
    assert_eq!(response.headers()["content-disposition"], attachment.as_str());
    assert_eq!(response.text().await.unwrap(), format!("{}\n{}\n", rows[0], rows[1]));
    let none = console.get(&format!("/ui/quarantine/{}/raw?status=resolved", fingerprint[0])).await;
    assert_eq!(none.text().await.unwrap(), "");
    let page = console.page(&format!("/ui/quarantine/{}", fingerprint[0])).await;
    assert!(
        page.contains("1,a,<mark>b</mark>,&quot;xxx")
            && page.contains("4.0 KiB of 16.0 KiB are shown"),
        "{page}"
    );
    console.api.app.database.close().await;
}

#[tokio::test]
async fn rows_that_fail_alike_are_read_page_by_page_those_that_are_there_still_first() {
    let console = Console::open().await;
    let app = &console.api.app;
    app.write("shop.toml", PRICES);
    let rows: String = (1..=60).map(|id| format!("{id},bad{id}\n")).collect();
    app.write("shop.csv", format!("id,price\n{rows}"));
    app.run("shop").await;
    sqlx::query("update quarantined_rows set status = 'resolved' where raw_row <= 30")
        .execute(&app.pool)
        .await
        .unwrap();
    let address = reason(app).await;
    let (mut next, mut seen) = (Some(address.clone()), Vec::new());
    while let Some(path) = next {
        let page = console.page(&path).await;
        let found = page.split("<mark>bad").skip(1).map(|rest| rest.split('<').next().unwrap());
        seen.extend(found.map(|number| number.parse::<u32>().unwrap()));
        let link = page.split("<a href=\"").find(|rest| {
            rest.contains(">Further rows<") && rest.split('"').next().unwrap().contains("cursor=")
        });
        next = link.map(|rest| rest.split('"').next().unwrap().replace("&amp;", "&"));
    }
    assert_eq!(seen, (31..=60).chain(1..=30).collect::<Vec<_>>());

    let fingerprint = address.rsplit('/').next().unwrap();
    let (mut cursor, mut rows) = (String::new(), Vec::new());
    loop {
        let path = format!("/quarantine?fingerprint={fingerprint}&limit=7{cursor}");
        let page: Value = console.api.get(&path).await.json().await.unwrap();
        let items = page["items"].as_array().unwrap();
        rows.extend(items.iter().map(|row| row["raw_row"].as_u64().unwrap() as u32));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(rows, seen, "the API reads them in the same order");
    let count = async |query: &str| {
        let path = format!("/quarantine?limit=1000&{query}");
        let page: Value = console.api.get(&path).await.json().await.unwrap();
        page["items"].as_array().unwrap_or_else(|| panic!("{page}")).len()
    };
    let of = format!("fingerprint={fingerprint}");
    assert_eq!(count(&format!("{of}&status=resolved")).await, 30);
    assert_eq!(count(&format!("{of}&status=superseded")).await, 0);
    assert_eq!(count(&format!("{of}&source=other")).await, 0);
    assert_eq!(count("status=open").await, 30);
    assert_eq!(count(&format!("{of}&group_by=fingerprint")).await, 1);
    for query in ["fingerprint=xyz", "status=shut", "group_by=fingerprint&status=open"] {
        problem(console.api.get(&format!("/quarantine?{query}")).await, 400, "invalid-parameter")
            .await;
    }
    console.api.app.database.close().await;
}

#[tokio::test]
async fn what_is_not_there_says_what_to_do() {
    let console = Console::open().await;
    assert!(console.page("/ui/quarantine").await.contains("No row is set aside."));
    assert!(console.page("/ui/quarantine?source=%3Cb%3E").await.contains("Show all reasons"));
    let unknown = format!("/ui/quarantine/{}", "0".repeat(32));
    for path in ["/ui/quarantine/x", unknown.as_str()] {
        let response = console.get(path).await;
        assert_eq!(response.status(), 404, "{path}");
        assert!(response.text().await.unwrap().contains("no row was set aside in the way"));
        assert_eq!(console.post(&format!("{path}/dry-run"), &[]).await.status(), 404, "{path}");
    }
    for query in ["reason=x"] {
        assert_eq!(console.get(&format!("/ui/quarantine?{query}")).await.status(), 400, "{query}");
    }
    console.api.app.database.close().await;
}

#[tokio::test]
async fn without_the_job_file_or_the_file_rows_are_shown_unmarked() {
    let console = Console::open().await;
    let app = &console.api.app;
    app.write("shop.toml", PRICES);
    app.write("shop.csv", "id,price\n1,cheap\n");
    app.run("shop").await;
    let address = reason(app).await;
    assert!(console.page(&address).await.contains("1,<mark>cheap</mark>"));
    std::fs::remove_file(app.path("shop.toml")).unwrap();
    let page = console.page(&address).await;
    assert!(page.contains("<pre>1,cheap</pre>") && page.contains("There is no job file"), "{page}");
    assert_eq!(console.post(&format!("{address}/dry-run"), &[]).await.status(), 404);
    console.api.app.database.close().await;
}
