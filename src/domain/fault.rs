//! Owns what serde reports of a value that it cannot read, in plain words. Its messages are the only
//! place where it says so.

use super::suggest;

/// What serde complains of.
#[derive(Debug)]
pub enum Fault {
    /// An unknown key.
    UnknownKey {
        /// The key.
        key: String,
        /// Those that are known.
        known: Vec<String>,
    },
    /// An unknown value.
    UnknownVariant {
        /// The word.
        word: String,
        /// Those that are known.
        known: Vec<String>,
    },
    /// A key that is not there.
    MissingKey {
        /// The key.
        key: String,
    },
    /// A value of another type, in serde's words.
    WrongType {
        /// What is there.
        found: String,
        /// What should be.
        expected: String,
    },
    /// Anything else.
    Other(String),
}

impl Fault {
    /// Reads a message of serde's.
    pub fn of(message: &str) -> Self {
        let unknown = |prefix: &str| {
            let rest = message.strip_prefix(prefix)?;
            let (word, known) = rest
                .rsplit_once("`, ")
                .filter(|_| !rest.contains("`, expected"))
                .or_else(|| rest.split_once("`, expected"))?;
            // The backticked words behind it are those that serde knows.
            let known = known.split('`').skip(1).step_by(2).map(str::to_owned).collect();
            Some((word.to_owned(), known))
        };
        if let Some((key, known)) = unknown("unknown field `") {
            return Self::UnknownKey { key, known };
        }
        if let Some((word, known)) = unknown("unknown variant `") {
            return Self::UnknownVariant { word, known };
        }
        if let Some(key) = message.strip_prefix("missing field `").and_then(|m| m.strip_suffix('`'))
        {
            return Self::MissingKey { key: key.to_owned() };
        }
        // A table may be read from a list too, says serde, if only it were long enough.
        if message.starts_with("invalid length ") && message.contains(", expected struct ") {
            return Self::WrongType { found: "sequence".to_owned(), expected: "a map".to_owned() };
        }
        let wrong = ["invalid type: ", "invalid value: "];
        let wrong = wrong.iter().find_map(|prefix| message.strip_prefix(prefix));
        match wrong.and_then(|rest| rest.rsplit_once(", expected ")) {
            Some((found, expected)) => {
                Self::WrongType { found: found.to_owned(), expected: expected.to_owned() }
            }
            None => Self::Other(message.to_owned()),
        }
    }

    /// Whether the fault is the presence of a key of this name.
    pub fn names(&self, name: &str) -> bool {
        matches!(self, Self::UnknownKey { key, .. } if key == name)
    }

    /// The fault of the value that `keys` lead to.
    pub fn describe(&self, keys: &[String]) -> String {
        match self {
            Self::UnknownKey { key, known } => {
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                format!("unknown key{}", suggest::hint(key, "keys", &known))
            }
            Self::UnknownVariant { word, known } => {
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                format!("unknown word \"{word}\"{}", suggest::hint(word, "words", &known))
            }
            Self::MissingKey { .. } => "missing".to_owned(),
            Self::WrongType { found, expected } => {
                let expected = expected_in_words(expected);
                // Where a table was forgotten, a secret may be in its place.
                let secret = expected == "a table"
                    || keys.iter().any(|key| matches!(key.as_str(), "auth" | "headers"));
                format!("expected {expected}, found {}", found_in_words(found, secret))
            }
            Self::Other(message) if message == "wanted string or table" => {
                "expected a word in quotes".to_owned()
            }
            Self::Other(message) => message.clone(),
        }
    }
}

fn found_in_words(found: &str, secret: bool) -> String {
    if let Some(text) = found.strip_prefix("string ") {
        return if secret { "a text".to_owned() } else { format!("the text {text}") };
    }
    if secret && (found.starts_with("integer") || found.starts_with("floating")) {
        return "a number".to_owned();
    }
    for (prefix, words) in [
        ("integer ", "the number "),
        ("floating point ", "the number "),
        ("boolean ", ""),
        ("sequence", "a list"),
        ("map", "a table"),
        ("unit", "nothing"),
    ] {
        if let Some(rest) = found.strip_prefix(prefix) {
            return format!("{words}{}", rest.replace('`', ""));
        }
    }
    found.to_owned()
}

fn expected_in_words(expected: &str) -> String {
    let nonzero = expected.strip_prefix("a nonzero ");
    let least = if nonzero.is_some() { 1 } else { 0 };
    let words = match nonzero.unwrap_or(expected) {
        "a string" | "string" | "a borrowed string" | "path string" => "a text",
        "a boolean" => "true or false",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "u8" => return format!("a whole number from {least} to {}", u8::MAX),
        "u16" => return format!("a whole number from {least} to {}", u16::MAX),
        "u32" => return format!("a whole number from {least} to {}", u32::MAX),
        "u64" | "usize" => return format!("a whole number from {least} on"),
        "f32" | "f64" => "a number",
        "a duration" => "a time such as \"30s\", \"5m\" or \"90d\"",
        "a sequence" => "a list",
        "a map" => "a table",
        "string or map" | "variant identifier" => "a word",
        table
            if table.starts_with("struct ")
                || table.starts_with("internally tagged enum ")
                || table.starts_with("tuple struct ") =>
        {
            "a table"
        }
        other => other,
    };
    words.to_owned()
}
