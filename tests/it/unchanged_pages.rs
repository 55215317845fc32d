//! API pages that change nothing: which are skipped without a look at their bodies, and that
//! neither the table nor a counter can tell.

use std::time::Duration;

use kasparro::db::runs::Run;
use kasparro::domain::counters::Counters;
use kasparro::domain::run::Mode::{Full, Incremental};
use kasparro::domain::run::RunStatus::{Degraded, Failed, Success, SuccessWithDuplicates};
use kasparro::domain::run::{Mode, RunStatus};
use kasparro::tasks::start_run::Started;
use serde_json::{Value, json};

use crate::app::TestApp;

const NAMES: &str = "select external_id || '=' || coalesce(name, '') from unified_records
    where source = 'coins' order by external_id";
/// The pages that the last run did not normalize, by their numbers from 0.
const SKIPPED: &str = "select slice from run_tasks as t,
        jsonb_array_elements_text(t.result -> 'skipped') as slice
    where t.run_id = (select max(id) from etl_runs where source = 'coins')
      and t.kind = 'normalize_batch' order by slice::int";
/// A body that cannot be mapped: whoever looks into it, fails.
const SPOILED: &str = "update raw_api_data set body = '\"spoiled\"'";

/// A job file for the pages in `pages/`.
fn job(lines: &str) -> String {
    format!(
        "kind = \"rest_api\"\nprimary_key = [\"id\"]\n[rest_api]\n\
         base_url = \"https://coins.example\"\npath = \"coins\"\nrecording = \"pages\"\n\
         paginator = {{ type = \"page_number\" }}\n[fields]\n\
         name = {{ from = \"$.name\", required = true }}\n{lines}"
    )
}

/// A page of records, each given as `id=name`; without `=` it has no name, which is refused.
fn page(records: &str) -> Value {
    let record = |text: &str| match text.split_once('=') {
        // A name that is a number, and one beside a field that others do not have.
        Some((id, "7")) => json!({ "id": id, "name": 7 }),
        Some((id, "more")) => json!({ "id": id, "name": "more", "extra": 1 }),
        Some((id, name)) => json!({ "id": id, "name": name }),
        None => json!({ "id": text }),
    };
    records.split_whitespace().map(record).collect()
}

/// Makes these the pages that the API has, and behind them the empty one that ends a full sync.
fn publish(app: &TestApp, pages: &[&str]) {
    let _ = std::fs::remove_dir_all(app.path("pages"));
    for (number, records) in (1..).zip(pages.iter().chain([&""])) {
        app.write(&format!("pages/page-{number:04}.json"), page(records).to_string());
    }
}

async fn coins(pages: &[&str]) -> TestApp {
    let app = TestApp::empty().await;
    app.write("coins.toml", job(""));
    publish(&app, pages);
    app
}

async fn spoil(app: &TestApp) {
    sqlx::query(SPOILED).execute(&app.pool).await.unwrap();
}

/// Inserted, updated, unchanged, quarantined; and that they add up.
fn counted(run: &Run) -> [i64; 4] {
    let Counters { rows_read, inserted, updated, unchanged, quarantined, .. } = run.counters;
    assert_eq!(rows_read, inserted + updated + unchanged + quarantined, "{run:?}");
    [inserted, updated, unchanged, quarantined]
}

async fn expect(app: &TestApp, mode: Mode, status: RunStatus, counters: [i64; 4]) -> Run {
    let run = app.run_mode("coins", mode).await;
    assert_eq!(run.status, status, "{run:?}");
    assert_eq!(counted(&run), counters, "{run:?}");
    run
}

#[tokio::test]
async fn no_body_of_an_identical_sweep_is_looked_into() {
    let app = coins(&["1=a 2=b", "3=c", "4=d 5=e 6=f"]).await;
    expect(&app, Incremental, Success, [6, 0, 0, 0]).await;
    assert_eq!(app.texts(SKIPPED).await, [] as [&str; 0]);
    spoil(&app).await;
    for _ in 0..2 {
        let run = expect(&app, Incremental, SuccessWithDuplicates, [0, 0, 6, 0]).await;
        assert_eq!(run.counters.slices, 4);
        assert_eq!(app.texts(SKIPPED).await, ["0", "1", "2", "3"]);
    }
    app.database.close().await;
}

