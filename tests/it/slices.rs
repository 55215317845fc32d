//! The engine's part of the seam: whatever a source plans, reads and names, its slices count in their order,
//! each is stored once, and what was stored is not read again.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kasparro::db::run_chains;
use kasparro::db::run_tasks::{self, TaskEnd, TaskState};
use kasparro::domain::actor::Actor;
use kasparro::domain::chain_end::{ChainEnd, StopReason};
use kasparro::domain::counters::Counters;
use kasparro::domain::run::{Mode, RunStatus};
use kasparro::domain::slice::SliceId;
use kasparro::tasks::start_run::Started;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::app::TestApp;
use crate::scripted::{Part, Script, play, sources};
use crate::shuffle::Shuffle;

const TABLE: &str = "select external_id || ' ' || name from unified_records order by external_id";

fn rows(rows: &[(i64, &str)]) -> Vec<(i64, String)> {
    rows.iter().map(|(id, name)| (*id, (*name).to_owned())).collect()
}

/// A stream of three slices.
fn stream() -> Script {
    let part = |id, name, continues_at: Option<&str>| Part {
        request: 1,
        rows: rows(&[(id, name), (9, name)]),
        continues_at: continues_at.map(str::to_owned),
        ..Part::default()
    };
    let parts =
        [("0", part(1, "a", Some("1"))), ("1", part(2, "b", Some("2"))), ("2", part(3, "c", None))];
    Script {
        planned: vec![(SliceId::FIRST, "0")],
        positions: parts.map(|(at, part)| (at.to_owned(), part)).into(),
        ..Script::default()
    }
}

async fn performed(app: &TestApp, source: &str) -> kasparro::db::runs::Run {
    let Started::New(run) = app.start(source, Mode::Incremental).await else {
        panic!("{source} has an active run")
    };
    let shuffle = Shuffle::with_sources(app, 1, sources()).await;
    shuffle.all(&mut StdRng::seed_from_u64(7)).await;
    app.get(run).await
}

#[tokio::test]
async fn a_task_that_reads_a_stream_stores_it_slice_by_slice() {
    let app = TestApp::empty().await;
    play(&app, "stream", stream());
    let run = performed(&app, "stream").await;
    assert_eq!(run.status, RunStatus::Success, "{run:?}");
    assert_eq!((run.counters.slices, run.counters.rows_read), (3, 6));
    assert_eq!(app.texts(TABLE).await, ["1 a", "2 b", "3 c", "9 c"]);
    let slices = "select first_slice || ' ' || state || ' ' || rows_read from run_tasks
                  where role = 'read' order by first_slice";
    assert_eq!(app.texts(slices).await, ["0 done 2", "1 done 2", "2 done 2"]);
    app.database.close().await;
}

/// A worker is killed while its task reads the last slice: what it stored counts, and is normalized already.
#[tokio::test]
async fn a_stream_whose_worker_was_killed_goes_on_behind_the_last_slice_that_was_stored() {
    let app = TestApp::empty().await;
    let mut script = stream();
    script.positions.get_mut("2").unwrap().hangs = true;
    let script = play(&app, "stream", script);
    let Started::New(run) = app.start("stream", Mode::Incremental).await else { panic!("busy") };
    let shuffle = Shuffle::with_sources(&app, 1, sources()).await;
    shuffle.one().await;
    shuffle.one_killed_when(async || script.seen.lock().unwrap().read.len() == 3).await;
    let left = app.get(run).await;
    assert_eq!((left.counters.slices, left.counters.rows_read), (2, 4), "{left:?}");
    let reading = "select first_slice || ' ' || (payload ->> 'position') from run_tasks
                   where role = 'read' and state = 'open'";
    assert_eq!(app.texts(reading).await, ["2 2"]);
    shuffle.all(&mut StdRng::seed_from_u64(7)).await;
    let run = app.get(run).await;
    assert_eq!(run.status, RunStatus::Success, "{run:?}");
    assert_eq!(app.texts(TABLE).await, ["1 a", "2 b", "3 c", "9 c"]);
    assert_eq!(script.seen.lock().unwrap().opened, ["0", "2"]);
    assert_eq!(run.counters.rows_read, 6);
    app.database.close().await;
}

