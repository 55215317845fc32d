//! Owns which variables a query in the language GraphQL declares: as much of the language as that takes.

/// A variable that a query declares.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Variable {
    /// Its name, without the `$`.
    pub name: String,
    /// Whether it must have a value: its type ends with `!`, and there is no default.
    pub is_required: bool,
}

/// The variables of a query; `None` where it is not written as one. Of several operations all that any declares.
pub(super) fn variables(query: &str) -> Option<Vec<Variable>> {
    let tokens = tokens(query)?;
    let mut variables = Vec::new();
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(token) = tokens.get(at) {
        match *token {
            "{" => depth += 1,
            "}" => depth = depth.checked_sub(1)?,
            "query" if depth == 0 => {
                at += 1;
                // Its name, if it has one.
                at += usize::from(tokens.get(at).is_some_and(|token| is_name(token)));
                if tokens.get(at) == Some(&"(") {
                    at = declarations(&tokens, at + 1, &mut variables)?;
                }
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    (depth == 0).then_some(variables)
}

/// Reads what stands within the parentheses behind a query's name; answers where it goes on.
fn declarations(tokens: &[&str], mut at: usize, variables: &mut Vec<Variable>) -> Option<usize> {
    while *tokens.get(at)? != ")" {
        let name = tokens.get(at)?.strip_prefix('$').filter(|name| is_name(name))?.to_owned();
        if *tokens.get(at + 1)? != ":" {
            return None;
        }
        at += 2;
        let mut is_required = false;
        // The type: names, brackets and `!`.
        while let Some(token) =
            tokens.get(at).filter(|token| is_name(token) || "[]!".contains(**token))
        {
            is_required = *token == "!";
            at += 1;
        }
        if *tokens.get(at)? == "=" {
            is_required = false;
            at = value_end(tokens, at + 1)?;
        }
        // Directives, such as `@deprecated(reason: "x")`.
        while *tokens.get(at)? == "@" {
            at += 2;
            if *tokens.get(at)? == "(" {
                at = value_end(tokens, at)?;
            }
        }
        variables.push(Variable { name, is_required });
    }
    Some(at + 1)
}

/// Where a value ends that begins here: a word, or what stands within brackets.
fn value_end(tokens: &[&str], mut at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    loop {
        match *tokens.get(at)? {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.checked_sub(1)?,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

/// Names and numbers, `$` with the name behind it, texts, and other characters one by one; comments and commas are none.
/// `None` where a text does not end.
fn tokens(query: &str) -> Option<Vec<&str>> {
    let mut tokens = Vec::new();
    let mut rest = query;
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '+');
    while let Some(first) = rest.chars().next() {
        let length = match first {
            c if c.is_whitespace() || matches!(c, ',' | '\u{feff}') => {
                rest = &rest[c.len_utf8()..];
                continue;
            }
            '#' => {
                rest = rest.split_once('\n').map_or("", |(_, behind)| behind);
                continue;
            }
            '"' if rest.starts_with("\"\"\"") => {
                let inner = rest[3..].replace("\\\"\"\"", "....");
                3 + inner.find("\"\"\"")? + 3
            }
            '"' => {
                let mut escaped = false;
                let ends = rest[1..].find(|c| {
                    let ends = c == '"' && !escaped;
                    escaped = c == '\\' && !escaped;
                    ends
                });
                1 + ends? + 1
            }
            '$' => 1 + rest[1..].find(|c| !is_word(c)).unwrap_or(rest.len() - 1),
            c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        tokens.push(&rest[..length]);
        rest = &rest[length..];
    }
    Some(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(query: &str) -> Option<Vec<(String, bool)>> {
        let found = variables(query)?;
        Some(found.into_iter().map(|variable| (variable.name, variable.is_required)).collect())
    }

    #[test]
    fn the_variables_of_a_query_are_found_and_whether_they_must_be_given() {
        for (query, declared) in [
            ("{ items { id } }", &[][..]),
            ("query { items }", &[]),
            ("query Q { items(first: 3, after: $no) }", &[]),
            ("query($after: String) { items(after: $after) }", &[("after", false)]),
            (
                "query Q($a: [ID!]!, $b: Int = 3 $c: String! = \"x) $d: Y!\", $e: In = {a: [1]}) @x(y: 1) { items }",
                &[("a", true), ("b", false), ("c", false), ("e", false)],
            ),
            (
                "# query($x: Int!) {\nquery Q(\n  $y: Int! # why\n) { a(text: \"\"\"query($z: Int!)\"\"\") }",
                &[("y", true)],
            ),
            (
                "fragment F on T { id }\nquery Q($after: String!) { items { ...F } }",
                &[("after", true)],
            ),
            ("{ query(x: 1) { id } }", &[]),
        ] {
            let declared: Vec<_> =
                declared.iter().map(|(name, must)| ((*name).to_owned(), *must)).collect();
            assert_eq!(of(query), Some(declared), "{query}");
        }
    }

    #[test]
    fn what_is_no_query_says_nothing() {
        for query in ["query(", "query Q($a Int) { x }", "{ a", "} {", "{ a(b: \"x) }"] {
            assert_eq!(of(query), None, "{query}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(query in "[{}()$:!=@#\"\\[\\]\\\\a-c \n]{0,40}", other in ".{0,40}") {
            let _ = (variables(&format!("query({query}")), variables(&query), variables(&other));
        }
    }
}
