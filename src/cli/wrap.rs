//! Owns how text for people is broken into lines. Everything that is printed and is no table passes
//! through here, and so do the sentences of tables.
//!
//! Lines are broken between words, and the further lines of one hang in. A word that is longer than a line
//! begins further left; only one that no line can take is broken, where it parts (`https://host/|path`) if
//! it does, and never within a number: 400,000 that reads as 40,000 is worse than a long line.

use console::measure_text_width;

/// The most of a line that may be empty because it hangs in.
const MOST_INDENT: usize = 3;

/// The lines of a text in a window of so many columns; its own line ends and indents stay. Further lines
/// of one hang in by `hang`. Where nobody's window is known, as in a pipe, nothing is broken.
pub(super) fn fold(text: &str, width: Option<usize>, hang: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for line in text.split('\n') {
        match width {
            Some(width) if measure_text_width(line) > width => {
                fold_line(line, width, hang, &mut lines)
            }
            _ => lines.push(line.to_owned()),
        }
    }
    lines
}

fn fold_line(line: &str, width: usize, hang: usize, lines: &mut Vec<String>) {
    let lead = line.len() - line.trim_start_matches(' ').len();
    let hang = (lead + hang).min(width / MOST_INDENT);
    let mut current = " ".repeat(lead);
    let mut is_blank = true;
    for (gap, word) in words(&line[lead..]) {
        let long = measure_text_width(word);
        let gap = if is_blank { "" } else { gap };
        if measure_text_width(&current) + gap.len() + long <= width {
            current.push_str(gap);
            current.push_str(word);
            is_blank = false;
            continue;
        }
        if !is_blank {
            lines.push(std::mem::take(&mut current));
        }
        let mut rest = word;
        if long > width {
            while measure_text_width(rest) > width - hang {
                let at = place_to_break(rest, width - hang);
                if at == rest.len() {
                    break;
                }
                lines.push(indented(&rest[..at], width, hang));
                rest = &rest[at..];
            }
        }
        current = indented(rest, width, hang);
        is_blank = false;
    }
    lines.push(current);
}

/// As far in as there is room for.
fn indented(word: &str, width: usize, hang: usize) -> String {
    let indent = hang.min(width.saturating_sub(measure_text_width(word)));
    format!("{}{word}", " ".repeat(indent))
}

/// Each word with the spaces before it.
fn words(line: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = line;
    std::iter::from_fn(move || {
        let word = rest.trim_start_matches(' ');
        let gap = &rest[..rest.len() - word.len()];
        let end = word.find(' ').unwrap_or(word.len());
        rest = &word[end..];
        (!word.is_empty()).then_some((gap, &word[..end]))
    })
}

/// Where a word is broken that has more than `room` columns: behind a sign between its parts in the second
/// half of the room, else as late as may be. Its end, if it cannot be broken.
fn place_to_break(word: &str, room: usize) -> usize {
    // A colour would be broken with it.
    if word.contains('\u{1b}') {
        return word.len();
    }
    let (mut column, mut last, mut parting) = (0, None, None);
    let mut before = None;
    for (at, c) in word.char_indices() {
        if let Some(before) = before
            && may_break(word, at, before, c)
        {
            if column > room && last.is_some() {
                break;
            }
            last = Some(at);
            if is_parting(before) && column > room / 2 {
                parting = Some(at);
            }
            if column > room {
                break;
            }
        }
        column += measure_text_width(c.encode_utf8(&mut [0; 4]));
        before = Some(c);
    }
    parting.or(last).unwrap_or(word.len())
}

fn is_parting(c: char) -> bool {
    matches!(c, '/' | '?' | '&' | ',' | ';' | ':' | '-' | '_' | '|' | '.' | ')' | ']')
}

fn may_break(word: &str, at: usize, before: char, after: char) -> bool {
    const JOINER: char = '\u{200d}';
    let has_form = measure_text_width(after.encode_utf8(&mut [0; 4])) > 0;
    has_form
        && before != JOINER
        && !(is_of_number(before) && is_of_number(after) && in_number(word, at))
}

