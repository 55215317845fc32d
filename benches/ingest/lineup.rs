//! Owns who loads what: the contenders, the steps, and how large the file is.

/// Who loads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contender {
    /// psql copies the file's text into one table without a key.
    Floor,
    /// `sql/load.sql`.
    Script,
    /// The program, with so many workers.
    Kasparro(usize),
    /// The program with as many workers as the machine has processors, on the dirty file.
    Dirty,
    /// The shipped recording of an API.
    Coins,
}

/// What is loaded, each step after the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The file into empty tables.
    First,
    /// Nothing was done to the file.
    Untouched,
    /// The same file, all of it read again.
    Full,
    /// One row in a hundred new, at the end of the file.
    Appended,
    /// One row in a hundred changed, and again as many new.
    Changed,
}

impl Contender {
    pub const ALL: [Self; 6] =
        [Self::Floor, Self::Script, Self::Kasparro(2), Self::Kasparro(1), Self::Dirty, Self::Coins];

    /// The name for `--only`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Script => "script",
            Self::Kasparro(1) => "kasparro-1",
            Self::Kasparro(_) => "kasparro-2",
            Self::Dirty => "dirty",
            Self::Coins => "coins",
        }
    }
}

/// How large the file is.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub rows: u64,
    /// Columns besides the ten.
    pub columns: usize,
}

impl Size {
    /// Rows that a later state of the file has more.
    pub fn new_rows(self) -> u64 {
        self.rows / 100
    }
}