#[tokio::test]
async fn of_many_pages_only_those_that_changed_are_looked_into() {
    let mut many: Vec<String> = (0..25).map(|n| format!("{n}=a {}=b", n + 100)).collect();
    // No page becomes longer than those that were equally long before it.
    many[0].push_str(" 300=c");
    let mut pages: Vec<&str> = many.iter().map(String::as_str).collect();
    let app = coins(&pages).await;
    expect(&app, Incremental, Success, [51, 0, 0, 0]).await;
    spoil(&app).await;
    pages[7] = "7=a 107=new 207=more";
    publish(&app, &pages);
    expect(&app, Incremental, SuccessWithDuplicates, [1, 1, 50, 0]).await;
    let skipped = app.texts(SKIPPED).await;
    assert_eq!(skipped.len(), 25, "{skipped:?}");
    assert!(!skipped.contains(&"7".to_owned()), "{skipped:?}");
    // The new page has joined them.
    spoil(&app).await;
    expect(&app, Incremental, SuccessWithDuplicates, [0, 0, 52, 0]).await;
    assert_eq!(app.texts(SKIPPED).await.len(), 26);
    app.database.close().await;
}

#[tokio::test]
async fn a_key_that_came_to_an_earlier_page_does_not_win_over_the_page_where_it_was() {
    let app = coins(&["1=a", "2=b", "3=c"]).await;
    expect(&app, Incremental, Success, [3, 0, 0, 0]).await;
    publish(&app, &["1=a 3=early", "2=b", "3=c"]);
    expect(&app, Incremental, SuccessWithDuplicates, [0, 0, 4, 0]).await;
    assert_eq!(app.texts(SKIPPED).await, ["1", "3"]);
    assert_eq!(app.texts(NAMES).await, ["1=a", "2=b", "3=c"]);
    app.database.close().await;
}

#[tokio::test]
async fn a_key_that_came_to_a_later_page_is_set_back_by_its_own_page_in_the_next_run() {
    let app = coins(&["1=a 9=z", "2=b", "3=c"]).await;
    expect(&app, Incremental, Success, [4, 0, 0, 0]).await;
    publish(&app, &["1=a 9=z", "2=b", "3=c 1=late"]);
    expect(&app, Incremental, SuccessWithDuplicates, [0, 1, 4, 0]).await;
    assert_eq!(app.texts(SKIPPED).await, ["0", "1", "3"]);
    assert_eq!(app.texts(NAMES).await, ["1=late", "2=b", "3=c", "9=z"]);
    // Now the first page says something else than the table.
    expect(&app, Incremental, SuccessWithDuplicates, [0, 0, 5, 0]).await;
    assert_eq!(app.texts(SKIPPED).await, ["1", "3"]);
    assert_eq!(app.texts(NAMES).await, ["1=late", "2=b", "3=c", "9=z"]);
    app.database.close().await;
}

#[tokio::test]
async fn a_page_that_contradicts_itself_is_always_normalized() {
    let app = coins(&["1=a 1=b", "2=c 2=c"]).await;
    expect(&app, Incremental, SuccessWithDuplicates, [2, 1, 1, 0]).await;
    expect(&app, Incremental, SuccessWithDuplicates, [0, 0, 4, 0]).await;
    assert_eq!(app.texts(SKIPPED).await, ["1", "2"]);
    app.database.close().await;
}

#[tokio::test]
async fn a_full_run_looks_into_every_page_and_mends_what_was_deleted_by_hand() {
    let app = coins(&["1=a", "2=b"]).await;
    expect(&app, Incremental, Success, [2, 0, 0, 0]).await;
    sqlx::query("delete from unified_records where external_id = '1'")
        .execute(&app.pool)
        .await
        .unwrap();
    expect(&app, Incremental, SuccessWithDuplicates, [0, 0, 2, 0]).await;
    assert_eq!(app.texts(NAMES).await, ["2=b"]);
    expect(&app, Full, SuccessWithDuplicates, [1, 0, 1, 0]).await;
    assert_eq!(app.texts(SKIPPED).await, [] as [&str; 0]);
    assert_eq!(app.texts(NAMES).await, ["1=a", "2=b"]);
    expect(&app, Incremental, SuccessWithDuplicates, [0, 0, 2, 0]).await;
    assert_eq!(app.texts(SKIPPED).await, ["0", "1", "2"]);
    app.database.close().await;
}

#[tokio::test]
async fn after_a_change_of_the_job_file_every_page_is_looked_into() {
    let app = coins(&["1=a", "2=b"]).await;
    expect(&app, Incremental, Success, [2, 0, 0, 0]).await;
    app.write("coins.toml", job("category = { const = \"coin\" }\n"));
    expect(&app, Incremental, Success, [0, 2, 0, 0]).await;
    // And after it was taken back.
    app.write("coins.toml", job(""));
    expect(&app, Incremental, Success, [0, 2, 0, 0]).await;
    expect(&app, Incremental, SuccessWithDuplicates, [0, 0, 2, 0]).await;
    assert_eq!(app.texts(SKIPPED).await, ["0", "1", "2"]);
    app.database.close().await;
}

