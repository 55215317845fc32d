//! Owns finding the fields of a job file that nothing of what was read has: a mistyped name maps
//! nothing, and says nothing, in row after row.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::suggest::nearest_field;
use crate::domain::text::{cut, visible};
use crate::job_file::Definition;
use crate::values::field::{Locator, first_segment, plain_header};

/// The most bytes of a name that is shown.
const SHOWN: usize = 100;

/// What was seen of the fields of a source.
#[derive(Debug, Default)]
pub struct FieldsSeen<'a> {
    /// The top-level fields, by the source's own names.
    pub names: BTreeSet<&'a str>,
    /// Whether these are headers, which are matched without case, spaces and punctuation.
    pub headers: bool,
    /// The paths within top-level fields that led nowhere in any row.
    pub leading_nowhere: BTreeSet<String>,
    /// The paths that may have been meant by some of them.
    pub meant: BTreeMap<String, String>,
    /// Mapped fields of which nothing is to be said.
    pub excused: BTreeSet<String>,
}

impl Definition {
    /// The mapped fields that nothing has, each with the nearest name that there is:
    /// `` `Verndor`; did you mean `Vendor`? ``
    pub fn absent_fields(&self, seen: &FieldsSeen<'_>) -> Vec<String> {
        let mut absent = Vec::new();
        for locator in self.locators() {
            let Some(label) = locator.label().filter(|_| !seen.has(&locator)) else { continue };
            if seen.excused.contains(label) {
                continue;
            }
            let text = match seen.nearest(&locator) {
                Some(name) => format!("`{}`; did you mean `{}`?", shown(label), shown(&name)),
                None => format!("`{}`", shown(label)),
            };
            if !absent.contains(&text) {
                absent.push(text);
            }
        }
        absent
    }
}

impl FieldsSeen<'_> {
    fn has(&self, locator: &Locator) -> bool {
        match locator {
            Locator::Whole(_) | Locator::Nowhere => true,
            // Columns are matched so, whatever their values are.
            Locator::Column(names) => names.iter().any(|name| self.has_name(name, true)),
            Locator::Named(name) => self.has_name(name, self.headers),
            Locator::Path(key) if !key.starts_with('$') => self.names.contains(key.as_str()),
            Locator::Path(path) => {
                !self.leading_nowhere.contains(path)
                    && first_segment(path).is_none_or(|(name, _)| self.names.contains(&*name))
            }
        }
    }

    fn has_name(&self, name: &str, headers: bool) -> bool {
        let alike = |known: &&str| plain_header(known) == plain_header(name);
        self.names.contains(name) || headers && self.names.iter().any(alike)
    }

    /// The name that was meant, written as the job file would.
    fn nearest(&self, locator: &Locator) -> Option<String> {
        let near = |name: &str| nearest_field(name, self.names.iter().copied()).map(str::to_owned);
        match locator {
            Locator::Whole(_) | Locator::Nowhere => None,
            Locator::Column(names) => names.iter().find_map(|name| near(name)),
            Locator::Named(name) => near(name),
            Locator::Path(key) if !key.starts_with('$') => near(key),
            Locator::Path(path) if let Some(meant) = self.meant.get(path) => Some(meant.clone()),
            Locator::Path(path) => {
                let (name, _) = first_segment(path)?;
                let meant = near(&name).filter(|meant| *meant != name)?;
                Some(path.replacen(&name, &meant, 1))
            }
        }
    }
}

/// A name from outside, as a message shows it.
fn shown(name: &str) -> String {
    visible(&cut(name, SHOWN)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn absent(kind: &str, fields: &str, names: &[&str], nowhere: &[&str]) -> Vec<String> {
        let text = format!("kind = '{kind}'\nprimary_key = ['id']\n[{kind}]\n[fields]\n{fields}");
        let source = "s".parse().unwrap();
        let kinds = ["csv", "rest_api"];
        let definition = Definition::parse(source, "s.toml".as_ref(), text, &kinds).unwrap();
        definition.absent_fields(&FieldsSeen {
            names: names.iter().copied().collect(),
            headers: kind == "csv",
            leading_nowhere: nowhere.iter().map(|path| (*path).to_owned()).collect(),
            ..FieldsSeen::default()
        })
    }

    #[test]
    fn a_mistyped_column_is_named_with_the_nearest_header() {
        let fields = "brand = { column = 'Verndor' }\nname = { aliases = ['Titel', 'NAME'] }\n\
                      price = {}\nfixed = { const = 1 }";
        let found = absent("csv", fields, &["ID", "Vendor", "name", "Weight"], &[]);
        assert_eq!(found, ["`Verndor`; did you mean `Vendor`?", "`price`"]);
        assert!(absent("csv", fields, &["id", "verndor", "Name", "Price"], &[]).is_empty());
    }

    #[test]
    fn a_key_of_an_api_is_named_as_the_job_file_would_write_the_right_one() {
        let fields = "name = { from = '$.nmae' }\ncity = { from = '$.address.ctiy' }\n\
                      zip = { from = \"$['adress'].zip\" }\nstate = { from = 'sttae' }\nprice = {}";
        let names = ["id", "name", "address", "state", "Price"];
        assert_eq!(
            absent("rest_api", fields, &names, &["$.address.ctiy"]),
            [
                "`$.nmae`; did you mean `$.name`?",
                "`$.address.ctiy`",
                "`$['adress'].zip`; did you mean `$['address'].zip`?",
                "`sttae`; did you mean `state`?",
                "`price`; did you mean `Price`?",
            ]
        );
    }

    #[test]
    fn a_name_from_outside_is_shown_escaped_and_short() {
        let long = format!("Vendr\u{1b}{}", "x".repeat(9000));
        let found = absent("csv", "brand = { column = 'nothing' }", &["id", &long], &[]);
        assert!(found.iter().all(|text| !text.contains('\u{1b}') && text.len() < 400), "{found:?}");
    }
}
