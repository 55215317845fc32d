//! Owns lists of objects in XML, as S3 and Azure write them.

use quick_xml::Reader;
use quick_xml::events::{BytesRef, Event};

/// An element, with what stands in it.
#[derive(Debug, Default)]
pub struct Element {
    name: String,
    /// Whether an attribute `Encoded` says that the text is percent-encoded.
    encoded: bool,
    text: String,
    children: Vec<Element>,
}

/// The most levels of elements, of which lists have four.
const DEEPEST: usize = 16;

impl Element {
    /// The element that a text is, which must have this name.
    ///
    /// # Errors
    /// When it is no such XML, or not all of it.
    pub fn parse(text: &[u8], name: &str) -> Result<Self, String> {
        let text = std::str::from_utf8(text).map_err(|_| "it is no UTF-8 text".to_owned())?;
        let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
        let mut open = vec![Self::default()];
        loop {
            let event = reader.read_event().map_err(|error| format!("it is no XML: {error}"))?;
            let now = open.last_mut().ok_or_else(|| "it is no XML".to_owned())?;
            match event {
                Event::Start(start) => {
                    if open.len() > DEEPEST {
                        return Err("it is no list of objects".to_owned());
                    }
                    let encoded = start.try_get_attribute("Encoded").ok().flatten().is_some();
                    let name = String::from_utf8_lossy(start.local_name().as_ref()).into_owned();
                    open.push(Self { name, encoded, ..Self::default() });
                }
                Event::Empty(start) => {
                    let name = String::from_utf8_lossy(start.local_name().as_ref()).into_owned();
                    now.children.push(Self { name, ..Self::default() });
                }
                Event::End(_) => {
                    let ended = open.pop().unwrap_or_default();
                    let around = open.last_mut().ok_or_else(|| "it is no XML".to_owned())?;
                    around.children.push(ended);
                }
                Event::Text(part) => {
                    let part = part.decode().map_err(|error| format!("it is no XML: {error}"))?;
                    now.text.push_str(&part);
                }
                Event::CData(part) => {
                    let part = part.decode().map_err(|error| format!("it is no XML: {error}"))?;
                    now.text.push_str(&part);
                }
                Event::GeneralRef(reference) => now.text.push(character(&reference)?),
                Event::Eof => break,
                Event::Decl(_) | Event::Comment(_) | Event::PI(_) | Event::DocType(_) => {}
            }
        }
        match <[Self; 1]>::try_from(open) {
            Ok([mut all]) => match all.children.pop() {
                Some(root) if root.name == name => Ok(root),
                Some(root) => Err(format!(
                    "it is an element `{}`, and not `{name}`",
                    crate::domain::text::beginning(&root.name)
                )),
                None => Err("it is empty".to_owned()),
            },
            Err(_) => Err("it ends before its end".to_owned()),
        }
    }

    /// The elements of this name in it.
    pub fn all<'e>(&'e self, name: &'e str) -> impl Iterator<Item = &'e Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The first of them.
    pub fn first(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The text of the first of them; `None` where it is empty.
    pub fn text(&self, name: &str) -> Option<String> {
        let element = self.first(name).filter(|element| !element.text.is_empty())?;
        match element.encoded {
            true => percent_encoding::percent_decode_str(&element.text)
                .decode_utf8()
                .ok()
                .map(Into::into),
            false => Some(element.text.clone()),
        }
    }
}

/// The character that a reference such as `&amp;` or `&#38;` stands for.
fn character(reference: &BytesRef<'_>) -> Result<char, String> {
    if let Ok(Some(character)) = reference.resolve_char_ref() {
        return Ok(character);
    }
    let name = String::from_utf8_lossy(reference).into_owned();
    Ok(match name.as_str() {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        other => {
            return Err(format!(
                "it has a reference `&{};`, which nobody knows",
                crate::domain::text::beginning(other)
            ));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_every_character() {
        let text = "\u{feff}<?xml version=\"1.0\"?>\n<L xmlns=\"x\"><C><K> a&amp;b &#x2B;&lt;ä </K><S>3</S></C>\n<C><K \
                    Encoded=\"true\">a%01b</K></C><N/></L>";
        let list = Element::parse(text.as_bytes(), "L").unwrap();
        let keys: Vec<_> = list.all("C").map(|object| object.text("K").unwrap()).collect();
        assert_eq!(keys, [" a&b +<ä ", "a\u{1}b"]);
        assert_eq!(list.text("N"), None);
        assert_eq!(list.first("C").unwrap().text("S").as_deref(), Some("3"));
    }

    #[test]
    fn what_is_no_list_or_not_all_of_one_is_an_error() {
        for (text, says) in [
            ("", "empty"),
            ("<L><C>", "ends before its end"),
            ("<E></E>", "an element `E`"),
            ("<L>&what;</L>", "`&what;`"),
            ("<L></M>", "no XML"),
        ] {
            let error = Element::parse(text.as_bytes(), "L").unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
        let deep = "<a>".repeat(1000);
        assert!(Element::parse(deep.as_bytes(), "a").is_err());
    }
}
