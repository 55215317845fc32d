//! Owns how text from outside is shown and how much of it is kept. Whatever an API, a file or a
//! client says may hold terminal escapes, line ends that forge a line of the log, characters that
//! turn the direction of writing, or megabytes: it passes through here before a person sees it.

use std::borrow::Cow;
use std::fmt::{self, Write};

/// The most bytes of an error's text, in the database, in the log and on the terminal.
pub const MAX_ERROR: usize = 8 << 10;
/// The most bytes of a field of a line of the log.
pub const MAX_LOGGED: usize = 2 * MAX_ERROR;
/// The most bytes of a single value that a message quotes.
pub const MAX_QUOTED: usize = 200;
/// The most characters of a longer text from outside, whose beginning a message repeats.
pub const MAX_BEGINNING: usize = 200;

/// The text in one line, with everything escaped that a terminal would obey or hide: control
/// characters, line ends, and characters without a form of their own, such as those that turn the
/// direction of writing. `\u{1b}[2J` is shown as these eight characters.
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, is_unprintable)
}

/// As [`printable`], but line ends stay: for messages of several lines that are our own.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c != '\n' && is_unprintable(c))
}

/// At most about `most` bytes of a text: its beginning and its end, and how much is missing
/// between them.
pub fn cut(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    // The end of an error names its first cause; its beginning says where it happened.
    let head = text.floor_char_boundary(most - most / 4);
    let tail = text.ceil_char_boundary(text.len() - most / 4);
    let missing = tail - head;
    Cow::Owned(format!("{}… ({missing} bytes cut) …{}", &text[..head], &text[tail..]))
}

/// As [`printable`], and spaces that look like another one are named: of `1\u{a0}234,50`, shown as
/// `1<U+00A0>234,50`, one sees why it is no number. For values and names that messages quote.
pub fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_unprintable(c) || is_strange_space(c))
}

/// A value from outside as a message shows it: in one line, of at most [`MAX_QUOTED`] bytes.
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", visible(&cut(text, MAX_QUOTED)))
}

/// The beginning of a text, at most [`MAX_BEGINNING`] characters of it on one line.
pub fn beginning(text: &str) -> String {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if line.len() > MAX_BEGINNING * 4 {
            break;
        }
    }
    match line.char_indices().nth(MAX_BEGINNING) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// An error's text, as it is stored and shown: printable, and at most [`MAX_ERROR`] bytes and the
/// note of how much was cut. Its line ends stay.
pub fn error_text(text: &str) -> String {
    // Cut first, for what is cut need not be escaped; and again, as escapes are longer.
    let short = cut(text, MAX_ERROR);
    let printable = printable_lines(&short);
    cut(&printable, MAX_ERROR + MAX_QUOTED).into_owned()
}

/// JSON text without anything that a terminal would obey. JSON itself lets all but the first 32
/// characters through; where they may stand, within its strings, `\\u009b` says the same.
pub fn escape_in_json(json: &str) -> Cow<'_, str> {
    let is_bad = |c: char| c != '\n' && is_unprintable(c);
    if !json.contains(is_bad) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if is_bad(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Shows a value as its text, [`printable`]; with `{:?}`, in quotes.
#[derive(Clone, Copy)]
pub struct Shown<T>(pub T);

impl<T: fmt::Display> fmt::Display for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

impl<T: fmt::Display> fmt::Debug for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

struct Escaping<W>(W);

impl<W: Write> Write for Escaping<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write_str(&printable(text))
    }
}

/// Whether a terminal would obey the character, or show nothing where it stands.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // Soft hyphen, marks and overrides of direction, separators of lines and paragraphs.
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            // Byte order mark, interlinear annotations, tags.
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Whether the character is a space and not the usual one, such as the no-break spaces.
fn is_strange_space(c: char) -> bool {
    c != ' ' && c.is_whitespace()
}

fn escaped(text: &str, mut is_bad: impl FnMut(char) -> bool) -> Cow<'_, str> {
    let Some(first) = text.find(&mut is_bad) else { return Cow::Borrowed(text) };
    let mut out = String::with_capacity(text.len() + 16);
    out.push_str(&text[..first]);
    for c in text[first..].chars() {
        if !is_bad(c) {
            out.push(c);
        } else if is_unprintable(c) {
            out.extend(c.escape_default());
        } else {
            out.push_str(&format!("<U+{:04X}>", u32::from(c)));
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(beginning(&"é".repeat(1000)).chars().count(), MAX_BEGINNING + 1);
    }

    #[test]
    fn terminal_escapes_line_ends_and_overrides_of_direction_are_shown_and_not_obeyed() {
        for (text, shown) in [
            ("plain, gr\u{fc}n, 中文, 👍🏽", "plain, gr\u{fc}n, 中文, 👍🏽"),
            ("\u{1b}[2J\u{1b}]0;title\u{7}", "\\u{1b}[2J\\u{1b}]0;title\\u{7}"),
            ("a\r\nINFO forged\t\0", "a\\r\\nINFO forged\\t\\u{0}"),
            ("\u{9b}31m\u{7f}", "\\u{9b}31m\\u{7f}"),
            ("gnp.\u{202e}exe\u{2066}\u{feff}", "gnp.\\u{202e}exe\\u{2066}\\u{feff}"),
        ] {
            assert_eq!(printable(text), shown);
            assert_eq!(Shown(text).to_string(), shown);
        }
        assert_eq!(printable_lines("a\n\u{1b}b"), "a\n\\u{1b}b");
        assert_eq!(quoted("a\nb"), "\"a\\nb\"");
    }

    #[test]
    fn spaces_that_look_like_another_one_are_named_where_messages_quote_them() {
        for (text, shown) in [
            ("1 234,50", "1 234,50"),
            ("1\u{a0}234\u{202f}567,50", "1<U+00A0>234<U+202F>567,50"),
            ("\u{3000}a\u{2009}\tb", "<U+3000>a<U+2009>\\tb"),
        ] {
            assert_eq!(visible(text), shown);
            assert_eq!(visible(&visible(text)), shown);
            assert_eq!(quoted(text), format!("\"{shown}\""));
        }
        assert_eq!(printable("12\u{a0}\u{20ac}"), "12\u{a0}\u{20ac}");
    }

    #[test]
    fn a_text_that_is_too_long_keeps_its_beginning_and_its_end() {
        assert_eq!(cut("short", 5), "short");
        let long = format!("begin{}end", "ü".repeat(1000));
        let short = cut(&long, 100);
        assert!(short.starts_with("begin") && short.ends_with("end"), "{short}");
        assert!(short.contains("… (1908 bytes cut) …"), "{short}");
        assert!(quoted(&long).len() < MAX_QUOTED + 40);
        let text = error_text(&"\u{1b}".repeat(20 << 20));
        assert!(text.len() < MAX_ERROR + 2 * MAX_QUOTED, "{}", text.len());
    }

    proptest! {
        #[test]
        fn any_text_is_shown_in_one_printable_line(text in any::<String>(), most in 8usize..100) {
            let shown = printable(&text);
            prop_assert!(!shown.contains(is_unprintable));
            prop_assert!(matches!(printable(&shown), Cow::Borrowed(same) if same == shown));
            prop_assert!(cut(&text, most).len() <= most + 40);
            let lines = error_text(&text);
            prop_assert_eq!(lines.matches('\n').count(), text.matches('\n').count());
            let json = serde_json::to_string(&text).expect("JSON");
            let escaped = escape_in_json(&json);
            prop_assert!(!escaped.contains(is_unprintable));
            prop_assert_eq!(serde_json::from_str::<String>(&escaped).expect("JSON"), text);
        }
    }
}
