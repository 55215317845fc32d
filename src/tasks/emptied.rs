//! Owns what there is to say about fields that earlier runs had values of and that no record of a run
//! has any, whether they are null, empty, discarded or not there; and what is known of fields after it.
//!
//! Fields that are missed stay known as they were: the alarm lasts until values come back or somebody
//! says that they need not.

use std::collections::{BTreeMap, BTreeSet};

use super::remark::{Remark, few};
use crate::definition::Definition;
use crate::definition::field::FieldDefinition;
use crate::definition::policy::Policy;
use crate::domain::field_name;
use crate::domain::presence::{Gaps, Presence, Reads};
use crate::domain::run::Mode;
use crate::domain::text::{cut, visible};
use crate::domain::words::grouped;
use crate::sources::Source;

/// The most bytes of a name that is shown.
const SHOWN: usize = 100;

/// What earlier runs had of the fields of a job file, by their names.
pub(super) type Known = BTreeMap<String, Presence>;

/// Which records a run reads.
pub(super) fn reads(source: &Source, mode: Mode) -> Reads {
    match (source, mode) {
        (Source::Files(_), Mode::Incremental) => Reads::News,
        _ => Reads::Again,
    }
}

/// What there is to say about fields that the records of a run have lost their values of.
pub(super) fn remark(
    definition: &Definition,
    known: &Known,
    gaps: &Gaps,
    reads: Reads,
) -> Option<Remark> {
    if definition.contract.missing_field == Policy::Evolve {
        return None;
    }
    let mut missed: Vec<String> = Vec::new();
    for (field, label) in read_fields(definition) {
        let is_missed = |before: &Presence| before.is_missed_in(gaps.records, reads);
        if gaps.with_value(&field.name) == 0 && before(field, &label, known).is_some_and(is_missed)
        {
            let text = format!("`{}`", visible(&cut(&label, SHOWN)));
            if !missed.contains(&text) {
                missed.push(text);
            }
        }
    }
    (!missed.is_empty()).then(|| {
        Remark::degrading(format!(
            "none of {} records has a value of {}, and earlier ones had: they were loaded without; if \
             that is meant, write missing_field = \"evolve\" under [contract]",
            grouped(gaps.records),
            few(missed)
        ))
    })
}

/// What is known after a run that has read all there was to read.
pub(super) fn after(definition: &Definition, known: &Known, gaps: &Gaps, reads: Reads) -> Known {
    let may_go = definition.contract.missing_field == Policy::Evolve;
    let fields = read_fields(definition).filter_map(|(field, label)| {
        let with_value = gaps.with_value(&field.name);
        let presence = match before(field, &label, known) {
            // Nothing is known of a field before it has a value.
            None if with_value == 0 => return None,
            None => Presence::first(&label, gaps.records, with_value),
            Some(_) if with_value == 0 && may_go => return None,
            Some(before) => before.clone().after(gaps.records, with_value, reads),
        };
        Some((field.name.clone(), presence))
    });
    fields.collect()
}

/// The fields that are likely to be missing from so few rows: some rows had them and others did not.
pub(super) fn missing_by_accident(
    definition: &Definition,
    known: &Known,
    rows: u64,
    reads: Reads,
) -> BTreeSet<String> {
    let accidents = read_fields(definition).filter(|(field, label)| {
        before(field, label, known)
            .is_some_and(|before| !before.always && !before.is_missed_in(rows, reads))
    });
    accidents.filter_map(|(field, _)| field.from.label()).map(str::to_owned).collect()
}

/// What is known of a field that is still read from where it was.
fn before<'k>(field: &FieldDefinition, label: &str, known: &'k Known) -> Option<&'k Presence> {
    known.get(&field.name).filter(|before| before.from == label)
}

