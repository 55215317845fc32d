//! Owns how much of an API is asked for side by side at most, whatever a job file says: planning makes a task of each.

/// The most requests, or chains of them.
pub(super) const MOST: u32 = 100;

/// What is wrong with asking for so many.
pub(super) fn problem(many: u32) -> Option<String> {
    (many > MOST).then(|| {
        format!("expected {MOST} at most, found {many}: at most {MOST} are asked for side by side")
    })
}
