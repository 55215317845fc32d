//! Files that change from run to run, and what reading their rows one by one, in file order, leaves
//! behind: the plainest thing that can be said about order, against which the real one is held.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use kasparro::domain::counters::Counters;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};

/// How often keys come back among the rows that a run reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    Distinct,
    FewRepeated,
    AllRepeated,
}

/// The files of one source, as they are now.
pub struct Files {
    keys: Keys,
    two_part_key: bool,
    columns: Vec<&'static str>,
    line_end: &'static str,
    pub files: Vec<SourceFile>,
}

pub struct SourceFile {
    pub name: String,
    text: String,
    rows: Vec<Row>,
    /// Rows that runs have read.
    read: usize,
}

/// What a row says: its key, name and price; `None` when it is to be set aside.
type Row = Option<(String, (String, u32))>;

/// What is left behind.
#[derive(Default)]
pub struct Model {
    records: BTreeMap<String, Record>,
    set_aside: BTreeSet<String>,
    /// Keys of which rows of one file say different things, of those that the last run read.
    pub repeated: u64,
}

struct Record {
    content: (String, u32),
    raw: String,
    first_run: i64,
    last_run: i64,
    /// What it was before that run, and how many of its rows count as updates.
    found: Option<(String, u32)>,
    updates: i64,
}

/// The keys of the rows that one run reads.
struct KeyBag {
    unused: Vec<u32>,
    used: Vec<u32>,
}

impl KeyBag {
    fn draw(&mut self, keys: Keys, dice: &mut StdRng) -> String {
        let again = match keys {
            Keys::Distinct => false,
            Keys::FewRepeated => dice.random_ratio(1, 6),
            Keys::AllRepeated => self.used.len() >= 12,
        };
        let known = self.used.choose(dice).copied().filter(|_| again);
        let key = known.or_else(|| self.unused.pop()).expect("keys enough");
        if known.is_none() {
            self.used.push(key);
        }
        format!("k{key}")
    }
}

impl Files {
    pub fn new(keys: Keys, dice: &mut StdRng) -> Self {
        let mut columns = vec!["id", "part", "name", "price"];
        columns.shuffle(dice);
        Self {
            keys,
            two_part_key: dice.random(),
            columns,
            line_end: if dice.random_ratio(1, 4) { "\r\n" } else { "\n" },
            files: Vec::new(),
        }
    }

    pub fn primary_key(&self) -> &'static str {
        if self.two_part_key { r#"["id", "part"]"# } else { r#"["id"]"# }
    }

    /// Adds files, adds to files, or puts others in their place.
    pub fn change(&mut self, dice: &mut StdRng) {
        let mut unused: Vec<u32> = (0..300).collect();
        unused.shuffle(dice);
        let mut bag = KeyBag { unused, used: Vec::new() };
        let more = dice.random_range(usize::from(self.files.is_empty())..=2);
        for number in self.files.len()..(self.files.len() + more).min(5) {
            self.files.push(self.empty(number));
        }
        for at in 0..self.files.len() {
            match dice.random_range(0..4) {
                0 if !self.files[at].rows.is_empty() => continue,
                1 => self.files[at] = self.empty(at),
                _ => {}
            }
            for _ in 0..dice.random_range(5..60) {
                let (text, row) = self.row(&mut bag, dice);
                self.files[at].text.push_str(&text);
                self.files[at].rows.push(row);
            }
        }
    }

    fn empty(&self, number: usize) -> SourceFile {
        let text = format!("{}{}", self.columns.join(","), self.line_end);
        SourceFile { name: format!("{number}.csv"), text, rows: Vec::new(), read: 0 }
    }

    fn row(&self, bag: &mut KeyBag, dice: &mut StdRng) -> (String, Row) {
        let id = bag.draw(self.keys, dice);
        // Where keys repeat, so do their parts.
        let part =
            if self.keys == Keys::Distinct { "x" } else { ["x", "y"][dice.random_range(0..2)] };
        let name = *["a", "b", "say \"hi\"", "c, d"].choose(dice).expect("names");
        // Few contents, so that keys are often set back to what they were.
        let price = dice.random_range(1..=2);
        let mut row = Some((
            if self.two_part_key { format!("{id}|{part}") } else { id.clone() },
            (name.to_owned(), price),
        ));
        let mut cells: BTreeMap<&str, String> = [
            ("id", written(&id, dice)),
            ("part", written(part, dice)),
            ("name", written(name, dice)),
            ("price", written(&price.to_string(), dice)),
        ]
        .into();
        let mut behind = "";
        if dice.random_ratio(1, 8) {
            row = None;
            behind = spoil(self.keys, &mut cells, dice);
        }
        let cells: Vec<_> = self.columns.iter().map(|column| cells[column].as_str()).collect();
        let mut text = cells.join(",") + behind + self.line_end;
        if dice.random_ratio(1, 12) {
            text.push_str(self.line_end);
        }
        (text, row)
    }
}

