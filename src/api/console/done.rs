//! Owns what a page says after something was done: a word and a number in its address, so that no link can put words
//! into the console's mouth.

use std::fmt;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    /// A run was started.
    Started(i64),
    /// So many runs were started.
    StartedSeveral(i64),
    /// A run was cancelled.
    Cancelled(i64),
    /// The failed tasks of a run are tried again.
    Retried(i64),
    /// So many sources were paused.
    Paused(i64),
    /// So many sources were resumed.
    Resumed(i64),
    /// So many changes of a schema were acknowledged.
    Acknowledged(i64),
    /// A token was revoked.
    Revoked,
}

impl Done {
    fn word(self) -> (&'static str, i64) {
        match self {
            Self::Started(run) => ("started", run),
            Self::StartedSeveral(runs) => ("started-runs", runs),
            Self::Cancelled(run) => ("cancelled", run),
            Self::Retried(run) => ("retried", run),
            Self::Paused(sources) => ("paused", sources),
            Self::Resumed(sources) => ("resumed", sources),
            Self::Acknowledged(changes) => ("acknowledged", changes),
            Self::Revoked => ("revoked", 1),
        }
    }

    /// The address with it.
    pub(crate) fn at(self, address: &str) -> String {
        let (word, number) = self.word();
        let mark = if address.contains('?') { '&' } else { '?' };
        format!("{address}{mark}done={word}.{number}")
    }

    /// What the query of an address says.
    pub(crate) fn in_query(query: &str) -> Option<Self> {
        let said = query.split('&').find_map(|pair| pair.strip_prefix("done="))?;
        let (word, number) = said.split_once('.')?;
        let number: i64 = number.parse().ok().filter(|number| *number >= 0)?;
        [
            Self::Started(number),
            Self::StartedSeveral(number),
            Self::Cancelled(number),
            Self::Retried(number),
            Self::Paused(number),
            Self::Resumed(number),
            Self::Acknowledged(number),
            Self::Revoked,
        ]
        .into_iter()
        .find(|done| done.word().0 == word)
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = |number: i64| if number == 1 { "" } else { "s" };
        match *self {
            Self::Started(run) => write!(f, "Run {run} was started."),
            Self::StartedSeveral(runs) => write!(f, "{runs} run{} started.", s(runs)),
            Self::Cancelled(run) => write!(f, "Run {run} was cancelled."),
            Self::Retried(run) => write!(f, "The failed tasks of run {run} are tried again."),
            Self::Paused(sources) => write!(f, "{sources} source{} paused.", s(sources)),
            Self::Resumed(sources) => write!(f, "{sources} source{} resumed.", s(sources)),
            Self::Acknowledged(changes) => {
                write!(f, "{changes} change{} acknowledged.", s(changes))
            }
            Self::Revoked => f.write_str("The token was revoked."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_comes_back_from_the_address() {
        for done in [Done::Started(41), Done::Paused(2), Done::Revoked] {
            let address = done.at("/ui/runs?source=a");
            assert_eq!(Done::in_query(address.split_once('?').unwrap().1), Some(done));
        }
        assert_eq!(Done::Started(41).at("/ui/"), "/ui/?done=started.41");
    }

    #[test]
    fn an_address_cannot_say_what_was_never_done() {
        for query in
            ["done=<b>.1", "done=started.x", "done=started.-1", "done=started", "done=", "x=1"]
        {
            assert_eq!(Done::in_query(query), None, "{query}");
        }
    }
}