/// The fields that are read from somewhere, and where, as it is kept.
fn read_fields(definition: &Definition) -> impl Iterator<Item = (&FieldDefinition, String)> {
    let fields = definition.fields.iter();
    fields.filter_map(|field| Some((field, field_name::kept(field.from.label()?).into_owned())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AGAIN: Reads = Reads::Again;

    fn definition(contract: &str) -> Definition {
        let text = format!(
            "kind = 'rest_api'\nprimary_key = ['id']\n[rest_api]\n[fields]\nname = {{}}\n\
             brand = {{ from = '$.vendor.name' }}\nfixed = {{ const = 1 }}\n{contract}"
        );
        Definition::parse("s".parse().unwrap(), "s.toml".as_ref(), text, &["rest_api"]).unwrap()
    }

    fn gaps(records: u64, brand: u64) -> Gaps {
        Gaps { records, without: [("brand".to_owned(), brand)].into() }
    }

    #[test]
    fn a_field_that_lost_its_values_is_missed_until_they_come_back() {
        let guarding = definition("");
        let mut known = after(&guarding, &Known::default(), &gaps(10, 0), AGAIN);
        assert_eq!(known.keys().collect::<Vec<_>>(), ["brand", "name"]);
        for _ in 0..50 {
            let text = remark(&guarding, &known, &gaps(10, 10), AGAIN).unwrap().text;
            assert!(
                text.starts_with("none of 10 records has a value of `$.vendor.name`"),
                "{text}"
            );
            known = after(&guarding, &known, &gaps(10, 10), AGAIN);
        }
        assert_eq!(remark(&guarding, &known, &gaps(10, 9), AGAIN), None);
        known = after(&guarding, &known, &gaps(10, 9), AGAIN);
        assert!(!known["brand"].always);
    }

    #[test]
    fn evolve_lets_values_go_for_good() {
        let (guarding, evolving) =
            (definition(""), definition("[contract]\nmissing_field = 'evolve'"));
        let known = after(&guarding, &Known::default(), &gaps(10, 0), AGAIN);
        assert_eq!(remark(&evolving, &known, &gaps(10, 10), AGAIN), None);
        let known = after(&evolving, &known, &gaps(10, 10), AGAIN);
        assert_eq!(remark(&guarding, &known, &gaps(10, 10), AGAIN), None);
    }

    #[test]
    fn a_field_that_is_read_from_elsewhere_begins_anew() {
        let definition = definition("");
        let mut known = after(&definition, &Known::default(), &gaps(10, 0), AGAIN);
        known.get_mut("brand").unwrap().from = "$.vendor.title".to_owned();
        assert_eq!(remark(&definition, &known, &gaps(10, 10), AGAIN), None);
        assert!(!after(&definition, &known, &gaps(10, 10), AGAIN).contains_key("brand"));
    }

    proptest! {
        /// However runs follow each other: values go in silence only where that is likely by accident.
        #[test]
        fn a_run_says_so_whenever_values_are_missed(
            runs in prop::collection::vec((1..200_u64, 0.0..=1.0_f64), 1..12),
            now in 1..500_u64,
        ) {
            let definition = definition("");
            let mut known = Known::default();
            for (records, share) in runs {
                let without = (records as f64 * share) as u64;
                known = after(&definition, &known, &gaps(records, without), AGAIN);
            }
            let missed = known.get("brand").is_some_and(|brand| brand.is_missed_in(now, AGAIN));
            prop_assert_eq!(remark(&definition, &known, &gaps(now, now), AGAIN).is_some(), missed);
            prop_assert_eq!(remark(&definition, &known, &gaps(now, now - 1), AGAIN), None);
            let silenced = after(&definition, &known, &gaps(now, now), AGAIN);
            prop_assert_eq!(silenced.get("brand").is_some_and(|brand| brand.missed), missed);
            let accident = missing_by_accident(&definition, &known, now, AGAIN).contains("$.vendor.name");
            let sometimes = known.get("brand").is_some_and(|brand| !brand.always);
            prop_assert_eq!(accident, sometimes && !missed);
        }
    }
}