#[tokio::test]
async fn a_source_that_was_a_file_for_a_while_is_looked_into_again() {
    let app = coins(&["1=a", "2=b"]).await;
    expect(&app, Incremental, Success, [2, 0, 0, 0]).await;
    app.write("coins.csv", "id,name\n1,from the file\n");
    app.write(
        "coins.toml",
        "kind = \"csv\"\nprimary_key = [\"id\"]\n[csv]\npaths = [\"coins.csv\"]\n\
         [fields]\nname = { column = \"name\" }\n",
    );
    expect(&app, Incremental, Success, [0, 1, 0, 0]).await;
    app.write("coins.toml", job(""));
    expect(&app, Incremental, SuccessWithDuplicates, [0, 1, 1, 0]).await;
    assert_eq!(app.texts(NAMES).await, ["1=a", "2=b"]);
    app.database.close().await;
}

#[tokio::test]
async fn quarantined_rows_of_a_page_that_is_passed_over_are_counted_and_kept() {
    const QUARANTINE: &str = "select q::text from quarantined_rows as q order by 1";
    let app = coins(&["1=a 2", "3 4 5", "6=f"]).await;
    let first = expect(&app, Incremental, Degraded, [2, 0, 0, 4]).await;
    assert!(first.stop_reason.as_ref().unwrap().contains("4 × `$.name` missing_field"));
    let before = app.texts(QUARANTINE).await;
    assert_eq!(before.len(), 4);
    spoil(&app).await;
    let again = expect(&app, Incremental, Degraded, [0, 0, 2, 4]).await;
    assert_eq!((again.status, again.stop_reason), (first.status, first.stop_reason));
    assert_eq!(app.texts(SKIPPED).await.len(), 4);
    assert_eq!(app.texts(QUARANTINE).await, before);
    app.database.close().await;
}

#[tokio::test]
async fn what_a_failed_run_wrote_is_known_to_the_next() {
    let app = coins(&["1=a", "2=b", "3=c"]).await;
    expect(&app, Incremental, Success, [3, 0, 0, 0]).await;
    publish(&app, &["1=a", "2=b 3=late"]);
    std::fs::remove_file(app.path("pages/page-0003.json")).unwrap();
    expect(&app, Incremental, Failed, [0, 1, 2, 0]).await;
    publish(&app, &["1=a", "2=b", "3=c"]);
    expect(&app, Incremental, SuccessWithDuplicates, [0, 1, 2, 0]).await;
    assert_eq!(app.texts(NAMES).await, ["1=a", "2=b", "3=c"]);
    app.database.close().await;
}

#[tokio::test]
async fn a_contract_that_asks_for_the_schema_passes_over_what_the_first_version_is_made_of() {
    let app = coins(&["1=a", "2=b"]).await;
    app.write("coins.toml", job("[contract]\nnew_field = \"quarantine_row\"\n"));
    // The first run has no schema to measure by, the second has the first version.
    for skipped in [0, 3, 3] {
        app.run("coins").await;
        assert_eq!(app.texts(SKIPPED).await.len(), skipped);
    }
    app.database.close().await;
}

#[tokio::test]
async fn a_page_of_which_rows_were_set_aside_is_looked_into_once_there_is_a_schema() {
    let app = TestApp::empty().await;
    let lines = "price = { type = \"decimal\", from = \"$.name\" }\n\
                 [contract]\ntype_change = \"discard_value\"\n";
    app.write("coins.toml", job(lines));
    publish(&app, &["1=5 2=6", "3=x"]);
    expect(&app, Incremental, Success, [2, 0, 0, 1]).await;
    expect(&app, Incremental, SuccessWithDuplicates, [0, 0, 2, 1]).await;
    assert_eq!(app.texts(SKIPPED).await, ["0", "2"]);
    app.database.close().await;
}

#[tokio::test]
async fn a_schema_that_changes_has_every_page_looked_into() {
    let app = coins(&["1=a", "2=b"]).await;
    let contract = "[contract]\ntype_change = \"quarantine_row\"\n";
    app.write("coins.toml", job(contract));
    app.run("coins").await;
    let extra = json!([{ "id": "9", "name": "c", "extra": 1 }]).to_string();
    app.write("pages/page-0002.json", extra);
    // The new field makes a second version, which the first run was not measured by.
    for skipped in [2, 0, 3] {
        app.run("coins").await;
        assert_eq!(app.texts(SKIPPED).await.len(), skipped);
    }
    app.database.close().await;
}

