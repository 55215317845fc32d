//! Rows of one key that do not say the same: the last one stays, and the run says so.

use kasparro::db::runs::Run;
use kasparro::domain::run::Mode;
use kasparro::domain::run::RunStatus::{Degraded, Success, SuccessWithDuplicates};
use kasparro::tasks::start_run::RunRequest;

use crate::app::{TestApp, request};

async fn shop(chunk_size: u64) -> TestApp {
    let app = TestApp::empty().await;
    app.write(
        "shop.toml",
        format!(
            "kind = \"csv\"\nprimary_key = [\"Handle\"]\n[csv]\npaths = [\"*.csv\"]\n\
             chunk_size = {chunk_size}\n[fields]\nname = {{ column = \"Title\" }}\n\
             size = {{ column = \"Option1 Value\" }}\n"
        ),
    );
    app
}

/// As a shop exports it: the variants of a product share its handle, and only the first has its title.
const VARIANTS: &str = "Handle,Title,Option1 Value\nblue-shirt,Blue Shirt,\nvarsity-top,Varsity Top,Small\n\
                        varsity-top,,Medium\nvarsity-top,,Large\nstriped-top,Striped,\nstriped-top,Striped,\n";

fn note(run: &Run) -> &str {
    run.stop_reason.as_deref().unwrap_or_default()
}

async fn dry_run(app: &TestApp, mode: Mode) -> Run {
    app.run_as("shop", &RunRequest { dry_run: true, ..request(mode) }).await
}

#[tokio::test]
async fn variants_that_share_a_key_are_named_with_their_rows_and_what_helps() {
    let app = shop(1 << 20).await;
    app.write("shop.csv", VARIANTS);
    let says = "1 key occurs in several rows that differ, and only the last row of a key stays: \
                `varsity-top` in rows 2, 3 and 4 of shop.csv; if each row is a thing of its own, add to \
                `primary_key` what tells them apart";
    for run in [
        dry_run(&app, Mode::Incremental).await,
        app.run("shop").await,
        dry_run(&app, Mode::Full).await,
        app.run_mode("shop", Mode::Full).await,
        app.run_mode("shop", Mode::Replay).await,
    ] {
        assert_eq!(note(&run), says, "{run:?}");
        assert!(run.status.is_success(), "{run:?}");
    }
    let job = app.read("shop.toml").replace("\"Handle\"", "\"Handle\", \"Option1 Value\"");
    let job = job.replace("[csv]", "[csv]\nnull_values = []").replace("external", "");
    app.write("shop.toml", job);
    let run = app.run("shop").await;
    assert!(!note(&run).contains("several rows"), "{run:?}");
    app.database.close().await;
}

#[tokio::test]
async fn keys_are_counted_across_the_chunks_of_a_file_and_not_across_files() {
    let app = shop(40).await;
    let rows = |title: &str| {
        (0..60).map(|row| format!("h{},{title}{},x\n", row % 50, row / 50)).collect::<String>()
    };
    app.write("a.csv", format!("Handle,Title,Option1 Value\n{}", rows("a")));
    let first = app.run("shop").await;
    assert_eq!(first.status, Success);
    assert!(note(&first).starts_with("10 keys occur in several rows that differ"), "{first:?}");
    assert!(note(&first).contains("`h0` in rows 1 and 51 of a.csv"), "{first:?}");
    let again = app.run_mode("shop", Mode::Full).await;
    assert_eq!(again.status, SuccessWithDuplicates);
    assert!(note(&again).contains("10 keys occur in several"), "{again:?}");
    // The news of a day are no repetition of yesterday's.
    let day: String = (0..50).map(|row| format!("h{row},b,x\n")).collect();
    app.write("b.csv", format!("Handle,Title,Option1 Value\n{day}"));
    let run = app.run("shop").await;
    assert_eq!((run.counters.updated, run.stop_reason), (50, None));
    app.database.close().await;
}

#[tokio::test]
async fn a_record_that_stands_on_two_pages_in_two_ways_is_named() {
    let app = TestApp::empty().await;
    app.write(
        "shop.toml",
        "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\nbase_url = \"http://localhost:1/\"\n\
         data_selector = \"$[*]\"\npaginator = { type = \"page_number\", size = 2 }\n\
         recording = \"pages\"\n[fields]\nname = {}\n",
    );
    for page in 1..=30 {
        let name = if page == 30 { "other" } else { "same" };
        let id = page % 29;
        let page_of = format!("[{{\"id\":\"k{id}\",\"name\":\"{name}\"}},{{\"id\":\"p{page}\"}}]");
        app.write(&format!("pages/page-{page:04}.json"), page_of);
    }
    app.write("pages/page-0031.json", "[]");
    for mode in [Mode::Incremental, Mode::Incremental, Mode::Full] {
        let run = app.run_mode("shop", mode).await;
        assert!(note(&run).contains("1 key occurs in several rows that differ"), "{run:?}");
        assert!(note(&run).contains("`k1` in row 1 of page/"), "{run:?}");
    }
    app.database.close().await;
}

#[tokio::test]
async fn records_under_keys_of_another_make_are_named_with_how_to_remove_those_of_before() {
    let app = shop(1 << 20).await;
    app.write("shop.csv", VARIANTS);
    app.run("shop").await;
    let job = app.read("shop.toml").replace("\"Handle\"", "\"Handle\", \"Title\"");
    app.write("shop.toml", job.replace("[csv]", "[csv]\nnull_values = []"));
    let run = app.run("shop").await;
    assert_eq!(run.status, Degraded, "{run:?}");
    let says = "records are identified by `Handle` and `Title`, and were by `Handle` in run 1: the 3 \
                earlier records stay beside the";
    assert!(note(&run).starts_with(says), "{run:?}");
    let delete = "delete from unified_records where source = 'shop' and last_run_id < 2";
    assert!(note(&run).contains(delete), "{run:?}");

    // The advice leads to what the file says, and the figures follow.
    sqlx::query(delete).execute(&app.pool).await.unwrap();
    let run = app.run_mode("shop", Mode::Full).await;
    assert_eq!((run.status, run.counters.inserted), (SuccessWithDuplicates, 0), "{run:?}");
    let counted =
        "select (select count(*) from unified_records) || ' ' || records from source_totals";
    let figures = app.texts(counted).await;
    let (there, said) = figures[0].split_once(' ').unwrap();
    assert_eq!(there, said);
    sqlx::query("truncate unified_records").execute(&app.pool).await.unwrap();
    assert_eq!(app.texts(counted).await, ["0 0"]);
    app.database.close().await;
}
