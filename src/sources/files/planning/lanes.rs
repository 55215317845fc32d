//! Owns which files are read side by side, and which one after the other.

use std::collections::BTreeSet;

use super::position::{Group, ToLand};
use crate::sources::{FilePlan, FoundFile};

/// The tasks that read files: side by side, in lanes. Their order is that of the files.
#[derive(Default)]
pub(super) struct Lanes {
    /// Files that need no task, and those that are cut into chunks.
    pub files: Vec<FoundFile>,
    /// Files that are read as streams, some to a task, by their lanes.
    pub groups: Vec<(u32, Group)>,
    /// The lane of the last file that is read, and whether it is of a group.
    last: Option<(u32, bool)>,
}

impl Lanes {
    /// Adds a file that was planned.
    pub fn add_planned(&mut self, file: FoundFile) {
        let reads = !matches!(file.plan, FilePlan::Unchanged { .. });
        let lane = if reads { self.planned_lane() } else { 0 };
        self.files.push(FoundFile { lane, ..file });
    }

    /// Adds a file that is read as a stream.
    pub fn add_landed(&mut self, file: ToLand, lacking: Option<BTreeSet<String>>) {
        let fits = matches!(self.last, Some((_, true)))
            && self.groups.last().is_some_and(|(_, group)| group.takes(&file.file));
        if !fits {
            let lane = self.next_lane();
            self.last = Some((lane, true));
            self.groups.push((lane, Group { lacking, ..Group::default() }));
        }
        if let Some((_, group)) = self.groups.last_mut() {
            group.files.push_back(file);
        }
    }

    /// The lane of the next file that is cut into chunks: that of those in front of it.
    fn planned_lane(&mut self) -> u32 {
        let lane = match self.last {
            Some((lane, false)) => lane,
            _ => self.next_lane(),
        };
        self.last = Some((lane, false));
        lane
    }

    fn next_lane(&self) -> u32 {
        self.last.map_or(0, |(lane, _)| lane + 1)
    }
}
