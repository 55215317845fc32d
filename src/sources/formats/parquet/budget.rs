//! Owns how much memory a file of Parquet may take while it is read. What a column is about to hold is counted before it is
//! held: its dictionary, its page, and what the rows that are read at once make of them.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::layout::{LIMIT, refused};

/// What of the limit is taken, by each column.
#[derive(Debug)]
pub(super) struct Budget {
    /// Bytes that are held for as long as the file is read.
    taken: u64,
    columns: Mutex<Columns>,
}

#[derive(Debug, Default)]
struct Columns {
    held: Vec<Held>,
    exceeded: Option<String>,
    /// Rows of the part of the file that came before those that are read now.
    rows_before: u64,
}

/// What a column holds.
#[derive(Debug, Default, Clone, Copy)]
struct Held {
    dictionary: u64,
    page: Page,
    /// What rows keep of pages before that one.
    behind: u64,
}

impl Held {
    fn total(&self) -> u64 {
        self.dictionary.saturating_add(self.page.total()).saturating_add(self.behind)
    }
}

/// What a page takes.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Page {
    /// Its own bytes.
    pub bytes: u64,
    /// Whether rows refer to these, instead of having a copy.
    pub is_referred_to: bool,
    /// What is made of it for the rows that are read at once.
    pub made: u64,
    /// Rows that begin in this page or before it.
    pub last_row: u64,
}

impl Page {
    fn total(self) -> u64 {
        self.bytes.saturating_add(self.made)
    }
}

/// Says that no more can be held.
#[derive(Debug)]
pub(super) struct Exceeded;

impl Budget {
    /// One for so many columns; `taken` are bytes that are held for as long as the file is read.
    pub fn of(columns: usize, taken: u64) -> Self {
        let columns = Columns { held: vec![Held::default(); columns], ..Columns::default() };
        Self { taken, columns: Mutex::new(columns) }
    }

    fn columns(&self) -> MutexGuard<'_, Columns> {
        self.columns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing is held any more.
    pub fn clear(&self) {
        let mut columns = self.columns();
        columns.held.fill(Held::default());
        columns.exceeded = None;
    }

    /// The rows behind so many are read next; what came of those before is gone.
    pub fn next_rows(&self, rows_before: u64) {
        let mut columns = self.columns();
        columns.rows_before = rows_before;
        columns.held.iter_mut().for_each(|held| held.behind = 0);
    }

    /// What was said when no more could be held.
    pub fn exceeded(&self) -> Option<std::io::Error> {
        self.columns().exceeded.take().map(|said| refused(&said))
    }

    /// Room for what is held for a moment, while a page comes.
    pub fn moment(&self, column: usize, name: &str, bytes: u64) -> Result<(), Exceeded> {
        self.columns().fits(self.taken, column, name, bytes, bytes)
    }

    /// The column has another dictionary.
    pub fn dictionary(&self, column: usize, name: &str, bytes: u64) -> Result<(), Exceeded> {
        let mut columns = self.columns();
        columns.held[column].dictionary = bytes;
        columns.fits(self.taken, column, name, bytes, 0)
    }

    /// The column goes on to another page.
    pub fn page(&self, column: usize, name: &str, page: Page) -> Result<(), Exceeded> {
        let mut columns = self.columns();
        let rows_before = columns.rows_before;
        let held = &mut columns.held[column];
        let last = std::mem::replace(&mut held.page, page);
        if last.last_row > rows_before {
            let bytes = if last.is_referred_to { last.bytes } else { 0 };
            held.behind = held.behind.saturating_add(bytes).saturating_add(last.made);
        }
        columns.fits(self.taken, column, name, page.total(), 0)
    }
}

impl Columns {
    /// `size` is what the column asks for; `taken` and, for the column, `more` are not counted yet.
    fn fits(
        &mut self,
        taken: u64,
        column: usize,
        name: &str,
        size: u64,
        more: u64,
    ) -> Result<(), Exceeded> {
        let own = self.held[column].total().saturating_add(more);
        let all = self.held.iter().map(Held::total).fold(more, u64::saturating_add);
        let all = all.saturating_add(taken);
        if all <= LIMIT {
            return Ok(());
        }
        let others = all.saturating_sub(own);
        self.exceeded = Some(format!(
            "cannot be read in {LIMIT} bytes of memory: a page of the column {name:?} takes {size} bytes, unpacked and with \
             what is made of it for a row, and what is held besides takes {others}. Let the file be written with \
             smaller pages, or with fewer columns"
        ));
        Err(Exceeded)
    }
}
