//! The file that the benchmarks load: products as a shop exports them, about 240 bytes a row.
//!
//! Owns what is in a row. Every value is a pure function of the row's number, so each run loads the
//! same bytes. It must not know how rows are loaded.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

const HEADER: &str =
    "id,name,description,category,brand,price,currency,stock,updated_at,attributes";
const KINDS: [&str; 12] = [
    "Trail Shoe",
    "Kaffeemühle",
    "Desk Lamp",
    "Théière",
    "Cordless Drill",
    "保温瓶",
    "Rain Jacket",
    "Bücherregal",
    "Bike Pump",
    "Żelazko",
    "Field Notebook",
    "Chargeur",
];
const STYLES: [&str; 8] =
    ["Classic", "Léger", "Robust", "Nº 5", "Compact", "Extra-Weich", "Pro", "Söder"];
const CATEGORIES: [&str; 8] = [
    "Outdoor",
    "Küche & Haushalt",
    "Tools",
    "Bags, Cases & Covers",
    "Home > Light",
    "Papeterie",
    "Garden",
    "运动",
];
const BRANDS: [&str; 8] = [
    "Northwind",
    "Ægir",
    "Bell, Book & Co.",
    "Grün GmbH",
    "O'Hara",
    "Tanaka 田中",
    "Kestrel",
    "Łuk",
];
const CURRENCIES: [&str; 4] = ["EUR", "USD", "GBP", "CHF"];
const COLOURS: [&str; 6] = ["graphite", "weiß", "red", "bleu ciel", "forest", "紫"];
/// Some need quotes: commas, doubled quotes, line ends within a field.
const SENTENCES: [&str; 12] = [
    "Made to be repaired, with spare parts for ten years.",
    "Passt in jede Küche und läuft leise.",
    "Fits 19\" racks and 24\" shelves.",
    "Garantie deux ans, pièces comprises.",
    "Ships flat; two people, one hour.\nTools are included.",
    "軽くて丈夫な素材を使っています。",
    "Rated \"very good\" in last year's test.",
    "Hand wash only",
    "Replaces model 2210-C, 2210-D and 2214.",
    "Wiederverwendbar und frei von BPA.",
    "Works from -20 °C to 45 °C.",
    "Last pieces",
];
/// Every hundredth row of a dirty file is malformed, in one of these ways in turn.
const DEFECTS: u64 = 7;
const DEFECT_EVERY: u64 = 100;
/// One dirty row in two hundred repeats the key of a good row so many rows before it.
const REPEAT_EVERY: u64 = 200;
const REPEATED_BEFORE: u64 = 61;

/// A file of products.
#[derive(Debug, Clone, Copy)]
pub struct ProductFile {
    /// Rows, good and bad.
    pub rows: u64,
    /// Whether one row in a hundred has another price, stock and time than otherwise.
    pub changed: bool,
    /// Whether one row in a hundred is malformed and one in two hundred repeats a key.
    pub dirty: bool,
    /// Columns of text besides the ten.
    pub extra_columns: usize,
}

/// What a file turned out to hold, for checking what became of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Size of the file.
    pub bytes: u64,
    /// Rows that are no products.
    pub malformed: u64,
    /// Good rows whose key an earlier row has.
    pub repeated: u64,
}

impl ProductFile {
    /// Writes the file.
    pub fn write(&self, path: &Path) -> io::Result<Written> {
        let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
        let mut written = Written::default();
        let mut row = HEADER.to_owned();
        (1..=self.extra_columns).for_each(|column| row.push_str(&format!(",extra_{column}")));
        row.push('\n');
        let mut bytes = row.clone().into_bytes();
        for number in 1..=self.rows {
            written.bytes += bytes.len() as u64;
            out.write_all(&bytes)?;
            bytes.clear();
            if self.dirty && number % DEFECT_EVERY == 0 {
                written.malformed += 1;
                self.malformed(number, &mut bytes);
            } else {
                let repeats = self.dirty && number % REPEAT_EVERY == REPEAT_EVERY - 1;
                written.repeated += u64::from(repeats);
                let key = if repeats { number - REPEATED_BEFORE } else { number };
                self.row(&self.cells(number, key), &mut bytes);
            }
        }
        written.bytes += bytes.len() as u64;
        out.write_all(&bytes)?;
        out.flush()?;
        Ok(written)
    }

    fn cells(&self, number: u64, key: u64) -> Vec<String> {
        let mut dice = Dice(number);
        let kind = dice.one_of(&KINDS);
        let mut description = dice.one_of(&SENTENCES).to_owned();
        if dice.below(4) > 0 {
            description.push(' ');
            description.push_str(dice.one_of(&SENTENCES));
        }
        let colour = dice.one_of(&COLOURS);
        let attributes = format!(
            r#"{{"colour":"{colour}","grams":{},"tags":["t{}","{}"]}}"#,
            dice.below(5_000),
            dice.below(40),
            kind.to_lowercase()
        );
        let name = format!("{} {kind} {}", dice.one_of(&STYLES), dice.below(1_000));
        let (category, brand) = (dice.one_of(&CATEGORIES), dice.one_of(&BRANDS));
        let currency = dice.one_of(&CURRENCIES);
        let extra: Vec<String> = (0..self.extra_columns)
            .map(|_| format!("{} {}", dice.one_of(&STYLES), dice.below(100_000)))
            .collect();
        if self.changed && number % 100 == 7 {
            dice = Dice(number ^ (1 << 40));
        }
        let cents = 99 + dice.below(300_000);
        let mut cells = vec![
            format!("SKU-{key:08}"),
            name,
            description,
            category.to_owned(),
            brand.to_owned(),
            format!("{}.{:02}", cents / 100, cents % 100),
            currency.to_owned(),
            dice.below(1_500).to_string(),
            dice.time(),
            attributes,
        ];
        cells.extend(extra);
        cells
    }

    fn row(&self, cells: &[String], out: &mut Vec<u8>) {
        for (index, cell) in cells.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            if cell.contains([',', '"', '\n']) {
                out.push(b'"');
                out.extend_from_slice(cell.replace('"', "\"\"").as_bytes());
                out.push(b'"');
            } else {
                out.extend_from_slice(cell.as_bytes());
            }
        }
        out.push(b'\n');
    }

    fn malformed(&self, number: u64, out: &mut Vec<u8>) {
        let mut cells = self.cells(number, number);
        match number / DEFECT_EVERY % DEFECTS {
            0 => cells.truncate(6),
            1 => cells.extend(["one".to_owned(), "too many".to_owned()]),
            2 => cells[5] = "on request".to_owned(),
            3 => cells[0].clear(),
            4 => cells[8] = "2025-02-31T12:00:00Z".to_owned(),
            5 => cells[9] = r#"{"colour": "#.to_owned(),
            _ => {
                // Bytes that are not UTF-8 in any place.
                self.row(&cells, out);
                let name = out.iter().position(|byte| *byte == b',').unwrap_or_default() + 1;
                out.splice(name..name, [0xff, 0xfe]);
                return;
            }
        }
        self.row(&cells, out);
    }
}

/// Numbers that look random and are a pure function of the seed.
/// Source: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators" (2014), SplitMix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn one_of(&mut self, words: &[&'static str]) -> &'static str {
        words[self.below(words.len() as u64) as usize]
    }

    fn time(&mut self) -> String {
        let (month, day) = (1 + self.below(12), 1 + self.below(28));
        let second = self.below(86_400);
        let (hour, minute) = (second / 3_600, second / 60 % 60);
        format!("2025-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}Z", second % 60)
    }
}
