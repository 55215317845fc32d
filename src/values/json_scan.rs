//! Owns the fast path of JSON in text cells: one pass that checks, compacts and copies the plain
//! spelling that most rows have.

use super::object;
use crate::domain::decimal;

/// Numbers up to this length without an exponent have no more digits than allowed.
pub(super) const PLAIN_NUMBER: usize = decimal::MAX_DIGITS as usize;
/// Nesting that the fast path follows; deeper texts go the slow way.
const PLAIN_DEPTH: usize = 16;

/// The fast path: checks and copies JSON in the plain spelling that most rows have, several times
/// faster than parsing it into a tree. `false` says nothing about the text but that it has an
/// escape, an exponent, great depth or an error, which serde_json looks into.
pub(super) fn copy_plain(text: &str, out: &mut String) -> bool {
    let mut scan = Scan { text: text.trim_matches(WHITE), at: 0 };
    memchr::memchr(b'\\', text.as_bytes()).is_none()
        && scan.value(PLAIN_DEPTH, out).is_some()
        && scan.at == scan.text.len()
}

const WHITE: [char; 4] = [' ', '\t', '\n', '\r'];

struct Scan<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Scan<'t> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next byte behind white space, which is then passed.
    fn token(&mut self) -> Option<u8> {
        while matches!(self.peek()?, b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        let byte = self.peek();
        self.at += 1;
        byte
    }

    fn value(&mut self, depth: usize, out: &mut String) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        match self.token()? {
            b'{' => self.object(depth, out),
            b'[' => self.array(depth, out),
            b'"' => self.string(out).map(|_| ()),
            b't' => self.word("true", out),
            b'f' => self.word("false", out),
            b'n' => self.word("null", out),
            b'-' | b'0'..=b'9' => self.number(out),
            _ => None,
        }
    }

    fn object(&mut self, depth: usize, out: &mut String) -> Option<()> {
        let start = out.len();
        out.push('{');
        let mut last = None;
        let mut sorted = true;
        loop {
            match self.token()? {
                b'}' if last.is_none() => break,
                b'"' => {}
                _ => return None,
            }
            let key = self.string(out)?;
            if self.token()? != b':' {
                return None;
            }
            sorted &= last.is_none_or(|last| last < key);
            last = Some(key);
            out.push(':');
            self.value(depth, out)?;
            match self.token()? {
                b',' => out.push(','),
                b'}' => break,
                _ => return None,
            }
        }
        out.push('}');
        // Which of two values of a key counts is not for this way to say.
        (sorted || object::sort_members(out, start)).then_some(())
    }

    fn array(&mut self, depth: usize, out: &mut String) -> Option<()> {
        out.push('[');
        let mut empty = true;
        loop {
            match self.token()? {
                b']' if empty => break,
                _ => self.at -= 1,
            }
            empty = false;
            self.value(depth, out)?;
            match self.token()? {
                b',' => out.push(','),
                b']' => break,
                _ => return None,
            }
        }
        out.push(']');
        Some(())
    }

    /// Behind the opening quote; the whole text is known to have no backslash.
    fn string(&mut self, out: &mut String) -> Option<&'t str> {
        let start = self.at;
        while !matches!(self.peek()?, b'"' | 0..b' ') {
            self.at += 1;
        }
        let closed = self.peek() == Some(b'"');
        self.at += 1;
        closed.then(|| {
            out.push_str(&self.text[start - 1..self.at]);
            &self.text[start..self.at - 1]
        })
    }

    fn word(&mut self, word: &str, out: &mut String) -> Option<()> {
        self.at -= 1;
        self.text.get(self.at..)?.starts_with(word).then(|| {
            out.push_str(word);
            self.at += word.len();
        })
    }

    fn number(&mut self, out: &mut String) -> Option<()> {
        self.at -= 1;
        let start = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        let leading_zero = self.peek() == Some(b'0');
        let whole = self.digits();
        if whole == 0 || (leading_zero && whole > 1) {
            return None;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return None;
            }
        }
        let plain = !matches!(self.peek(), Some(b'e' | b'E')) && self.at - start <= PLAIN_NUMBER;
        plain.then(|| out.push_str(&self.text[start..self.at]))
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - start
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    #[test]
    fn plain_json_takes_the_fast_path_and_odd_json_does_not() {
        for text in ["{}", " [ ] ", r#"{"b":1, "a":[true,{"d":-0.5,"c":null}]}"#] {
            assert!(copy_plain(text, &mut String::new()), "{text}");
        }
        for text in [r#""\u0041""#, "1e5", &"[".repeat(17), "", "[1,]", "01"] {
            assert!(!copy_plain(text, &mut String::new()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_fast_path_takes_json_only(text in "[\\[\\]{}:,\"a0-9.eE truefalsn-]{0,24}") {
            if copy_plain(&text, &mut String::new()) {
                prop_assert!(serde_json::from_str::<Value>(&text).is_ok(), "{}", text);
            }
        }
    }
}
