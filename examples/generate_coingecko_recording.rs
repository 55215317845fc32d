//! Writes the recording that ships with `jobs/coingecko_api.toml`: five pages in the shape of
//! CoinGecko's `/coins/markets`, of coins that do not exist, the same at every run.
//!
//!     cargo run --example generate_coingecko_recording
//!
//! Every number is made with operations that give the same bits on every machine, and written the
//! way the API writes numbers: whole ones without a point, small ones as `8.397908418131883e-07`.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a program for developers: it prints, and panics when it cannot go on"
)]

use std::fmt::Write as _;
use std::path::PathBuf;

/// The pages as `jobs/coingecko_api.toml` asks for them.
const PAGE_SIZES: [usize; 5] = [250, 250, 250, 250, 200];
const COINS: usize = NAME_STARTS.len() * NAME_ENDS.len();

const NAME_STARTS: [&str; 40] = [
    "Abro", "Balu", "Cyno", "Dravi", "Elmo", "Fyra", "Gondo", "Hexu", "Ilva", "Jorra", "Kelvo",
    "Lumi", "Morta", "Nexi", "Orvo", "Pluro", "Quilla", "Rondu", "Salvi", "Tarko", "Umbra", "Vexo",
    "Wyno", "Xandi", "Yarro", "Zephy", "Arbo", "Bryto", "Corvu", "Denda", "Eryx", "Fendo", "Grivo",
    "Holma", "Istra", "Javo", "Krysta", "Lorqui", "Mundo", "Novi",
];
const NAME_ENDS: [&str; 30] = [
    "bond", "chain", "coin", "cred", "dex", "drop", "fi", "flux", "forge", "gate", "grid", "lane",
    "link", "mark", "mesh", "mint", "nest", "node", "pact", "pay", "port", "rune", "shard",
    "spark", "swap", "tide", "vault", "verse", "wave", "yield",
];

fn main() -> std::io::Result<()> {
    let folder = recording();
    std::fs::create_dir_all(&folder)?;
    for (number, page) in (1..).zip(pages()) {
        std::fs::write(folder.join(format!("page-{number:04}.json")), page)?;
    }
    println!("{COINS} coins in {}", folder.display());
    Ok(())
}

fn recording() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("jobs/recordings/coingecko_api")
}

/// The bodies of the pages: a JSON list each, one coin per line so that changes can be read.
fn pages() -> Vec<String> {
    let mut coins = coins().into_iter();
    let page = |size: &usize| {
        format!("[\n{}\n]\n", coins.by_ref().take(*size).collect::<Vec<_>>().join(",\n"))
    };
    PAGE_SIZES.iter().map(page).collect()
}

/// All coins, the most valuable first.
fn coins() -> Vec<String> {
    let mut random = Random(2026);
    // Falls to a few thousand dollars at the last coin, as the API's list does.
    let mut market_cap = 1.1e12;
    let coin = |rank: usize| {
        let coin = coin(rank, market_cap, &mut random);
        market_cap *= 0.975 + 0.02 * random.fraction();
        coin
    };
    (1..=COINS).map(coin).collect()
}

/// Where a coin's name is among all names: neighbours in rank are strangers in the alphabet.
fn name_of(rank: usize) -> (String, String) {
    // Coprime to the number of coins: every name comes once.
    const STRIDE: usize = 487;
    let index = rank * STRIDE % COINS;
    let (start, end) = (NAME_STARTS[index % 40], NAME_ENDS[index / 40]);
    (format!("{start}{end}"), format!("{}{}", &start[..3], &end[..2]).to_lowercase())
}

