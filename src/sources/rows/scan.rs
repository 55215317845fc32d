//! Owns going over the text of a JSON value, also of one that was cut, without parsing it.

use std::borrow::Cow;

/// Goes over a text that is JSON as far as it goes. Of any other it says something, in no more steps.
pub(super) struct Scan<'t> {
    text: &'t str,
    /// Where it is.
    pub at: usize,
}

impl<'t> Scan<'t> {
    /// At the first value of the text.
    pub fn of(text: &'t str) -> Self {
        let mut scan = Self { text, at: 0 };
        scan.white();
        scan
    }

    /// The next byte.
    pub fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Passes over white space.
    pub fn white(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Passes over a byte, if it is the next one.
    pub fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    /// Goes to the value of the key that fits, the last one if there are several.
    pub fn enter(&mut self, fits: impl Fn(&str) -> bool) -> Option<()> {
        if !self.take(b'{') {
            return None;
        }
        let mut found = None;
        while let Some(name) = self.key() {
            if name.is_some_and(|name| fits(&name)) {
                found = Some(self.at);
            }
            self.pass();
            self.white();
            if !self.take(b',') {
                break;
            }
        }
        self.at = found?;
        Some(())
    }

    /// Passes over the key of a member, to its value; `None` where there is none. What stands for no text is no key.
    pub fn key(&mut self) -> Option<Option<Cow<'t, str>>> {
        self.white();
        if self.peek() != Some(b'"') {
            return None;
        }
        let start = self.at;
        self.string();
        let name = self.text.get(start..self.at).and_then(unescaped);
        self.white();
        if !self.take(b':') {
            return None;
        }
        self.white();
        Some(name)
    }

    /// Goes to the element of this number.
    pub fn enter_list(&mut self, number: usize) -> Option<()> {
        if !self.take(b'[') {
            return None;
        }
        for _ in 0..number {
            self.white();
            self.pass();
            self.white();
            if !self.take(b',') {
                return None;
            }
        }
        self.white();
        Some(())
    }

    /// Passes over a value.
    pub fn pass(&mut self) {
        let mut depth = 0_usize;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => self.string(),
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' if depth > 0 => {
                    depth -= 1;
                    self.at += 1;
                }
                b'}' | b']' => return,
                b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' if depth == 0 => return,
                _ => {
                    self.at += 1;
                    // A number or a word.
                    if depth == 0 && !self.goes_on() {
                        return;
                    }
                    continue;
                }
            }
            if depth == 0 {
                return;
            }
        }
    }

    fn goes_on(&self) -> bool {
        !matches!(
            self.peek(),
            None | Some(
                b',' | b':' | b'"' | b'{' | b'}' | b'[' | b']' | b' ' | b'\t' | b'\n' | b'\r'
            )
        )
    }

    /// Passes over a text with its quotes.
    fn string(&mut self) {
        self.at += 1;
        while let Some(byte) = self.peek() {
            self.at += 1;
            match byte {
                b'"' => return,
                b'\\' => self.at += 1,
                _ => {}
            }
        }
        self.at = self.text.len();
    }
}

/// The text that a JSON text stands for.
fn unescaped(json: &str) -> Option<Cow<'_, str>> {
    if json.contains('\\') {
        return serde_json::from_str::<String>(json).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(json.strip_prefix('"')?.strip_suffix('"')?))
}