#[tokio::test]
async fn a_stream_that_fails_in_its_midst_fails_the_run_and_goes_on_there_when_it_is_retried() {
    let app = TestApp::empty().await;
    let mut script = stream();
    script.positions.get_mut("1").unwrap().fails = -1;
    let script = play(&app, "stream", script);
    let run = performed(&app, "stream").await;
    assert_eq!(run.status, RunStatus::Failed, "{run:?}");
    assert_eq!(app.texts(TABLE).await, ["1 a", "9 a"]);
    script.fixed.store(true, Ordering::Relaxed);
    let actor = Actor::command_line("ann");
    let mut transaction = app.pool.begin().await.unwrap();
    kasparro::tasks::retry_run::retry_run(&mut transaction, run.id, &actor).await.unwrap();
    transaction.commit().await.unwrap();
    let shuffle = Shuffle::with_sources(&app, 1, sources()).await;
    shuffle.all(&mut StdRng::seed_from_u64(7)).await;
    let run = app.get(run.id).await;
    assert_eq!(run.status, RunStatus::Success, "{run:?}");
    assert_eq!(app.texts(TABLE).await, ["1 a", "2 b", "3 c", "9 c"]);
    let mut opened = script.seen.lock().unwrap().opened.clone();
    opened.dedup();
    assert_eq!(opened, ["0", "1"]);
    app.database.close().await;
}

/// The slower of two deliveries of a stream may take another slice for the last.
#[tokio::test]
async fn a_task_is_completed_only_with_the_slice_that_it_stands_at() {
    let app = TestApp::empty().await;
    play(&app, "stream", stream());
    let Started::New(run) = app.start("stream", Mode::Incremental).await else { panic!("busy") };
    let shuffle = Shuffle::with_sources(&app, 1, sources()).await;
    shuffle.one().await;
    let end = |slice| TaskEnd {
        state: TaskState::Done,
        attempt: 1,
        took: Duration::ZERO,
        worker: "w",
        error: None,
        error_kind: None,
        result: None,
        counters: Counters::default(),
        sequence: 9,
        slice: Some(slice),
    };
    let mut connection = app.pool.acquire().await.unwrap();
    for (slice, completed) in [(1, false), (0, true), (0, false)] {
        let key = "fetch_page:0";
        let found = run_tasks::complete(&mut connection, run, key, end(slice)).await.unwrap();
        assert_eq!(found, completed, "slice {slice}");
    }
    drop(connection);
    app.database.close().await;
}

#[tokio::test]
async fn a_slice_that_is_named_in_front_of_the_one_that_names_it_fails_the_run() {
    let app = TestApp::empty().await;
    let first = SliceId::new(0, 5);
    let part = Part { next: vec![(SliceId::new(0, 4), "1".to_owned())], ..Part::default() };
    let positions = [("0".to_owned(), part)].into();
    let script = Script { planned: vec![(first, "0")], positions, ..Script::default() };
    play(&app, "backwards", script);
    let run = performed(&app, "backwards").await;
    assert_eq!(run.status, RunStatus::Failed);
    assert!(run.error.as_deref().unwrap_or_default().contains("in front of it"), "{run:?}");
    app.database.close().await;
}

#[tokio::test]
async fn what_slices_say_of_how_far_they_came_is_what_the_next_run_begins_with() {
    let app = TestApp::empty().await;
    let part = |watermark: Option<i64>, next: Option<&str>| Part {
        watermark: watermark.map(Value::from),
        next: next.map(|at| (SliceId::new(1, 0), at.to_owned())).into_iter().collect(),
        rows: rows(&[(1, "a")]),
        ..Part::default()
    };
    let parts = [("0", part(Some(3), Some("1"))), ("1", part(Some(8), None))];
    let script = play(
        &app,
        "marks",
        Script {
            planned: vec![(SliceId::FIRST, "0")],
            positions: parts.map(|(at, part)| (at.to_owned(), part)).into(),
            ..Script::default()
        },
    );
    performed(&app, "marks").await;
    performed(&app, "marks").await;
    let states = script.seen.lock().unwrap().states.clone();
    let first = json!({ "before": null, "watermarks": [3, 8], "files": [] });
    assert_eq!(states, [Value::Null, first]);
    app.database.close().await;
}

#[tokio::test]
async fn a_chain_that_may_lack_something_makes_the_run_degraded_and_says_why() {
    let app = TestApp::empty().await;
    let part = |id: i64, end| Part {
        watermark: Some(id.into()),
        rows: rows(&[(id, "a")]),
        request: id as u8,
        end: Some(end),
        ..Part::default()
    };
    let cut = ChainEnd::incomplete(StopReason::MaxPages, "the window of May was cut");
    let parts =
        [("0", part(1, ChainEnd::complete(StopReason::Empty))), ("1", part(2, cut.clone()))];
    let script = play(
        &app,
        "windows",
        Script {
            planned: vec![(SliceId::FIRST, "0"), (SliceId::new(1, 0), "1")],
            positions: parts.map(|(at, part)| (at.to_owned(), part)).into(),
            ..Script::default()
        },
    );
    let run = performed(&app, "windows").await;
    assert_eq!(run.status, RunStatus::Degraded, "{run:?}");
    let note = run.stop_reason.unwrap_or_default();
    assert!(note.starts_with("the window of May was cut"), "{note}");
    let pool = app.database.pool();
    let chains = run_chains::list(pool, run.id, 9).await.unwrap();
    let ends: Vec<_> = chains.into_iter().map(|chain| (chain.slice, chain.end)).collect();
    let whole = (SliceId::FIRST, ChainEnd::complete(StopReason::Empty));
    assert_eq!(ends, [(SliceId::new(1, 0), cut), whole]);
    performed(&app, "windows").await;
    let state = script.seen.lock().unwrap().states[1].clone();
    assert_eq!((&state["watermarks"], &state["complete"]), (&json!([1, 2]), &json!(false)));
    let lie = sqlx::query("update etl_runs set status = 'success'").execute(pool).await;
    assert!(lie.unwrap_err().to_string().contains("etl_runs_chains_complete_check"));
    app.database.close().await;
}

