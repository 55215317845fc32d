//! Owns how a job file spells the key: `primary_key = ["a", "b"]` or `external_id = "acme:{sku}"`.

use std::fmt;

use schemars::JsonSchema;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

use crate::values::field::{ExternalId, Locator, RowPart};

/// `primary_key` as it is written.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(untagged)]
pub(super) enum PrimaryKey {
    /// The source fields that tell rows apart.
    Fields(Vec<String>),
    /// What is the key where no field is.
    #[schemars(with = "KeyWord")]
    Word(String),
}

/// What is the key of a row that has none.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
#[expect(dead_code, reason = "only for the schema: what else is written is told what to write")]
pub(super) enum KeyWord {
    /// The file and the row's number in it.
    RowNumber,
    /// All that the row holds: rows that are equal are one record.
    Content,
}

impl<'de> Deserialize<'de> for PrimaryKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KeyVisitor)
    }
}

struct KeyVisitor;

impl<'de> Visitor<'de> for KeyVisitor {
    type Value = PrimaryKey;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of source fields such as [\"id\"], \"row_number\" or \"content\"")
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<PrimaryKey, E> {
        Ok(PrimaryKey::Word(word.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<PrimaryKey, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list)).map(PrimaryKey::Fields)
    }
}

/// Where the rows of a source stand, as far as keys may be made of that.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeyRows {
    /// Whether they stand in files.
    pub in_files: bool,
    /// Whether these are made anew by each run.
    pub made_anew: bool,
}

/// The key that `primary_key` means.
///
/// # Errors
/// A sentence for people.
pub(super) fn of_primary_key(key: &PrimaryKey, rows: KeyRows) -> Result<ExternalId, String> {
    let word = match key {
        PrimaryKey::Fields(fields) => return of_fields(fields),
        PrimaryKey::Word(word) => word.as_str(),
    };
    let parts: &[RowPart] = match word {
        "row_number" => &[RowPart::File, RowPart::Number],
        "content" => &[RowPart::Content],
        other => {
            return Err(format!(
                "expected a list, found the text {other:?}: write [{other:?}] for the field of this name; for files without a key \
                 \"row_number\", the place of a row, or \"content\", all that it holds"
            ));
        }
    };
    if rows.made_anew && parts.contains(&RowPart::Number) {
        return Err("the files of [export] are made anew by each run, so no row keeps its place: name the fields that \
                    tell rows apart, or write primary_key = \"content\""
            .to_owned());
    }
    if !rows.in_files {
        return Err(format!(
            "{word:?} is for rows of files, and those of an API come in any order and change: name the fields that \
             identify them, for example [\"id\"]"
        ));
    }
    Ok(joined(parts.iter().map(|part| Locator::Whole(*part)).collect()))
}

/// The key made of parts that stand behind one another.
fn joined(parts: Vec<Locator>) -> ExternalId {
    let mut literals = vec![String::from("|"); parts.len() + 1];
    literals[0].clear();
    literals[parts.len()].clear();
    ExternalId { escaped: parts.len() > 1, parts, literals }
}

/// The key made of the fields of `primary_key`.
///
/// # Errors
/// A sentence for people.
pub(super) fn of_fields(fields: &[String]) -> Result<ExternalId, String> {
    if fields.is_empty() {
        return Err("a primary key needs at least one source field".into());
    }
    if fields.iter().any(|field| field.trim().is_empty()) {
        return Err("a primary key's field has no name".into());
    }
    if let Some(twice) = fields.iter().enumerate().find(|(i, f)| fields[..*i].contains(f)) {
        return Err(format!("`{}` is in the primary key twice", twice.1));
    }
    Ok(joined(fields.iter().map(|field| Locator::of_source_field(field)).collect()))
}

/// The key made by a template: source fields in braces, `{{` and `}}` for braces themselves.
///
/// # Errors
/// A sentence for people.
pub(super) fn of_template(template: &str) -> Result<ExternalId, String> {
    let mut id = ExternalId { parts: Vec::new(), literals: Vec::new(), escaped: false };
    let mut literal = String::new();
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        literal.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(behind) = rest.strip_prefix(brace) {
            literal.push_str(brace);
            rest = behind;
            continue;
        }
        if brace == "}" {
            return Err(r#"a "}" without its "{"; write "}}" for the character itself"#.into());
        }
        let Some((field, behind)) = rest.split_once('}') else {
            return Err(r#"a "{" without its "}"; write "{{" for the character itself"#.into());
        };
        if field.trim().is_empty() {
            return Err(
                r#"an empty placeholder; name a source field, for example "acme:{sku}""#.into()
            );
        }
        if literal.is_empty() && !id.parts.is_empty() {
            return Err(format!(
                "{{{field}}} follows another placeholder at once; put a separator between them, \
                 or else different rows could get one key"
            ));
        }
        id.parts.push(Locator::of_source_field(field));
        id.literals.push(std::mem::take(&mut literal));
        rest = behind;
    }
    literal.push_str(rest);
    id.literals.push(literal);
    if id.parts.is_empty() {
        return Err(r#"every row would have the same key; name a source field in braces, for example "acme:{sku}""#.into());
    }
    if id.literals.iter().any(|literal| literal.contains('\0')) {
        return Err("a key cannot contain U+0000".into());
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str) -> Locator {
        Locator::Named(name.into())
    }

    #[test]
    fn a_primary_key_of_several_fields_is_joined_and_escaped() {
        let id = of_fields(&["a".into(), "$.b.c".into()]).unwrap();
        assert_eq!(id.parts, [column("a"), Locator::Path("$.b.c".into())]);
        assert_eq!(id.literals, ["", "|", ""]);
        assert!(id.escaped);
        assert!(!of_fields(&["a".into()]).unwrap().escaped);
    }

    #[test]
    fn a_template_puts_text_around_source_fields() {
        let id = of_template("acme:{{x}}{sku}-{item no}!").unwrap();
        assert_eq!(id.parts, [column("sku"), column("item no")]);
        assert_eq!(id.literals, ["acme:{x}", "-", "!"]);
    }

    #[test]
    fn a_word_makes_keys_of_rows_that_have_none() {
        let of = |word: &str, in_files| {
            let rows = KeyRows { in_files, made_anew: false };
            of_primary_key(&PrimaryKey::Word(word.into()), rows)
        };
        let number = of("row_number", true).unwrap();
        assert!(number.is_row_number() && number.escaped && number.literals == ["", "|", ""]);
        let content = of("content", true).unwrap();
        assert!(content.is_content() && !content.is_row_number() && content.literals == ["", ""]);
        assert!(of("content", false).unwrap_err().contains("name the fields"));
        let exported = KeyRows { in_files: true, made_anew: true };
        let of_export = |word: &str| of_primary_key(&PrimaryKey::Word(word.into()), exported);
        assert!(of_export("row_number").unwrap_err().contains("[export]"));
        assert!(of_export("content").is_ok());
        let error = of("id", true).unwrap_err();
        assert!(error.contains("write [\"id\"]") && error.contains("row_number"), "{error}");
    }

    #[test]
    fn keys_that_cannot_tell_rows_apart_are_refused() {
        for bad in ["", "acme", "{}", "{a", "a}", "{a}{b}", "{{a}}"] {
            assert!(of_template(bad).is_err(), "{bad}");
        }
        assert!(of_fields(&[]).is_err());
        assert!(of_fields(&["a".into(), "a".into()]).is_err());
        assert!(of_fields(&[" ".into()]).is_err());
    }
}
