//! Owns the lines of a job file in which something is written, as people are shown them.

use std::ops::Range;

use toml::Spanned;
use toml::de::DeValue;

use super::definition::Definition;
use super::document::Document;
use super::line::Place;

/// The most lines that are shown.
const MOST: usize = 40;

/// Lines of a job file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    /// The number of the first, from 1.
    pub line: usize,
    /// As they are written.
    pub text: String,
}

impl Definition {
    /// The lines with the entry that `keys` lead to; `None` when there is none.
    pub fn excerpt(&self, keys: &[&str]) -> Option<Excerpt> {
        let document = Document::parse(&self.path, &self.text).ok()?;
        let (key, value) = document.find(keys)?;
        let span = whole(key, value);
        let start = self.text.get(..span.start)?.rfind('\n').map_or(0, |at| at + 1);
        let lines = self.text.get(start..)?.split_inclusive('\n');
        let mut end = start;
        for line in lines.take(MOST) {
            end += line.len();
            if end >= span.end {
                break;
            }
        }
        let text = self.text.get(start..end)?.trim_end().to_owned();
        Some(Excerpt { line: Place::of(&self.text, start).line, text })
    }
}

/// From the first byte of a key to the last one of its value: the entries of a table may stand on lines of their own.
fn whole(key: Range<usize>, value: &Spanned<DeValue<'_>>) -> Range<usize> {
    let own = value.span();
    let start = key.start.min(own.start);
    let mut end = key.end.max(own.end);
    if let DeValue::Table(table) = value.get_ref() {
        for (name, value) in table {
            end = end.max(name.span().end).max(value.span().end);
        }
    }
    start..end
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn excerpt(text: &str, keys: &[&str]) -> Option<(usize, String)> {
        let kinds = ["csv"];
        let (source, path) = ("shop".parse().unwrap(), Path::new("shop.toml"));
        let definition = Definition::parse(source, path, text.to_owned(), &kinds).unwrap();
        definition.excerpt(keys).map(|excerpt| (excerpt.line, excerpt.text))
    }

    #[test]
    fn a_field_is_shown_as_it_is_written_with_its_line() {
        let head = "kind = \"csv\"\nprimary_key = [\"id\"]\n";
        let text = format!(
            "{head}[csv]\npaths = [\"a.csv\"]\n[fields]\nname = {{}} # a name\nprice = {{\n  type = \"decimal\",\n}}\n\
             stock.type = \"integer\"\nstock.required = true\n[fields.brand]\ncolumn = \"Brand\"\nrequired = true\n"
        );
        let of = |name| excerpt(&text, &["fields", name]);
        assert_eq!(of("name"), Some((6, "name = {} # a name".to_owned())));
        assert_eq!(of("price"), Some((7, "price = {\n  type = \"decimal\",\n}".to_owned())));
        let stock = "stock.type = \"integer\"\nstock.required = true".to_owned();
        assert_eq!(of("stock"), Some((10, stock)));
        let brand = "[fields.brand]\ncolumn = \"Brand\"\nrequired = true".to_owned();
        assert_eq!(of("brand"), Some((12, brand)));
        assert_eq!(of("nothing"), None);
        assert_eq!(
            excerpt(&text, &["primary_key"]),
            Some((2, "primary_key = [\"id\"]".to_owned()))
        );
    }
}