/// Two parents without children are answered alike.
#[tokio::test]
async fn requests_that_are_answered_with_the_same_body_are_pages_of_their_own() {
    let app = TestApp::empty().await;
    let part = |request: u8, rows: &[(i64, &str)]| Part {
        request,
        rows: self::rows(rows),
        context: json!({ "parent": request }),
        ..Part::default()
    };
    let (none, one): (&[_], &[_]) = (&[], &[(1, "a")]);
    let parts =
        [("0", part(0, none)), ("1", part(1, none)), ("2", part(2, one)), ("3", part(3, one))];
    let places = [(0, "0"), (1, "1"), (2, "2"), (3, "3")];
    let script = play(
        &app,
        "parents",
        Script {
            planned: places.map(|(lane, at)| (SliceId::new(lane, 0), at)).into(),
            positions: parts.map(|(at, part)| (at.to_owned(), part)).into(),
            ..Script::default()
        },
    );
    let run = performed(&app, "parents").await;
    assert_eq!(run.status, RunStatus::SuccessWithDuplicates, "{run:?}");
    let Counters { slices, rows_read, inserted, unchanged, .. } = run.counters;
    assert_eq!((slices, rows_read, inserted, unchanged), (4, 2, 1, 1));
    // Each was normalized, with what is known of its request.
    let mut contexts = std::mem::take(&mut script.seen.lock().unwrap().contexts);
    contexts.sort_by_key(Value::to_string);
    // Deliveries come twice now and then.
    contexts.dedup();
    assert_eq!(contexts, [0, 1, 2, 3].map(|parent| json!({ "parent": parent })));
    assert_eq!(app.number("select count(distinct result ->> 'raw') from run_tasks").await, 4);
    assert_eq!(app.number("select count(*) from raw_api_pages").await, 4);
    assert_eq!(app.number("select count(*) from raw_api_data").await, 2);
    // Nothing new: the same pages, and none of them normalized.
    let run = performed(&app, "parents").await;
    assert_eq!((run.counters.rows_read, run.counters.unchanged), (2, 2));
    assert_eq!(app.number("select count(*) from raw_api_pages").await, 4);
    assert_eq!(script.seen.lock().unwrap().contexts, [Value::Null; 0]);
    app.database.close().await;
}

/// The batch of a slice is lost, as by hand in the ledger.
#[tokio::test]
async fn a_run_that_read_a_slice_which_was_never_normalized_is_no_success() {
    let app = TestApp::empty().await;
    let part = |next: Option<&str>, id| Part {
        rows: rows(&[(id, "a")]),
        next: next.map(|at| (SliceId::new(0, 1), at.to_owned())).into_iter().collect(),
        ..Part::default()
    };
    let parts = [("0", part(Some("1"), 1)), ("1", part(None, 2))];
    play(
        &app,
        "lost",
        Script {
            planned: vec![(SliceId::FIRST, "0")],
            positions: parts.map(|(at, part)| (at.to_owned(), part)).into(),
            ..Script::default()
        },
    );
    let lose = "create function lose() returns trigger language plpgsql as $$
        begin
            -- What is normalized of the first slice says that it was none.
            new.inserted := 0;
            return new;
        end $$;
        create trigger lose before insert on run_progress for each row
        when (new.inserted > 0) execute function lose()";
    sqlx::raw_sql(lose).execute(&app.pool).await.unwrap();
    let run = performed(&app, "lost").await;
    assert_eq!(run.status, RunStatus::Failed, "{run:?}");
    let why = run.stop_reason.unwrap_or_default();
    assert!(why.starts_with("2 rows were read, and"), "{why}");
    assert_eq!(app.number("select count(*) from ingestion_checkpoints").await, 0);
    let claim =
        sqlx::query("update etl_runs set status = 'success', inserted = 1 where rows_read = 2");
    let refused = claim.execute(&app.pool).await.unwrap_err();
    let constraint = refused.as_database_error().and_then(|error| error.constraint());
    assert_eq!(constraint, Some("etl_runs_rows_add_up_check"), "{refused}");
    app.database.close().await;
}

