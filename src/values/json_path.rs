//! Owns compiling the JSONPaths of job files, within limits. The parser calls itself for each bracket
//! within a bracket, and a path of nothing but brackets would use up the stack and end the process.
//! And what a path finds, and the time it takes, must grow with the page, not with its square, nor
//! double with each bracket: `[0,0]` finds a value twice, and six more of it find it 128 times.

use serde_json_path::JsonPath;

/// The most bytes of a path.
pub const MAX_BYTES: usize = 2_000;
/// How deep brackets and parentheses may be nested.
pub const MAX_DEPTH: usize = 32;
/// How often a path may find one value: `[0,-1]` finds the only value of a list twice.
pub const MAX_TIMES: usize = 16;
/// The most `..` of a path. Each goes over whatever the one before it found, all levels of it.
pub const MAX_DESCENTS: usize = 2;

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
    let path = JsonPath::parse(text).map_err(|error| error.message().to_owned())?;
    let work = Work::of(text);
    if work.times > MAX_TIMES {
        let times = work.times;
        return Err(format!(
            "its brackets may find one value {times} times, and {MAX_TIMES} are the most: name each \
             index or key once, and fewer slices, filters and * in one bracket"
        ));
    }
    if work.descents > MAX_DESCENTS {
        return Err(format!("it has {} `..`, and {MAX_DESCENTS} are the most", work.descents));
    }
    if work.descends_in_filter {
        return Err(
            "it has `..` in a filter, which would search all that is below each value: write \
                    the keys in between, such as @.a.b"
                .to_owned(),
        );
    }
    if work.leaves_filter {
        return Err(
            "it has `$` in a filter, with more behind it than keys and an index, which would \
                    search the page for each value: begin with @"
                .to_owned(),
        );
    }
    Ok(path)
}

/// What a path asks for.
#[derive(Debug, Default)]
struct Work {
    /// How often it may find one value.
    times: usize,
    descents: usize,
    descends_in_filter: bool,
    /// Whether a filter looks at more than one value of the whole page.
    leaves_filter: bool,
}

/// A bracket or parenthesis that is open.
#[derive(Default)]
struct Open<'t> {
    selectors: Vec<&'t str>,
    /// Where the selector that is being read begins.
    start: usize,
    in_filter: bool,
    round: bool,
}

impl Work {
    /// Of a path that is one: the parser has said so.
    fn of(path: &str) -> Self {
        let mut work = Self { times: 1, ..Self::default() };
        let mut open: Vec<Open<'_>> = Vec::new();
        let mut chars = outside_quotes(path).peekable();
        while let Some((at, c)) = chars.next() {
            let in_filter = open.last().is_some_and(|open| open.in_filter);
            match c {
                '[' | '(' => {
                    let round = c == '(';
                    open.push(Open { start: at + 1, in_filter, round, ..Open::default() });
                }
                ')' => drop(open.pop()),
                ']' => {
                    if let Some(mut closed) = open.pop() {
                        closed.selectors.push(path[closed.start..at].trim());
                        work.times = work.times.saturating_mul(times(&closed.selectors));
                    }
                }
                '?' => open.iter_mut().last().into_iter().for_each(|open| open.in_filter = true),
                ',' => {
                    if let Some(open) = open.last_mut().filter(|open| !open.round) {
                        open.selectors.push(path[open.start..at].trim());
                        open.start = at + 1;
                    }
                }
                '.' if chars.next_if(|(_, next)| *next == '.').is_some() => {
                    work.descents += 1;
                    work.descends_in_filter |= in_filter;
                }
                '$' if in_filter => work.leaves_filter |= !finds_one(&path[at + 1..]),
                _ => {}
            }
        }
        work
    }
}

/// How often the selectors of a bracket may find one value. Keys and indexes from the start find
/// different ones, unless they are repeated.
fn times(selectors: &[&str]) -> usize {
    let is_exact = |text: &str| {
        text.starts_with(['\'', '"'])
            || !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
    };
    let name = |text: &str| text.trim_matches(['\'', '"']).to_owned();
    let (exact, other): (Vec<_>, Vec<_>) = selectors.iter().partition(|text| is_exact(text));
    let mut counts = std::collections::HashMap::<_, usize>::new();
    exact.into_iter().for_each(|text| *counts.entry(name(text)).or_default() += 1);
    counts.into_values().max().unwrap_or(0) + other.len()
}