fn is_of_number(c: char) -> bool {
    c.is_numeric() || matches!(c, '.' | ',' | '+' | '-')
}

/// Whether the signs around a place are those of a number.
fn in_number(word: &str, at: usize) -> bool {
    let ahead = word[at..].chars().take_while(|c| is_of_number(*c));
    let behind = word[..at].chars().rev().take_while(|c| is_of_number(*c));
    ahead.chain(behind).any(char::is_numeric)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn folded(text: &str, width: usize) -> Vec<String> {
        fold(text, Some(width), 2)
    }

    #[test]
    fn lines_are_broken_between_words_and_hang_in() {
        let text = "error: the file data/shop.csv cannot be read: it is a named pipe";
        let expected =
            ["error: the file", "  data/shop.csv", "  cannot be read: it", "  is a named pipe"];
        assert_eq!(folded(text, 21), expected);
        assert_eq!(folded(text, 100), [text]);
        assert_eq!(fold(text, None, 2), [text], "a pipe has it whole");
        let own = "  first line of some words\n\n    second";
        assert_eq!(folded(own, 20), ["  first line of some", "    words", "", "    second"]);
        let hung = fold("error    a.toml:7: key: is not known", Some(29), 9);
        assert_eq!(hung, ["error    a.toml:7: key: is", "         not known"]);
    }

    #[test]
    fn long_words_are_kept_whole_where_they_fit_and_break_where_they_part() {
        let hash = "3f9a1c2b".repeat(8);
        let text = format!("fingerprint {hash}");
        assert_eq!(folded(&text, 64), ["fingerprint".to_owned(), hash.clone()], "further left");
        assert_eq!(folded(&text, 66), ["fingerprint".to_owned(), format!("  {hash}")]);
        let url = "see https://api.example.com/v1/things?limit=100&after=abcdefgh for more";
        assert_eq!(
            folded(url, 30),
            [
                "see",
                "  https://api.example.com/v1/",
                "  things?limit=100&",
                "  after=abcdefgh for more"
            ]
        );
        let digits = "1".repeat(40);
        assert_eq!(folded(&format!("x {digits} y"), 20), ["x", &digits, "  y"], "numbers never");
    }

    proptest! {
        #[test]
        fn nothing_is_lost_no_number_broken_and_no_line_too_long(
            words in prop::collection::vec("[a-z/:é中]{1,12}|[0-9]{1,3}(,[0-9]{3}){0,4}|[a-f0-9]{64}|\\PC{1,90}", 1..12),
            gaps in prop::collection::vec(" {1,3}|\n", 12),
            width in 20usize..160,
            hang in 0usize..12,
        ) {
            let text: String =
                words.iter().zip(&gaps).map(|(word, gap)| format!("{word}{gap}")).collect();
            prop_assert_eq!(fold(&text, None, hang).join("\n"), text.clone());
            let lines = fold(&text, Some(width), hang);
            let bare = |text: &str| text.split([' ', '\n']).collect::<String>();
            prop_assert_eq!(bare(&lines.concat()), bare(&text));
            let numbers = |text: &str| -> Vec<String> {
                let parts = text.split(|c: char| !is_of_number(c));
                let numbers = parts.filter(|part| part.contains(char::is_numeric));
                numbers.map(str::to_owned).collect()
            };
            let whole: Vec<String> = lines.iter().flat_map(|line| numbers(line)).collect();
            prop_assert_eq!(whole, numbers(&text));
            let longest = numbers(&text).iter().map(|n| measure_text_width(n)).max().unwrap_or(0);
            for line in &lines {
                // What has no width of its own is not parted from what it stands on.
                let fits = measure_text_width(line) <= width || longest + 4 > width - hang;
                prop_assert!(fits || line.chars().any(|c| c == '\u{200d}'), "{line:?} at {width}");
            }
            for word in text.split([' ', '\n']).filter(|word| measure_text_width(word) <= width) {
                let whole = |line: &String| line.split(' ').any(|part| part == word);
                prop_assert!(word.is_empty() || lines.iter().any(whole), "{word:?} was broken");
            }
        }
    }
}
