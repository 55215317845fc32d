//! Owns how a job file spells the key: `primary_key = ["a", "b"]` or `external_id = "acme:{sku}"`.

use crate::values::field::{ExternalId, Locator};

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
    let mut literals = vec![String::from("|"); fields.len() + 1];
    literals[0].clear();
    literals[fields.len()].clear();
    Ok(ExternalId {
        parts: fields.iter().map(|field| Locator::of_source_field(field)).collect(),
        literals,
        escaped: fields.len() > 1,
    })
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
    fn keys_that_cannot_tell_rows_apart_are_refused() {
        for bad in ["", "acme", "{}", "{a", "a}", "{a}{b}", "{{a}}"] {
            assert!(of_template(bad).is_err(), "{bad}");
        }
        assert!(of_fields(&[]).is_err());
        assert!(of_fields(&["a".into(), "a".into()]).is_err());
        assert!(of_fields(&[" ".into()]).is_err());
    }
}