#[tokio::test]
async fn pages_that_say_what_they_said_are_counted_many_in_a_task_and_sent_no_more() {
    let many: Vec<String> = (0..120).map(|n| format!("{n}=a")).collect();
    let pages: Vec<&str> = many.iter().map(String::as_str).collect();
    let app = coins(&pages).await;
    expect(&app, Incremental, Success, [120, 0, 0, 0]).await;
    // A body that was sent again would be noticed.
    let refuse = "create function refuse() returns trigger language plpgsql as
            $$ begin raise 'sent again'; end $$;
        create trigger refuse before insert on raw_api_data for each row execute function refuse()";
    sqlx::raw_sql(refuse).execute(&app.pool).await.unwrap();
    expect(&app, Incremental, SuccessWithDuplicates, [0, 0, 120, 0]).await;
    const BATCHES: &str = "select concat_ws('-', first_slice, last_slice) from run_tasks
        where kind = 'normalize_batch' and run_id = (select max(id) from etl_runs)
        order by first_slice";
    assert_eq!(app.texts(BATCHES).await, ["0-49", "50-99", "100-120"]);
    app.database.close().await;
}

/// Who removes old pages between reading a page and storing it has to be found out.
#[tokio::test]
async fn a_kept_page_that_was_removed_meanwhile_is_stored_again() {
    let app = coins(&["1=a", "2=b"]).await;
    app.run("coins").await;
    let mut other = app.pool.begin().await.unwrap();
    sqlx::query("delete from raw_api_data").execute(&mut *other).await.unwrap();
    let removing = async {
        const WAITING: &str = "select count(*) from pg_locks where not granted";
        while app.number(WAITING).await == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        other.commit().await.unwrap();
    };
    let (run, ()) = tokio::join!(app.run("coins"), removing);
    assert_eq!(run.status, SuccessWithDuplicates, "{run:?}");
    assert_eq!(app.number("select count(*) from raw_api_data").await, 3);
    app.database.close().await;
}

#[tokio::test]
async fn pages_that_the_source_has_no_more_are_forgotten() {
    let app = coins(&["1=a", "2=b", "3=c"]).await;
    const KNOWN: &str = "select count(*) from unchanged_pages where source = 'coins'";
    app.run("coins").await;
    assert_eq!(app.number(KNOWN).await, 4);
    publish(&app, &["1=a"]);
    app.run("coins").await;
    assert_eq!(app.number(KNOWN).await, 2);
    app.database.close().await;
}

#[tokio::test]
async fn beyond_a_million_records_of_a_source_no_page_is_kept() {
    let app = coins(&["1=a", "2=b"]).await;
    let million = "insert into unchanged_pages
            (source, page_hash, mapping_hash, run_id, records, quarantined, keys)
        select source, decode(repeat('00', 16), 'hex'), decode(repeat('00', 16), 'hex'), 1,
            1000000, 0, decode(repeat('00', 8000000), 'hex')
        from unnest(array['coins', 'another']) as source";
    sqlx::query(million).execute(&app.pool).await.unwrap();
    app.run("coins").await;
    // The run did not read the page that stood for a million, so now there is room.
    for skipped in [0, 3] {
        expect(&app, Incremental, SuccessWithDuplicates, [0, 0, 2, 0]).await;
        assert_eq!(app.texts(SKIPPED).await.len(), skipped);
    }
    app.database.close().await;
}

/// Small numbers without an order that a test could hide behind.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % n as u64) as usize
    }

    /// Few keys, fewer names, and now and then a row that is refused.
    fn page(&mut self) -> String {
        let mut records = String::new();
        for _ in 0..=self.below(3) {
            let (id, name) = (self.below(40), self.below(2));
            let record = match self.below(24) {
                0 | 1 => format!("{id} "),
                2 => format!("{id}=7 "),
                3 => format!("{id}=more "),
                _ => format!("{id}={name} "),
            };
            records.push_str(&record);
        }
        records
    }

    /// What an API may do to its pages between two full syncs.
    fn change(&mut self, pages: &mut Vec<String>, former: &mut Vec<String>) {
        former.extend(pages.iter().cloned());
        for _ in 0..self.below(4) {
            let (at, other) = (self.below(pages.len()), self.below(pages.len()));
            match self.below(6) {
                0 => pages[at] = self.page(),
                1 => pages[at] = former[self.below(former.len())].clone(),
                2 => pages.swap(at, other),
                3 => pages.insert(at, pages[other].clone()),
                4 if pages.len() > 3 => drop(pages.remove(at)),
                _ => {
                    let moved = pages[other].split_whitespace().next().unwrap_or("0=0").to_owned();
                    pages[at] = format!("{} {moved}", pages[at]);
                }
            }
        }
        // A page that is the one before it again would be an error of the API.
        pages.dedup_by_key(|records| page(records).to_string());
    }
}

