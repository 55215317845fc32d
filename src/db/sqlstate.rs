//! Owns what an SQLSTATE means for the task that met it. Every condition of PostgreSQL's appendix A is
//! decided here; `sqlstates.txt` says the outcome of each.
//!
//! - *Infrastructure* is what the server says of itself, its disk or its connections: no statement is
//!   to blame, and the same one will succeed once the server is itself again.
//! - *Transient* is what happened to this attempt: others, a time limit, the state of one connection, which is
//!   closed after an error.
//! - *Permanent* is all else: what the statement or its values have done to themselves, and codes that
//!   nobody knows.

use crate::domain::failure::FailureClass;

/// What an SQLSTATE means for the task that met it.
pub(super) fn class(code: &str) -> FailureClass {
    use FailureClass::{Infrastructure, Permanent, Transient};
    match code {
        // A plan that was made before a migration.
        "0A000" => Transient,
        // A read-only database, or one that is not there: during a failover or a restore.
        "25006" | "3D000" => Infrastructure,
        // A pooler has lent another server, where statements have other names.
        "26000" | "42P05" => Transient,
        // A standby, or a database that takes no connections at present.
        "55000" | "55006" => Infrastructure,
        // Waiting does not help against these: settings and types.
        "55P02" | "55P04" => Permanent,
        // A statement was cancelled by somebody, or by its time limit.
        "57014" => Transient,
        // The server behind a foreign table is away.
        "HV00N" => Infrastructure,
        // Anything may be behind an internal error, of a statement too: some attempts, not a day.
        "XX000" => Transient,
        _ => match code.get(..2) {
            // Connection, refused login.
            Some("08" | "28") => Infrastructure,
            // Resources (disk, memory, connections), operator, system, configuration files.
            Some("53" | "57" | "58" | "F0") => Infrastructure,
            // Corrupted data and indexes.
            Some("XX") => Infrastructure,
            // State of the transaction, rollback, state of an object, snapshot too old.
            Some("25" | "40" | "55" | "72") => Transient,
            _ => Permanent,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The conditions that are errors, of PostgreSQL 14 to 18.
    const ALL: &str = include_str!("sqlstates.txt");

    #[test]
    fn each_condition_of_appendix_a_is_decided_as_the_table_says() {
        let mut codes = Vec::new();
        for line in ALL.lines() {
            let [code, word, name] = *line.split(' ').collect::<Vec<_>>() else {
                panic!("{line} is no line of the table");
            };
            let decided = match class(code) {
                FailureClass::Infrastructure => "infrastructure",
                FailureClass::Transient => "transient",
                FailureClass::Permanent => "permanent",
                other => panic!("{code} {name}: {other:?}"),
            };
            assert_eq!(decided, word, "{code} {name}");
            codes.push(code);
        }
        assert!(codes.is_sorted_by(|one, next| one < next), "each code once, in order");
        assert!(codes.len() > 240, "the whole of the appendix");
    }

    #[test]
    fn a_code_that_nobody_knows_is_permanent_unless_its_class_is_known() {
        for (code, expected) in [
            ("", FailureClass::Permanent),
            ("5", FailureClass::Permanent),
            ("99999", FailureClass::Permanent),
            ("53999", FailureClass::Infrastructure),
        ] {
            assert_eq!(class(code), expected, "{code}");
        }
    }
}
