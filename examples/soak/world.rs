//! Owns what there is to load: an API's pages and two files, how they change, and which records must
//! come of them in the end.
//!
//! Must not know processes, faults or the database.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{FileTimes, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use rand::Rng;
use rand::rngs::SmallRng;

/// An API whose records change and become more, a file that grows, and one that is written anew.
pub const SOURCES: [&str; 3] = ["shop", "ledger", "catalogue"];
const ON_A_PAGE: usize = 20;
/// Keys of the file that grows come back in other chunks.
const LEDGER_KEYS: usize = 900;

/// The state of the sources.
pub struct World {
    folder: PathBuf,
    shop: Arc<Mutex<Vec<u32>>>,
    ledger: Vec<Line>,
    catalogue: Vec<Line>,
    /// Every record that the file which is written anew has ever offered: a run may have loaded it
    /// before its line went bad.
    offered: BTreeSet<((String, String), String)>,
}

#[derive(Debug, Clone, Copy)]
struct Line {
    key: usize,
    price: u32,
    /// Such a line is set aside.
    bad: bool,
}

/// (source, external id) and what the record holds.
pub type Records = BTreeMap<(String, String), String>;

impl World {
    /// The first state, with a job file for each source.
    pub fn create(folder: &Path, dice: &mut SmallRng) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder.join("data"))?;
        let shop = (0..240).map(|_| price(dice)).collect();
        let lines = |dice: &mut SmallRng, number, keys| -> Vec<Line> {
            (0..number).map(|at| line(at % keys, dice)).collect()
        };
        let ledger = lines(dice, 1_500, LEDGER_KEYS);
        let catalogue = lines(dice, 1_000, 800);
        let shop = Arc::new(Mutex::new(shop));
        let offered = catalogue.iter().filter_map(|line| line.record("catalogue")).collect();
        let world = Self { folder: folder.to_owned(), shop, ledger, catalogue, offered };
        world.replace("ledger", &world.ledger)?;
        world.replace("catalogue", &world.catalogue)?;
        for file in ["ledger", "catalogue"] {
            let job = format!(
                "kind = \"csv\"\nschedule = \"* * * * *\"\nprimary_key = [\"key\"]\n[csv]\n\
                 paths = [\"data/{file}.csv\"]\nchunk_size = 4000\n[fields]\n\
                 name = {{ column = \"name\", required = true }}\n\
                 price = {{ column = \"price\", type = \"decimal\", min = 0 }}\n"
            );
            std::fs::write(world.folder.join(format!("{file}.toml")), job)?;
        }
        Ok(world)
    }

    /// Says where the API is.
    pub fn write_shop(&self, address: std::net::SocketAddr) -> std::io::Result<()> {
        let job = format!(
            "kind = \"rest_api\"\nschedule = \"* * * * *\"\nprimary_key = [\"id\"]\n[rest_api]\n\
             base_url = \"http://{address}\"\npath = \"shop\"\ntimeout = \"10s\"\n\
             paginator = {{ type = \"page_number\", size = {ON_A_PAGE} }}\n\
             rate_limit = {{ key = \"shop\", requests = 100, per = \"2s\" }}\n\
             retry = {{ max_attempts = 2 }}\n[fields]\nname = {{ from = \"$.name\" }}\n\
             price = {{ from = \"$.price\", type = \"decimal\" }}\n"
        );
        std::fs::write(self.folder.join("shop.toml"), job)
    }

    /// What the API answers to a path such as `/shop?page=3`.
    pub fn pages(&self) -> impl Fn(&str) -> String + Send + Sync + 'static {
        let shop = self.shop.clone();
        move |path| {
            let page = path.rsplit_once("page=").and_then(|(_, page)| page.parse().ok());
            let first = page.map_or(0, |page: usize| page.saturating_sub(1) * ON_A_PAGE);
            let shop = shop.lock().unwrap_or_else(PoisonError::into_inner);
            let items = shop.iter().enumerate().skip(first).take(ON_A_PAGE);
            let item = |(id, price): (usize, &u32)| {
                format!("{{\"id\": {id}, \"name\": \"item {id}\", \"price\": {price}.25}}")
            };
            format!("[{}]", items.map(item).collect::<Vec<_>>().join(", "))
        }
    }

    /// Something happens to one of the sources, whoever reads it just then.
    pub fn change(&mut self, dice: &mut SmallRng) -> anyhow::Result<&'static str> {
        match dice.random_range(0..6) {
            0 | 1 => {
                let mut shop = self.shop.lock().unwrap_or_else(PoisonError::into_inner);
                for _ in 0..dice.random_range(1..6) {
                    let at = dice.random_range(0..shop.len());
                    shop[at] = price(dice);
                }
                let more = dice.random_range(0..4);
                shop.extend((0..more).map(|_| price(dice)));
                Ok("pages changed")
            }
            2 | 3 => {
                self.grow(dice)?;
                Ok("file grown")
            }
            4 => {
                for _ in 0..dice.random_range(1..30) {
                    let at = dice.random_range(0..self.catalogue.len());
                    self.catalogue[at] = line(self.catalogue[at].key, dice);
                }
                let key = self.catalogue.len();
                self.catalogue.push(line(key, dice));
                let offered = self.catalogue.iter().filter_map(|line| line.record("catalogue"));
                self.offered.extend(offered);
                self.replace("catalogue", &self.catalogue)?;
                Ok("file rewritten")
            }
            _ => {
                let file = ["ledger", "catalogue"][dice.random_range(0..2)];
                self.turn_clock(file, dice)?;
                Ok("file's clock turned")
            }
        }
    }

    fn grow(&mut self, dice: &mut SmallRng) -> anyhow::Result<()> {
        let lines: Vec<_> = (0..dice.random_range(1..40))
            .map(|_| line(dice.random_range(0..LEDGER_KEYS + 200), dice))
            .collect();
        let mut file = OpenOptions::new().append(true).open(self.path("ledger"))?;
        file.write_all(text(&lines).as_bytes())?;
        self.ledger.extend(lines);
        Ok(())
    }

    fn turn_clock(&self, file: &str, dice: &mut SmallRng) -> anyhow::Result<()> {
        let by = Duration::from_secs(dice.random_range(0..100_000));
        let now = SystemTime::now();
        let time = if dice.random() { now.checked_sub(by) } else { now.checked_add(by) };
        let times = FileTimes::new().set_modified(time.context("such a time exists")?);
        OpenOptions::new().append(true).open(self.path(file))?.set_times(times)?;
        Ok(())
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.join(format!("data/{file}.csv"))
    }

    /// Whole or not at all, as careful writers do.
    fn replace(&self, file: &str, lines: &[Line]) -> anyhow::Result<()> {
        let new = self.folder.join("data/new");
        std::fs::write(&new, format!("key,name,price\n{}", text(lines)))?;
        Ok(std::fs::rename(new, self.path(file))?)
    }

    /// The records that must be there once everything has been read: the last good line of a key counts.
    pub fn records(&self) -> Records {
        let shop = self.shop.lock().unwrap_or_else(PoisonError::into_inner);
        let item = |(id, price): (usize, &u32)| {
            (("shop".to_owned(), id.to_string()), format!("item {id} {price}.25"))
        };
        let mut records: Records = shop.iter().enumerate().map(item).collect();
        for (source, lines) in [("ledger", &self.ledger), ("catalogue", &self.catalogue)] {
            records.extend(lines.iter().filter_map(|line| line.record(source)));
        }
        records
    }

    /// Whether a record may be there although no source offers it any more.
    pub fn has_offered(&self, key: &(String, String), content: &str) -> bool {
        self.offered.contains(&(key.clone(), content.to_owned()))
    }
}

impl Line {
    /// The record that it makes; `None` of a line that is set aside.
    fn record(&self, source: &str) -> Option<((String, String), String)> {
        let Self { key, price, bad } = self;
        (!bad).then(|| ((source.to_owned(), format!("k{key}")), format!("name {key} {price}.25")))
    }
}

fn price(dice: &mut SmallRng) -> u32 {
    dice.random_range(0..100_000)
}

fn line(key: usize, dice: &mut SmallRng) -> Line {
    Line { key, price: price(dice), bad: dice.random_range(0..60) == 0 }
}

fn text(lines: &[Line]) -> String {
    let line = |Line { key, price, bad }: &Line| match bad {
        true => format!("k{key},name {key},cheap\n"),
        false => format!("k{key},name {key},{price}.25\n"),
    };
    lines.iter().map(line).collect()
}