/// A random source: lanes, each a chain of tasks, some side by side, or a stream, whose rows have few keys.
struct Random {
    script: Script,
    /// The rows of all slices, by their places.
    slices: BTreeMap<SliceId, Vec<(i64, String)>>,
}

/// Names live as long as the program: a test has few.
fn name(at: SliceId) -> &'static str {
    format!("{}.{}", at.lane(), at.number()).leak()
}

fn random(dice: &mut StdRng) -> Random {
    let mut script = Script { slices_per_batch: dice.random_range(1..4), ..Script::default() };
    let mut slices = BTreeMap::new();
    let lanes = dice.random_range(1..4);
    for lane in 0..lanes {
        let length = dice.random_range(1..7_u32);
        let is_stream = dice.random_ratio(1, 3);
        let side_by_side = if is_stream { 1 } else { dice.random_range(1..4) };
        for number in 0..length {
            let at = SliceId::new(lane, number);
            let many = dice.random_range(0..5);
            let row = |dice: &mut StdRng| {
                (dice.random_range(0..8), format!("n{}", dice.random_range(0..4)))
            };
            let rows: Vec<_> = (0..many).map(|_| row(dice)).collect();
            let behind = (number + side_by_side < length).then(|| at.ahead(side_by_side));
            let mut part = Part {
                request: dice.random_range(0..255),
                rows: rows.clone(),
                fails: i64::from(dice.random_ratio(1, 8)),
                ..Part::default()
            };
            match behind {
                Some(next) if is_stream => part.continues_at = Some(name(next).to_owned()),
                Some(next) => part.next.push((next, name(next).to_owned())),
                None => {}
            }
            // The first slice of a lane names the next lane, or that is planned.
            let next_lane = SliceId::new(lane + 1, 0);
            if number == 0 && lane + 1 < lanes {
                match dice.random_ratio(1, 2) {
                    true => script.planned.push((next_lane, name(next_lane))),
                    false => part.next.push((next_lane, name(next_lane).to_owned())),
                }
            }
            script.positions.insert(name(at).to_owned(), part);
            slices.insert(at, rows);
        }
        let together = side_by_side.min(length);
        let first = (0..together).map(|number| SliceId::new(lane, number));
        script
            .planned
            .extend(first.filter(|at| at.number() > 0 || lane == 0).map(|at| (at, name(at))));
    }
    Random { script, slices }
}

/// What reading all rows one by one comes to.
fn expected(slices: &BTreeMap<SliceId, Vec<(i64, String)>>) -> (Vec<String>, Counters) {
    let mut table = BTreeMap::new();
    let mut counters = Counters::default();
    for (id, name) in slices.values().flatten() {
        counters.rows_read += 1;
        match table.insert(id.to_string(), name) {
            None => counters.inserted += 1,
            Some(before) if before == name => counters.unchanged += 1,
            Some(_) => counters.updated += 1,
        }
    }
    (table.into_iter().map(|(id, name)| format!("{id} {name}")).collect(), counters)
}

#[tokio::test]
async fn lanes_and_streams_read_side_by_side_leave_what_reading_one_by_one_leaves() {
    let seed = match std::env::var("KASPARRO_TEST_SEED") {
        Ok(seed) => seed.parse().expect("a number"),
        Err(_) => u64::from(rand::random::<u32>()),
    };
    let app = TestApp::empty().await;
    for seed in seed..seed + 16 {
        println!("seed {seed}");
        let mut dice = StdRng::seed_from_u64(seed);
        let Random { script, slices } = random(&mut dice);
        let source = format!("random_{seed}");
        play(&app, &source, script);
        let Started::New(run) = app.start(&source, Mode::Incremental).await else { panic!("busy") };
        let shuffle = Shuffle::with_sources(&app, dice.random_range(1..=4), sources()).await;
        shuffle.all(&mut dice).await;
        let run = app.get(run).await;
        assert!(run.status.is_success(), "seed {seed}: {run:?}");
        let (table, counters) = expected(&slices);
        let query = "select external_id || ' ' || name from unified_records where source = $1
                     order by external_id";
        let found: Vec<String> =
            sqlx::query_scalar(query).bind(&source).fetch_all(&app.pool).await.unwrap();
        assert_eq!(found, table, "seed {seed}");
        let Counters { bytes, .. } = run.counters;
        let all = slices.len() as i64;
        assert_eq!(run.counters, Counters { slices: all, bytes, ..counters }, "seed {seed}");
    }
    app.database.close().await;
}
