//! The contenders: who loads the file, step by step, and what must come of it.
//!
//! Owns the steps and their checks. It must not know how cost is measured or shown.

use anyhow::{Context, ensure};
use sqlx::{AssertSqlSafe, Connection};
use tokio::process::Command;

use crate::bench::Bench;
use crate::cost::{self, Cost};
use crate::kasparro_program::{Counters, run, run_command};
use crate::lineup::{Contender, Step};
use crate::report::{Line, Measured};
use crate::server::Server;
use crate::{kasparro_program, service, statements, tables};

impl Contender {
    /// Loads everything once, each step measured, in a database of its own.
    pub async fn round(self, bench: &Bench<'_>, measured: &mut Measured) -> anyhow::Result<()> {
        let database = format!("bench_{}", self.name().replace('-', "_"));
        bench.server.create(&database).await?;
        match self {
            Self::Floor => {
                let cost = bench.psql(&database, include_str!("../sql/floor.sql"), Step::First, 1);
                measured.add(Line { contender: self, step: Step::First }, cost.await?);
                measured.tables(self, tables::sizes(bench.server, &database).await?);
            }
            Self::Script => self.script(bench, &database, measured).await?,
            Self::Kasparro(workers) => {
                kasparro_program::migrate(bench, &database).await?;
                self.kasparro(bench, &database, workers, measured).await?;
            }
            Self::Dirty => {
                kasparro_program::migrate(bench, &database).await?;
                self.dirty(bench, &database, measured).await?;
            }
            Self::Coins => {
                kasparro_program::migrate(bench, &database).await?;
                let command = kasparro_program::coins_command(bench, &database);
                let (cost, counters) = run(bench, command).await?;
                ensure!(counters.inserted >= 1_200, "only {} coins", counters.inserted);
                measured.add(Line { contender: self, step: Step::First }, cost);
            }
        }
        bench.server.drop(&database).await
    }

    async fn script(
        self,
        bench: &Bench<'_>,
        database: &str,
        measured: &mut Measured,
    ) -> anyhow::Result<()> {
        let mut connection = bench.server.connect(database).await?;
        sqlx::raw_sql(include_str!("../sql/tables.sql")).execute(&mut connection).await?;
        connection.close().await?;
        let steps = [Step::First, Step::Full, Step::Appended, Step::Changed];
        for (run, step) in (1..).zip(bench.steps(&steps)) {
            let script = include_str!("../sql/load.sql");
            let cost = bench.psql(database, script, *step, run).await?;
            measured.add(Line { contender: self, step: *step }, cost);
            if *step == Step::First {
                measured.tables(self, tables::sizes(bench.server, database).await?);
            }
        }
        let records = count(bench.server, database, "records").await?;
        ensure!(records == bench.expected_records(), "the script left {records} records");
        Ok(())
    }

    async fn kasparro(
        self,
        bench: &Bench<'_>,
        database: &str,
        workers: usize,
        measured: &mut Measured,
    ) -> anyhow::Result<()> {
        let all = [Step::First, Step::Untouched, Step::Full, Step::Appended, Step::Changed];
        for step in bench.steps(&all) {
            bench.files.show(&bench.files.path(*step))?;
            statements::forget(bench.server).await?;
            let command = run_command(bench, database, workers, *step == Step::Full);
            let (cost, counters) = run(bench, command).await?;
            let expected = bench.expected(*step);
            ensure!(counters == expected, "{step:?} gave {counters:?}, not {expected:?}");
            measured.add(Line { contender: self, step: *step }, cost);
            if *step == Step::First {
                measured.tables(self, tables::sizes(bench.server, database).await?);
                measured.statements(self, statements::of(bench.server, database, cost).await?);
            }
        }
        let records = count(bench.server, database, "unified_records").await?;
        ensure!(records == bench.expected_records(), "kasparro left {records} records");
        if !bench.first_only {
            measured.service(service::latencies(bench, database).await?);
        }
        Ok(())
    }

    async fn dirty(
        self,
        bench: &Bench<'_>,
        database: &str,
        measured: &mut Measured,
    ) -> anyhow::Result<()> {
        bench.files.show(&bench.files.dirty_path())?;
        let processors = std::thread::available_parallelism()?.get();
        let command = run_command(bench, database, processors, false);
        let (cost, counters) = run(bench, command).await?;
        let (written, rows) = (bench.files.dirty(), bench.files.size().rows);
        let distinct = rows - written.malformed - written.repeated;
        let expected = Counters {
            rows_read: rows,
            inserted: distinct,
            updated: written.repeated,
            unchanged: 0,
            quarantined: written.malformed,
        };
        ensure!(counters == expected, "the dirty file gave {counters:?}, not {expected:?}");
        measured.add(Line { contender: self, step: Step::First }, cost);
        Ok(())
    }
}

impl Bench<'_> {
    fn steps<'a>(&self, steps: &'a [Step]) -> &'a [Step] {
        if self.first_only { &steps[..1] } else { steps }
    }

    async fn psql(
        &self,
        database: &str,
        script: &str,
        step: Step,
        run: u32,
    ) -> anyhow::Result<Cost> {
        let folder = self.files.working_folder();
        let path = folder.join("script.sql");
        std::fs::write(&path, script)?;
        let extra = 1..=self.files.size().columns;
        let columns: String = extra.clone().map(|n| format!(", extra_{n} text")).collect();
        let members: String = extra.map(|n| format!(", 'extra_{n}', extra_{n}")).collect();
        let mut psql = Command::new("psql");
        psql.args(["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1"])
            .args(["--set", &format!("extra_columns={columns}")])
            .args(["--set", &format!("extra_members={members}")])
            .args(["--set", &format!("run={run}")])
            .args(["--dbname", &self.server.url(database), "--file"])
            .arg(&path)
            .stdin(cost::input(&self.files.path(step))?);
        let measured = cost::measure(self.server, psql, folder).await;
        let (cost, _) = measured.context("psql, of PostgreSQL's client programs")?;
        Ok(cost)
    }

    /// What a run of kasparro must count at a step.
    fn expected(&self, step: Step) -> Counters {
        let (rows, new) = (self.files.size().rows, self.files.size().new_rows());
        let updated = (1..=rows + new).filter(|row| row % 100 == 7).count() as u64;
        match step {
            Step::First => Counters { rows_read: rows, inserted: rows, ..Counters::default() },
            Step::Untouched => Counters::default(),
            Step::Full => Counters { rows_read: rows, unchanged: rows, ..Counters::default() },
            Step::Appended => Counters { rows_read: new, inserted: new, ..Counters::default() },
            Step::Changed => Counters {
                rows_read: rows + 2 * new,
                inserted: new,
                updated,
                unchanged: rows + new - updated,
                quarantined: 0,
            },
        }
    }

    /// How many records there must be after the last step.
    fn expected_records(&self) -> i64 {
        let size = self.files.size();
        let rows = if self.first_only { size.rows } else { size.rows + 2 * size.new_rows() };
        rows as i64
    }
}

async fn count(server: &Server, database: &str, table: &str) -> anyhow::Result<i64> {
    let mut connection = server.connect(database).await?;
    let statement = AssertSqlSafe(format!("select count(*) from {table}"));
    let count = sqlx::query_scalar(statement).fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(count)
}
