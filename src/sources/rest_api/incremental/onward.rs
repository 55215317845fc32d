//! Owns how a chain goes on from its last record, where one query gives no more.

use super::trace::Cursors;
use super::tracker::Tracker;
use crate::sources::rest_api::incremental_params::Sorted;
use crate::sources::rest_api::position::{Reached, Window};
use crate::sources::rest_api::template::{START, Supplied, text_of};

impl Tracker {
    /// The window of a page, of which this is known when it has been read.
    pub fn reached(&self, window: &Window, cursors: Option<&Cursors>) -> Window {
        if self.params.sorted != Some(Sorted::Asc) {
            return window.clone();
        }
        let Some((cursors, (min, max))) = cursors.and_then(|c| Some((c, c.span.as_ref()?))) else {
            return window.clone();
        };
        let before = window.reached.as_ref();
        let highest = before.and_then(|before| self.clockwork.of_stored(&before.highest));
        let in_order = before.is_none_or(|before| before.in_order)
            && !cursors.descends
            && highest.as_ref().is_none_or(|highest| highest <= min);
        let highest = highest.map_or(max.clone(), |highest| highest.max(max.clone()));
        let reached = Reached { highest: self.clockwork.stored(&highest), in_order };
        Window { reached: Some(reached), ..window.clone() }
    }

    /// The window of a new chain that goes on at the highest cursor of one that came to the most records of one
    /// query.
    ///
    /// # Errors
    /// Why nobody can go on there.
    pub fn beyond(&self, window: &Window) -> Result<Window, String> {
        const SEARCH: &str = "a search that goes on from the last record";
        let reached = match &window.reached {
            _ if self.params.sorted != Some(Sorted::Asc) => {
                return Err(format!("{SEARCH} needs records in order: see `incremental.sorted`"));
            }
            Some(reached) if reached.in_order => reached,
            Some(_) => {
                return Err(format!("{SEARCH} needs records in order, and they did not come so"));
            }
            None => return Err(format!("{SEARCH} needs its cursor, and none can be read")),
        };
        let from = Some(reached.highest.clone());
        let next = Window { from, reached: None, resumed: false, ..window.clone() };
        let mark = |text: &Option<String>| self.clockwork.of_stored(text.as_deref()?);
        let asked = |window: &Window| match self.supply(window, START) {
            Some(Supplied::Value(value) | Supplied::Time(_, value)) => Some(text_of(&value)),
            Some(Supplied::Itself) | None => None,
        };
        match mark(&next.from) > mark(&window.from) && asked(&next) != asked(window) {
            true => Ok(next),
            false => Err(format!(
                "{SEARCH} would ask for the same again, since they all have the cursor `{}` or nearly so",
                reached.highest
            )),
        }
    }
}
