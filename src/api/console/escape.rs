//! Owns how text gets into a page: nothing in it is markup, and nothing in it is invisible. Every expression of every
//! template goes through here (`askama.toml`).

use std::fmt::{self, Write};

use askama::filters::Escaper;

/// Escapes markup, and shows characters that cannot be seen, or that turn the direction of what follows, by their
/// numbers: `⟨1b⟩`, `⟨U+202E⟩`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Visible;

impl Escaper for Visible {
    fn write_escaped_str<W: Write>(&self, mut dest: W, text: &str) -> fmt::Result {
        let mut plain = 0;
        for (at, character) in text.char_indices() {
            if is_plain(character) {
                continue;
            }
            dest.write_str(&text[plain..at])?;
            write_other(&mut dest, character)?;
            plain = at + character.len_utf8();
        }
        dest.write_str(&text[plain..])
    }
}

fn is_plain(character: char) -> bool {
    match character {
        '<' | '>' | '&' | '"' | '\'' => false,
        '\n' => true,
        _ => !is_hidden(character),
    }
}

fn write_other(dest: &mut impl Write, character: char) -> fmt::Result {
    match character {
        '<' => dest.write_str("&lt;"),
        '>' => dest.write_str("&gt;"),
        '&' => dest.write_str("&amp;"),
        '"' => dest.write_str("&quot;"),
        '\'' => dest.write_str("&#39;"),
        _ if character < '\u{100}' => write!(dest, "⟨{:02x}⟩", u32::from(character)),
        _ => write!(dest, "⟨U+{:04X}⟩", u32::from(character)),
    }
}

/// Controls, marks of direction, joiners and spaces of no width, tags, and what stands for no character.
/// Source: Unicode 16, general category Cc and Cf, and UAX #9, "Explicit Directional Formatting".
pub(crate) fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// A text as it stands in a page.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    // Writing into a string does not fail.
    let _ = Visible.write_escaped_str(&mut escaped, text);
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_text() {
        assert_eq!(
            escaped("<a href=\"x\" b='y'>&"),
            "&lt;a href=&quot;x&quot; b=&#39;y&#39;&gt;&amp;"
        );
    }

    #[test]
    fn what_cannot_be_seen_is_shown() {
        assert_eq!(
            escaped("a\u{1b}[31m\0\u{202e}b\u{feff}\r\n"),
            "a⟨1b⟩[31m⟨00⟩⟨U+202E⟩b⟨U+FEFF⟩⟨0d⟩\n"
        );
        assert_eq!(escaped("äö 日本 👍"), "äö 日本 👍");
    }
}