fn coin(rank: usize, market_cap: f64, random: &mut Random) -> String {
    let (name, symbol) = name_of(rank);
    let id = name.to_lowercase();
    let price = random.price();
    let circulating = (market_cap / price).round();
    let cap = (circulating * price).round();
    let max_supply = random.chance(45).then(|| (circulating * (1.0 + random.fraction())).round());
    let total = max_supply.unwrap_or((circulating * (1.0 + 0.1 * random.fraction())).round());
    let change = random.percentage();
    let ath = price * (1.1 + 40.0 * random.fraction());
    let atl = price * (0.01 + 0.8 * random.fraction());
    let day = |random: &mut Random| {
        format!(
            "20{}-{:02}-{:02}T",
            random.within(14, 25),
            random.within(1, 12),
            random.within(1, 28)
        )
    };
    let moment = |random: &mut Random, day: String| {
        let (h, m, s) = (random.within(0, 23), random.within(0, 59), random.within(0, 59));
        quoted(&format!("{day}{h:02}:{m:02}:{s:02}.{:03}Z", random.within(0, 999)))
    };
    let percent = |value: f64| number((value * 1e5).round() / 1e5);

    let mut json = Fields::default();
    json.add("id", quoted(&id));
    json.add("symbol", quoted(&symbol));
    json.add("name", quoted(&name));
    json.add("image", quoted(&format!("https://images.example.com/coins/{rank}/{id}.png")));
    json.add("current_price", number(price));
    json.add("market_cap", number(cap));
    json.add("market_cap_rank", rank.to_string());
    json.add("fully_diluted_valuation", number((total * price).round()));
    json.add("total_volume", number((cap * 0.2 * random.fraction()).round()));
    json.add("high_24h", number(price * (1.0 + 0.05 * random.fraction())));
    json.add("low_24h", number(price * (1.0 - 0.05 * random.fraction())));
    json.add("price_change_24h", number(price * change / 100.0));
    json.add("price_change_percentage_24h", percent(change));
    json.add("market_cap_change_24h", number(cap * change / 100.0));
    json.add("market_cap_change_percentage_24h", percent(change));
    json.add("circulating_supply", number(circulating));
    json.add("total_supply", number(total));
    json.add("max_supply", max_supply.map_or("null".to_owned(), number));
    json.add("ath", number(ath));
    json.add("ath_change_percentage", percent((price - ath) / ath * 100.0));
    let date = day(random);
    json.add("ath_date", moment(random, date));
    json.add("atl", number(atl));
    json.add("atl_change_percentage", percent((price - atl) / atl * 100.0));
    let date = day(random);
    json.add("atl_date", moment(random, date));
    json.add("roi", random.roi());
    json.add("last_updated", moment(random, "2026-01-15T".to_owned()));
    json.close()
}

/// A JSON object under construction.
#[derive(Default)]
struct Fields(String);

impl Fields {
    fn add(&mut self, name: &str, json: String) {
        let comma = if self.0.is_empty() { "" } else { "," };
        // Writing to a string cannot fail.
        let _ = write!(self.0, "{comma}\"{name}\":{json}");
    }

    fn close(self) -> String {
        format!("{{{}}}", self.0)
    }
}

/// The names hold no character that JSON would escape.
fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

/// A number with the digits that the API would write.
fn number(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 || (1e-4..1e16).contains(&size) {
        return value.to_string();
    }
    let scientific = format!("{value:e}");
    match scientific.split_once('e') {
        Some((digits, exponent)) => match exponent.strip_prefix('-') {
            Some(exponent) => format!("{digits}e-{exponent:0>2}"),
            None => format!("{digits}e+{exponent:0>2}"),
        },
        None => scientific,
    }
}

/// SplitMix64: a few integer operations, so that the pages depend on no crate and no machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to 1.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn within(&mut self, least: u64, most: u64) -> u64 {
        least + self.next() % (most - least + 1)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.within(1, 100) <= percent
    }

    /// From -15 to 15.
    fn percentage(&mut self) -> f64 {
        30.0 * self.fraction() - 15.0
    }

    /// Fractions of a cent to thousands of dollars; above ten with the few digits the API gives.
    fn price(&mut self) -> f64 {
        let scale =
            [1e-8, 1e-6, 1e-4, 1e-2, 0.1, 1.0, 1.0, 10.0, 1000.0][self.within(0, 8) as usize];
        let price = scale * (0.5 + 9.0 * self.fraction());
        match scale {
            1000.0 => price.round(),
            10.0 => (price * 100.0).round() / 100.0,
            _ => price,
        }
    }

    fn roi(&mut self) -> String {
        if !self.chance(15) {
            return "null".to_owned();
        }
        let times = 80.0 * self.fraction() - 1.0;
        let currency = ["usd", "btc", "eth"][self.within(0, 2) as usize];
        let mut roi = Fields::default();
        roi.add("times", number(times));
        roi.add("currency", quoted(currency));
        roi.add("percentage", number(times * 100.0));
        roi.close()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_committed_recording_is_what_is_generated() {
        for (number, page) in (1..).zip(pages()) {
            let path = recording().join(format!("page-{number:04}.json"));
            let committed = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(committed == page, "{} differs: run the generator again", path.display());
        }
    }

    #[test]
    fn there_are_1200_coins_with_ids_of_their_own() {
        let pages = pages();
        assert_eq!(pages.iter().map(|page| page.lines().count() - 2).sum::<usize>(), 1200);
        let records = pages.iter().flat_map(|page| {
            let records: Vec<serde_json::Value> = serde_json::from_str(page).unwrap();
            records.into_iter().map(|record| record["id"].as_str().unwrap().to_owned())
        });
        assert_eq!(records.collect::<HashSet<_>>().len(), 1200);
    }
}
