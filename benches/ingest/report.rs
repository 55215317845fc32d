//! The tables: medians over the rounds, as Markdown.
//!
//! Owns what is shown of what was measured. It must not know how it was measured.

use std::collections::BTreeMap;

use crate::cost::Cost;
use crate::lineup::{Contender, Size, Step};
use crate::service::Latency;
use crate::statements::Statements;
use crate::tables::TableSize;

const MEGABYTE: f64 = 1e6;

/// Who loads what: a row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    pub contender: Contender,
    pub step: Step,
}

/// Everything measured with files of one size. Of what is the same in each round the last stays.
pub struct Measured {
    size: Size,
    bytes: u64,
    rounds: usize,
    lines: BTreeMap<Line, Vec<Cost>>,
    tables: BTreeMap<Contender, Vec<TableSize>>,
    statements: BTreeMap<Contender, Statements>,
    service: Vec<Latency>,
}

impl Line {
    fn label(self) -> String {
        let who = match self.contender {
            Contender::Floor => return "floor: psql `\\copy` into text columns, no key".to_owned(),
            Contender::Dirty => return "kasparro, the dirty file".to_owned(),
            Contender::Coins => return "kasparro, 1,200 coins from the recording".to_owned(),
            Contender::Script => "SQL script".to_owned(),
            Contender::Kasparro(1) => "kasparro, 1 worker".to_owned(),
            Contender::Kasparro(workers) => format!("kasparro, {workers} workers"),
        };
        let what = match self.step {
            Step::First => "first load",
            Step::Untouched => "file untouched",
            Step::Full => "same file read again",
            Step::Appended => "1 % appended",
            Step::Changed => "1 % changed, 1 % new",
        };
        format!("{who}: {what}")
    }

    /// What the script does for the same result.
    fn yardstick(self) -> Option<Self> {
        let step = match self.step {
            _ if self.contender == Contender::Coins => return None,
            Step::Untouched => Step::Full,
            step => step,
        };
        Some(Self { contender: Contender::Script, step })
    }

    /// Rows of the file at this step.
    fn rows(self, size: Size) -> u64 {
        match self.step {
            _ if self.contender == Contender::Coins => 1_200,
            Step::First | Step::Untouched | Step::Full => size.rows,
            Step::Appended => size.rows + size.new_rows(),
            Step::Changed => size.rows + 2 * size.new_rows(),
        }
    }
}

impl Measured {
    pub fn new(size: Size, bytes: u64, rounds: usize) -> Self {
        Self {
            size,
            bytes,
            rounds,
            lines: BTreeMap::new(),
            tables: BTreeMap::new(),
            statements: BTreeMap::new(),
            service: Vec::new(),
        }
    }

    pub fn add(&mut self, line: Line, cost: Cost) {
        self.lines.entry(line).or_default().push(cost);
    }

    pub fn tables(&mut self, contender: Contender, sizes: Vec<TableSize>) {
        self.tables.insert(contender, sizes);
    }

    pub fn statements(&mut self, contender: Contender, statements: Statements) {
        self.statements.insert(contender, statements);
    }

    pub fn service(&mut self, latencies: Vec<Latency>) {
        self.service = latencies;
    }

    fn median(&self, line: Line, figure: impl Fn(&Cost) -> f64) -> f64 {
        median(self.lines.get(&line).into_iter().flatten().map(figure).collect())
    }