/// What a source's records and quarantined rows say. Where a record came from is not part of it:
/// a key that two pages of one transaction give back and forth is written by neither.
async fn table(app: &TestApp, source: &str) -> Vec<String> {
    let query = "select concat_ws('|', external_id, name, encode(content_hash, 'hex')) as line
         from unified_records where source = $1
         union all
         select concat_ws('|', raw_ref, raw_row, field, reason, message)
         from quarantined_rows where source = $1
         order by line";
    sqlx::query_scalar(query).bind(source).fetch_all(&app.pool).await.unwrap()
}

/// Records whose lineage leads to a row that says something else.
const WRONG_LINEAGE: &str = "select count(*) from unified_records as r
    inner join raw_api_data as a on a.source = r.source
        and 'page/' || encode(a.body_hash, 'hex') = r.raw_ref
    where a.body -> (r.raw_row - 1)::int ->> 'id' <> r.external_id
       or a.body -> (r.raw_row - 1)::int ->> 'name' <> r.name";

/// Runs the source, and its twin in full. Pages that queue up are normalized several at a time.
async fn run_both(app: &TestApp, queue_up: bool) -> [Run; 2] {
    const READING: &str = "select count(*) from etl_runs as r where r.finished_at is null
        and not exists (select from run_tasks as t
            where t.run_id = r.id and t.kind = 'snapshot_schema')";

    let (Started::New(run), Started::New(twin)) =
        (app.start("coins", Incremental).await, app.start("twin", Full).await)
    else {
        panic!("one of the two has an active run");
    };
    let mut hold = app.pool.begin().await.unwrap();
    if queue_up {
        sqlx::query("lock table unified_records").execute(&mut *hold).await.unwrap();
    }
    let release = async {
        while queue_up && app.number(READING).await > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        hold.rollback().await.unwrap();
    };
    tokio::join!(app.drain(), release);
    [app.get(run).await, app.get(twin).await]
}

/// Nothing of what becomes of a row depends on the schema under the first.
const CONTRACTS: [&str; 5] = [
    "",
    "[contract]\nnew_field = \"quarantine_row\"\n",
    "[contract]\nmissing_field = \"quarantine_row\"\n",
    "[contract]\ntype_change = \"discard_value\"\nnew_field = \"discard_value\"\n",
    "[contract]\ntype_change = \"quarantine_row\"\nmissing_field = \"evolve\"\n",
];

/// Whatever the pages become, an incremental run counts and leaves what a full one does.
#[tokio::test]
async fn nothing_tells_a_source_with_pages_passed_over_from_its_twin_without() {
    let mut skipped = 0;
    for seed in 0..5 {
        let mut dice = Dice(seed);
        let app = TestApp::empty().await;
        let mut pages: Vec<String> = (0..=dice.below(25)).map(|_| dice.page()).collect();
        let mut former = Vec::new();
        let mut category = "const = \"a\"";
        let contract = CONTRACTS[seed as usize % CONTRACTS.len()];
        for sync in 0..12 {
            dice.change(&mut pages, &mut former);
            publish(&app, &pages.iter().map(String::as_str).collect::<Vec<_>>());
            if dice.below(6) == 0 {
                let lost = dice.below(pages.len()) + 1;
                std::fs::remove_file(app.path(&format!("pages/page-{lost:04}.json"))).unwrap();
            }
            if dice.below(6) == 0 {
                category = ["const = \"a\"", "from = \"$.name\""][dice.below(2)];
            }
            for source in ["coins", "twin"] {
                let lines = format!("category = {{ {category} }}\n{contract}");
                app.write(&format!("{source}.toml"), job(&lines));
            }
            let [run, twin] = run_both(&app, sync % 2 == 0).await;
            skipped += app.texts(SKIPPED).await.len();
            let place = format!("seed {seed}, sync {sync}: {pages:#?}");
            assert_eq!(run.status, twin.status, "{place}");
            assert_eq!(run.counters, twin.counters, "{place}");
            counted(&run);
            assert_eq!(table(&app, "coins").await, table(&app, "twin").await, "{place}");
            assert_eq!(app.number(WRONG_LINEAGE).await, 0, "{place}");
        }
        app.database.close().await;
    }
    assert!(skipped > 100, "only {skipped} pages were skipped");
}
