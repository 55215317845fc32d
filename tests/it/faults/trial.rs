//! Owns how often a fault comes, at which random moments, and noting what was observed for
//! `docs/reliability.md`.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::OnceLock;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use xxhash_rust::xxh3::xxh3_64;

/// A fault, and what kasparro promises of it.
pub struct Trial {
    /// As in the list, so that the table's rows can be sorted.
    pub number: &'static str,
    pub fault: &'static str,
    pub promised: &'static str,
}

/// What came of it.
pub struct Figures {
    pub rounds: usize,
    pub observed: String,
}

impl Trial {
    /// Notes that the promise was kept, in the folder that `scripts/reliability` names.
    pub fn held(self, figures: &Figures) {
        let Some(folder) = std::env::var_os("KASPARRO_RELIABILITY_DIR") else { return };
        let Self { number, fault, promised } = self;
        let Figures { rounds, observed } = figures;
        let row = format!("| {number} | {fault} | {rounds} | {promised} | {observed} |\n");
        // In the order of the numbers.
        let digits = 2 + usize::from(number.ends_with(char::is_alphabetic));
        let path = std::path::Path::new(&folder).join(format!("{number:0>digits$}.md"));
        std::fs::write(path, row).expect("a row of the table is written");
    }
}

/// All rounds for the table, a few for every change.
pub fn rounds(all: usize, few: usize) -> usize {
    match std::env::var("KASPARRO_FAULT_ROUNDS").as_deref() {
        Err(_) => few,
        Ok("all") => all,
        Ok(number) => number.parse().expect("KASPARRO_FAULT_ROUNDS is a number, or `all`"),
    }
}

/// Random numbers of one round of one trial; the same ones for the same seed.
pub fn dice(trial: &str, round: usize) -> SmallRng {
    let seed = seed();
    println!("{trial}, round {round}: KASPARRO_FAULT_SEED={seed}");
    SmallRng::seed_from_u64(seed ^ xxh3_64(format!("{trial} {round}").as_bytes()))
}

fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| match std::env::var("KASPARRO_FAULT_SEED") {
        Ok(seed) => seed.parse().expect("KASPARRO_FAULT_SEED is a number"),
        Err(_) => RandomState::new().build_hasher().finish(),
    })
}

pub fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
