//! What quarantine adds up to is kept by the database, whoever writes it. Each test's database is compared with a
//! count of its rows when the test ends; here the table is written in every way there is.

use kasparro::db::quarantine_totals::{GroupFilter, groups};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sqlx::{AssertSqlSafe, PgPool};

use crate::app::TestApp;
use crate::queue_contract::until;

const DIFFERENT: &str =
    "select coalesce(t.fingerprint, q.fingerprint)::text from quarantine_totals as t
    full join (
        select source, fingerprint, count(*) as stored,
               count(*) filter (where status in ('open', 'redriven')) as unresolved
        from quarantined_rows group by source, fingerprint
    ) as q using (source, fingerprint)
    where (t.stored, t.unresolved) is distinct from (q.stored, q.unresolved)";

async fn change(pool: &PgPool, rng: &mut StdRng) {
    let (run, at, few) =
        (rng.random_range(1..5), rng.random_range(0..300), rng.random_range(1..60));
    let status = ["open", "redriven", "resolved", "superseded"][rng.random_range(0..4)];
    let statement = match rng.random_range(0..10) {
        0..5 => format!(
            "insert into quarantined_rows (source, raw_ref, raw_row, field, reason, run_id, message, raw,
                                           fingerprint, status)
             select 's' || n % 2, 'file/1', n, 'f' || n % 3, 'r', {run}, 'm' || n, '',
                    decode('0' || n % 3, 'hex'), '{status}'
             from generate_series({at}, {at} + {few}) as n
             on conflict (source, raw_ref, raw_row, field, reason) do update set status = 'open'"
        ),
        5..8 => format!(
            "update quarantined_rows set status = '{status}'
             where raw_row between {at} and {at} + {few}"
        ),
        8 => format!("delete from quarantined_rows where raw_row between {at} and {at} + {few}"),
        _ => format!("delete from quarantined_rows where run_id = {run} and raw_row % 7 = 0"),
    };
    sqlx::query(AssertSqlSafe(statement)).execute(pool).await.unwrap();
}

#[tokio::test]
async fn totals_follow_rows_however_these_are_written() {
    let app = TestApp::empty().await;
    let mut rng = StdRng::seed_from_u64(1);
    for _ in 0..300 {
        change(&app.pool, &mut rng).await;
        assert_eq!(app.texts(DIFFERENT).await, [""; 0]);
    }
    // The first and the last run of what was removed are not known any more.
    sqlx::query("delete from quarantined_rows").execute(&app.pool).await.unwrap();
    assert_eq!(app.texts("select source from quarantine_totals").await, [""; 0]);
    assert_eq!(app.texts("select source from quarantine_days").await, [""; 0]);
    app.database.close().await;
}

#[tokio::test]
async fn those_who_write_at_once_in_any_order_do_not_wait_for_each_other_for_ever() {
    let app = TestApp::empty().await;
    let writers = (0..4).map(|writer| {
        let pool = app.pool.clone();
        tokio::spawn(async move {
            for round in 0..20 {
                let mut transaction = pool.begin().await.unwrap();
                // Each begins with another fingerprint, and two statements are one transaction.
                for turn in 0..2 {
                    let print = (writer + turn) % 2;
                    sqlx::query(AssertSqlSafe(format!(
                        "insert into quarantined_rows (source, raw_ref, raw_row, field, reason, run_id, message,
                                                       raw, fingerprint)
                         values ('s', 'file/{writer}', {round}, '{print}', 'r', 1, 'm', '', '\\x0{print}')"
                    )))
                    .execute(&mut *transaction)
                    .await
                    .unwrap();
                }
                transaction.commit().await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let groups = groups(&app.pool, GroupFilter::default(), 10).await.unwrap();
    let rows: Vec<_> = groups.iter().map(|group| (group.field.as_str(), group.rows)).collect();
    assert_eq!(rows, [("0", 80), ("1", 80)]);
    app.database.close().await;
}

/// Whoever counts quarantine keeps others from it until he commits: a batch has written all else by then.
#[tokio::test]
async fn a_batch_writes_its_quarantine_last() {
    let app = TestApp::empty().await;
    app.write(
        "lines.toml",
        "kind = \"csv\"\nprimary_key = [\"id\"]\n[csv]\npaths = [\"a.csv\"]\n[fields]\n\
         price = { type = \"decimal\" }\n[missing]\naction = \"tombstone\"\n",
    );
    app.write("a.csv", "id,price\n1,1\n2,dear\n");
    let mut holder = app.pool.begin().await.unwrap();
    sqlx::query("select lock_quarantine_totals(array['lines'])")
        .execute(&mut *holder)
        .await
        .unwrap();
    let waiting = "select count(*) > 0 from pg_locks
        where locktype = 'advisory' and not granted
          and database = (select oid from pg_database where datname = current_database())";
    // What a batch notes beside its records and its quarantine.
    let noted = "select count(*) from pg_locks as waits
        join pg_locks as holds on holds.pid = waits.pid and holds.granted
        where waits.locktype = 'advisory' and not waits.granted
          and holds.mode = 'RowExclusiveLock' and holds.relation = 'seen_keys'::regclass";
    let look = async {
        until(&app, waiting).await;
        let noted = app.number(noted).await;
        holder.rollback().await.unwrap();
        noted
    };
    let (run, noted) = tokio::join!(app.run("lines"), look);
    assert_eq!((run.counters.quarantined, noted), (1, 1), "{run:?}");
    app.database.close().await;
}
