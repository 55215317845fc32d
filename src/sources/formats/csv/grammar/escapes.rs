//! Owns what escapes mean.

use super::Grammar;
use super::near::find;

impl Grammar {
    /// Appends the text of an [`super::FieldKind::Escaped`] field to `out`.
    pub fn unescape(&self, text: &str, out: &mut String) {
        match (self.quote, self.escape) {
            (Some(quote), Some(escape)) => unescape_quotes(text, quote, escape, out),
            (None, Some(escape)) => unescape_bare(text, escape, out),
            (_, None) => out.push_str(text),
        }
    }
}

fn unescape_quotes(mut text: &str, quote: u8, escape: u8, out: &mut String) {
    while let Some(at) = find(escape, text.as_bytes()) {
        let next = text.as_bytes().get(at + 1).copied();
        let escapes = next == Some(quote) || next == Some(escape);
        let (before, rest) = text.split_at(at + 1);
        if escapes {
            let (escaped, rest) = rest.split_at(1);
            out.push_str(&before[..at]);
            out.push_str(escaped);
            text = rest;
        } else {
            out.push_str(before);
            text = rest;
        }
    }
    out.push_str(text);
}

/// As MySQL's `SELECT … INTO OUTFILE` and PostgreSQL's `COPY` write: an escape makes text of what is behind
/// it, and a backslash has letters for what can hardly be seen. A lone `\N` means that there is no value, and
/// stays what it is.
fn unescape_bare(text: &str, escape: u8, out: &mut String) {
    if escape == b'\\' && text == "\\N" {
        out.push_str(text);
        return;
    }
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != char::from(escape) {
            out.push(c);
            continue;
        }
        match chars.next() {
            None => out.push(c),
            Some(letter) if escape == b'\\' => out.push(meant(letter)),
            Some(other) => out.push(other),
        }
    }
}

fn meant(letter: char) -> char {
    match letter {
        '0' => '\0',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        'Z' => '\u{1a}',
        other => other,
    }
}