/// A cell as files write it, with or without quotes.
fn written(cell: &str, dice: &mut StdRng) -> String {
    if cell.contains(['"', ',']) || dice.random_ratio(1, 4) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

/// Makes a row bad in one of many ways; what stands behind its last cell.
fn spoil(keys: Keys, cells: &mut BTreeMap<&str, String>, dice: &mut StdRng) -> &'static str {
    // Behind torn quotes anything may stand for the key, and it would come back.
    let ways = if keys == Keys::Distinct { 5 } else { 7 };
    let (column, cell) = match dice.random_range(0..ways) {
        0 => return ",one more",
        1 => ("id", ""),
        2 => ("name", ""),
        3 => ("name", "5\" pipe"),
        4 => ("price", "free"),
        5 => ("name", "\"6\" pipe, black\""),
        _ => ("name", "\"open"),
    };
    cells.insert(column, cell.to_owned());
    ""
}

impl SourceFile {
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl Model {
    /// Reads the rows that no run has read, one by one. `raw` are the numbers under which the run
    /// knows the files.
    pub fn read(&mut self, files: &mut Files, run: i64, raw: &BTreeMap<String, i64>) -> Counters {
        let mut counters = Counters::default();
        let mut repeated = BTreeSet::new();
        for file in &mut files.files {
            let mut said = BTreeMap::new();
            for (key, content) in file.rows[file.read..].iter().flatten() {
                if said.insert(key, content).is_some_and(|before| before != content) {
                    repeated.insert(key.clone());
                }
            }
            for at in file.read..file.rows.len() {
                let id = raw.get(&file.name).expect("a file that the run read");
                let raw = format!("file/{id} {}", at + 1);
                self.read_row(&file.rows[at], raw, run, &mut counters);
            }
            file.read = file.rows.len();
        }
        self.repeated = repeated.len() as u64;
        counters
    }

    fn read_row(&mut self, row: &Row, raw: String, run: i64, counters: &mut Counters) {
        counters.rows_read += 1;
        let Some((key, content)) = row else {
            counters.quarantined += 1;
            self.set_aside.insert(raw);
            return;
        };
        let (mut found, mut updates) = (None, 0);
        let first_run = match self.records.get(key) {
            Some(known) if known.content == *content => {
                counters.unchanged += 1;
                return;
            }
            Some(known) => {
                let is_of_run = known.last_run == run;
                found = if is_of_run { known.found.clone() } else { Some(known.content.clone()) };
                updates = if is_of_run { known.updates + 1 } else { 1 };
                counters.updated += 1;
                known.first_run
            }
            None => {
                counters.inserted += 1;
                run
            }
        };
        // One that is as the run found it is unchanged.
        if found.as_ref() == Some(content) {
            counters.updated -= updates;
            counters.unchanged += updates;
            updates = 0;
        }
        let record =
            Record { content: content.clone(), raw, first_run, last_run: run, found, updates };
        self.records.insert(key.clone(), record);
    }

    /// The records, a line each, by key.
    pub fn records(&self) -> Vec<String> {
        let line = |(key, record): (&String, &Record)| {
            let Record { content: (name, price), raw, first_run, last_run, .. } = record;
            format!("{key} {name} {price} of {raw} by {first_run} {last_run}")
        };
        self.records.iter().map(line).collect()
    }

    /// The rows set aside, a line each.
    pub fn set_aside(&self) -> Vec<String> {
        self.set_aside.iter().cloned().collect()
    }
}

/// The job file of a source that reads these files.
pub fn job(source: &str, files: &Files, chunk_size: u64) -> String {
    let mut job = format!("kind = \"csv\"\nprimary_key = {}\n[csv]\n", files.primary_key());
    write!(
        job,
        "paths = [\"{source}/*.csv\"]\nchunk_size = {chunk_size}\ndelimiter = \",\"\n\
         quote = '\"'\nescape = '\"'\nstray_quotes = 'quarantine'\n[fields]\nname = {{ column = \"name\", required = true }}\n\
         price = {{ column = \"price\", type = \"decimal\" }}\n\
         [checks]\nmax_quarantine_ratio = 1.0\n"
    )
    .expect("text");
    job
}
