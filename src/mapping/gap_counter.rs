//! Owns counting, while rows are mapped, which values that fields are made of how many records lack.

/// Counts of the values of a definition, by their places among its locators.
///
/// A value that the contract discards is none, nor is one that the job file supplies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GapCounter {
    without: Vec<u64>,
    open: Vec<usize>,
    deleted: u64,
}

impl GapCounter {
    /// The row that is being mapped has no value of this field.
    pub(super) fn note(&mut self, field: usize) {
        // An empty text that cannot be converted is met twice.
        if self.open.last() != Some(&field) {
            self.open.push(field);
        }
    }

    /// The same of a part of a field, wherever it was noted before.
    pub(super) fn note_part(&mut self, part: usize) {
        if !self.open.contains(&part) {
            self.open.push(part);
        }
    }

    /// The row became a record.
    pub(super) fn close(&mut self) {
        for field in self.open.drain(..) {
            if field >= self.without.len() {
                self.without.resize(field + 1, 0);
            }
            self.without[field] += 1;
        }
    }

    /// The row became a record that says that it is deleted: its gaps count for nothing.
    pub(super) fn close_deleted(&mut self) {
        self.open.clear();
        self.deleted += 1;
    }

    /// How many records say that they are deleted.
    pub fn deleted(&self) -> u64 {
        self.deleted
    }

    /// The row became none.
    pub(super) fn abandon(&mut self) {
        self.open.clear();
    }

    /// How many records have no value of this field.
    pub fn without(&self, field: usize) -> u64 {
        self.without.get(field).copied().unwrap_or(0)
    }
}