    /// How many times as much as the script in the same round; the median of the rounds.
    fn ratio(&self, line: Line, figure: impl Fn(&Cost) -> f64) -> String {
        let script = line.yardstick().and_then(|yardstick| self.lines.get(&yardstick));
        let (Some(own), Some(script)) = (self.lines.get(&line), script) else {
            return String::new();
        };
        let ratios = own.iter().zip(script).map(|(own, script)| figure(own) / figure(script));
        format!("{:.2}", median(ratios.collect()))
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Prints everything measured with one size.
pub fn print(measured: &Measured) {
    let (size, rounds) = (measured.size, measured.rounds);
    println!(
        "### {} rows, {} columns, {:.0} MB; medians of {rounds} round(s)\n",
        grouped(size.rows),
        10 + size.columns,
        measured.bytes as f64 / MEGABYTE
    );
    print_costs(measured);
    print_tables(measured);
    print_statements(measured);
    print_service(measured);
}

fn print_costs(measured: &Measured) {
    println!(
        "| | wall s | rows/s | ÷ script | client CPU s | server CPU s | CPU ÷ script | WAL MB | \
         peak RSS MB | peak anon MB |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for line in measured.lines.keys() {
        let median = |figure: fn(&Cost) -> f64| measured.median(*line, figure);
        let wall = median(|cost| cost.wall);
        println!(
            "| {} | {wall:.2} | {} | {} | {:.2} | {:.2} | {} | {:.1} | {:.0} | {:.0} |",
            line.label(),
            grouped((line.rows(measured.size) as f64 / wall) as u64),
            measured.ratio(*line, |cost| cost.wall),
            median(|cost| cost.client_cpu),
            median(|cost| cost.server_cpu),
            measured.ratio(*line, Cost::cpu),
            median(|cost| cost.wal) / MEGABYTE,
            median(|cost| cost.peak_resident) / MEGABYTE,
            median(|cost| cost.peak_anonymous) / MEGABYTE,
        );
    }
    println!();
}

fn print_tables(measured: &Measured) {
    if measured.tables.values().all(Vec::is_empty) {
        return;
    }
    println!("Tables after the first load, MB:\n");
    println!("| | table | rows | moved out (TOAST) | indexes | all |");
    println!("| --- | --- | ---: | ---: | ---: | ---: |");
    for (contender, sizes) in &measured.tables {
        for table in sizes {
            println!(
                "| {} | `{}` | {:.1} | {:.1} | {:.1} | {:.1} |",
                contender.name(),
                table.name,
                table.heap as f64 / MEGABYTE,
                table.toast as f64 / MEGABYTE,
                table.indexes as f64 / MEGABYTE,
                (table.heap + table.toast + table.indexes) as f64 / MEGABYTE,
            );
        }
    }
    println!();
}

fn print_statements(measured: &Measured) {
    for (contender, statements) in &measured.statements {
        if statements.spent.is_empty() {
            continue;
        }
        println!(
            "Statements of a first load by {} ({} tasks in {:.2} s); the time is that on the \
             server, waiting included, the flush of commits not:\n",
            contender.name(),
            statements.tasks,
            statements.wall
        );
        println!("| on | calls | ms | % of the run's wall |");
        println!("| --- | ---: | ---: | ---: |");
        for spent in &statements.spent {
            let share = spent.milliseconds / 10.0 / statements.wall;
            println!("| {} | {} | {:.0} | {share:.1} |", spent.on, spent.calls, spent.milliseconds);
        }
        println!();
    }
}

fn print_service(measured: &Measured) {
    if measured.service.is_empty() {
        return;
    }
    println!("The API's answers beside these tables, ms:\n");
    println!("| | p50 | p99 | max | of |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    for latency in &measured.service {
        println!(
            "| `GET {}` | {:.2} | {:.2} | {:.2} | {} |",
            latency.path,
            latency.quantile(0.5),
            latency.quantile(0.99),
            latency.quantile(1.0),
            latency.sorted.len()
        );
    }
    println!();
}

/// Prints how the first load grows from size to size.
pub fn print_growth(sizes: &[Measured]) {
    println!("### How a first load grows\n");
    println!(
        "| | rows | columns | wall s | rows/s | CPU s per million rows | WAL bytes per row | \
         peak RSS MB | peak anon MB |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    let first = |line: &&Line| line.step == Step::First && line.contender != Contender::Coins;
    let Some(lines) = sizes.first().map(|first| &first.lines) else { return };
    for line in lines.keys().filter(first) {
        for measured in sizes {
            let rows = measured.size.rows as f64;
            let median = |figure: fn(&Cost) -> f64| measured.median(*line, figure);
            println!(
                "| {} | {} | {} | {:.2} | {} | {:.1} | {:.0} | {:.0} | {:.0} |",
                line.contender.name(),
                grouped(measured.size.rows),
                10 + measured.size.columns,
                median(|cost| cost.wall),
                grouped((rows / median(|cost| cost.wall)) as u64),
                median(Cost::cpu) / rows * 1e6,
                median(|cost| cost.wal) / rows,
                median(|cost| cost.peak_resident) / MEGABYTE,
                median(|cost| cost.peak_anonymous) / MEGABYTE,
            );
        }
    }
    println!();
}
