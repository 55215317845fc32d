//! Owns compiling the JSONPaths of job files, within limits: the parser calls itself for each bracket
//! within a bracket, and a path of nothing but brackets would use up the stack and end the process.

use serde_json_path::JsonPath;

/// The most bytes of a path.
pub const MAX_BYTES: usize = 2_000;
/// How deep brackets and parentheses may stand within each other.
pub const MAX_DEPTH: usize = 32;

/// Compiles a JSONPath of RFC 9535.
///
/// # Errors
/// What is wrong with it, to be read behind a colon.
pub fn parse(text: &str) -> Result<JsonPath, String> {
    if text.len() > MAX_BYTES {
        return Err(format!("it has {} bytes, and {MAX_BYTES} are the most", text.len()));
    }
    if depth(text) > MAX_DEPTH {
        return Err(format!("its brackets are nested deeper than {MAX_DEPTH} levels"));
    }
    JsonPath::parse(text).map_err(|error| error.message().to_owned())
}

/// How deep brackets are nested, those in quotes not counted.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(_), '\\') => {
                chars.next();
            }
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '[' | '(') => depth += 1,
            (None, ']' | ')') => depth = depth.saturating_sub(1),
            (None, _) => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_nothing_but_brackets_is_refused_and_not_followed() {
        for unit in ["[", "(", "[?@", "[?(", "[?@[", "[?!(", "$[?@.a==$["] {
            for text in [unit.repeat(20_000), format!("${}", unit.repeat(20_000))] {
                assert!(parse(&text).unwrap_err().contains("bytes"), "{unit}");
            }
            let deep = format!("${}", unit.repeat(40));
            assert!(parse(&deep).unwrap_err().contains("nested deeper than 32"), "{unit}");
        }
    }

    #[test]
    fn brackets_beside_each_other_and_in_quotes_are_no_depth() {
        for text in [
            format!("$.a{}", "[0]".repeat(100)),
            format!("$['{}']", "[".repeat(100)),
            format!("$['\\'{}']", "(".repeat(100)),
            "$.a[?@.b[?@.c[?@.d > (1)]]]".replace("(1)", "1"),
        ] {
            assert!(parse(&text).is_ok(), "{text}");
        }
    }
}