/// Whether only keys and indexes follow a `$`, up to where the query ends.
fn finds_one(behind: &str) -> bool {
    let mut rest = behind.trim_start();
    loop {
        if let Some(dotted) = rest.strip_prefix('.') {
            let dotted = dotted.trim_start();
            let name = |c: char| c.is_alphanumeric() || c == '_' || !c.is_ascii();
            let end = dotted.find(|c| !name(c)).unwrap_or(dotted.len());
            if end == 0 {
                return false;
            }
            rest = dotted[end..].trim_start();
        } else if let Some(inner) = rest.strip_prefix('[') {
            let Some((end, _)) = outside_quotes(inner).find(|(_, c)| *c == ']') else {
                return false;
            };
            let selector = inner[..end].trim();
            let index = selector.strip_prefix('-').unwrap_or(selector);
            let is_key = selector.starts_with(['\'', '"'])
                && outside_quotes(selector).all(|(_, c)| c != ',');
            if !is_key && (index.is_empty() || !index.bytes().all(|b| b.is_ascii_digit())) {
                return false;
            }
            rest = inner[end + 1..].trim_start();
        } else {
            return true;
        }
    }
}

/// The characters outside of quotes, and where they are.
fn outside_quotes(text: &str) -> impl Iterator<Item = (usize, char)> {
    let mut quote = None;
    let mut escaped = false;
    text.char_indices().filter(move |(_, c)| match (quote, c) {
        (Some(_), _) if escaped => {
            escaped = false;
            false
        }
        (Some(_), '\\') => {
            escaped = true;
            false
        }
        (Some(open), c) => {
            quote = Some(open).filter(|open| open != c);
            false
        }
        (None, '\'' | '"') => {
            quote = Some(*c);
            false
        }
        (None, _) => true,
    })
}

/// How deep brackets are nested, those in quotes not counted.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    for (_, c) in outside_quotes(text) {
        match c {
            '[' | '(' => depth += 1,
            ']' | ')' => depth = depth.saturating_sub(1),
            _ => {}
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
    fn a_path_whose_work_has_no_bound_is_refused() {
        let eight = "[0,0,0,0,0,0,0,0]";
        for (path, problem) in [
            (format!("$.a{}", eight.repeat(9)), "may find one value 134217728 times"),
            (format!("$.a{}", "[*,*]".repeat(40)), "times"),
            (format!("$.a{}", "[?@.b,0,-1]".repeat(9)), "times"),
            (format!("$.a{}", "[:,1:]".repeat(5)), "times"),
            ("$['a','a','a','a','a'][\"b\",'b','b','b']".to_owned(), "value 20 times"),
            ("$[?@.a[0,-1][0,-1]]..[:,:,:,:,:]".to_owned(), "value 20 times"),
            ("$..*..*..*".to_owned(), "3 `..`"),
            ("$[?count($..*)>1]".to_owned(), "`..` in a filter"),
            ("$[?@..a]".to_owned(), "`..` in a filter"),
            ("$.x[?(@.a == 1 && @..[0])]".to_owned(), "`..` in a filter"),
            ("$[?count($[*])>1]".to_owned(), "`$` in a filter"),
            ("$[?count($.*)>1]".to_owned(), "`$` in a filter"),
            ("$[?count($['a','b'])>1]".to_owned(), "`$` in a filter"),
            ("$[?count($.a [1:])>1]".to_owned(), "`$` in a filter"),
            ("$[?@[?$[?@.a]]]".to_owned(), "`$` in a filter"),
        ] {
            let error = parse(&path).expect_err(&path);
            assert!(error.contains(problem), "{path}: {error}");
        }
    }

    #[test]
    fn paths_that_people_write_go_on() {
        for path in [
            "$..vat",
            "$..items..price",
            "$..*",
            "$[?@.active==true]",
            "$[?@.a == $.wanted && @['b'] != $['x'][\"y\"][0][-1]]",
            "$.a[0,1]",
            "$.a[0,1,2,3,4,5,6,7,8,9][0,1,2,3,4,5,6,7,8,9]",
            "$.a[0,-1].b[0,-1]",
            "$.a[1:3,5:][::2]",
            "$.*.*.*.*[*][*]",
            "$['a','b','c']['d','e','f'].g",
            "$['0',0]",
            "$[?match(@.a, '[a,b]..\\\\$[*]') || @.b == \"$..x\" || @.c == '[0,0,0,0][0,0,0,0,0]']",
            "$[?count(@.tags[*]) > 2].name",
            "$[?@.orders[?@.total > 1.5]]",
            "$[?length(@.name) > 3 && (@.x == 1 || @.y == 2)]",
        ] {
            assert!(parse(path).is_ok(), "{path}: {:?}", parse(path).err());
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
