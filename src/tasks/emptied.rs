//! Owns the remarks on fields that earlier runs had values of and that no record of a run
//! has any, or hardly one, whether they are null, empty, discarded or not there; and what is known of
//! fields after it.
//!
//! Fields that are missed stay known as they were: the alarm lasts until values come back or a person
//! says that none is needed.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::field_name;
use crate::domain::number::grouped;
use crate::domain::presence::{Gaps, Presence, Reads};
use crate::domain::remark::{Remark, few};
use crate::domain::run::Mode;
use crate::domain::suggest::nearest_field;
use crate::domain::text::{cut, visible};
use crate::job_file::policy::Policy;
use crate::job_file::{Definition, FieldValue};
use crate::sources::Source;
use crate::values::field::{Locator, first_segment, plain_header};

/// The most bytes of a name that is shown.
const SHOWN: usize = 100;

/// What earlier runs had of the values of a job file, by what they are counted as.
pub(super) type Known = BTreeMap<String, Presence>;

/// Which records a run reads.
pub(super) fn reads(source: &dyn Source, mode: Mode) -> Reads {
    match mode {
        Mode::Incremental => source.profile().reads,
        Mode::Full | Mode::Replay => Reads::Again,
    }
}

/// What there is to say about fields that the records of a run have lost their values of. `new` are the
/// names of fields that came with the run: what was renamed is among them.
pub(super) fn remark(
    definition: &Definition,
    known: &Known,
    gaps: &Gaps,
    reads: Reads,
    new: &BTreeSet<String>,
) -> Option<Remark> {
    if definition.contract.missing_field == Policy::Evolve {
        return None;
    }
    let (mut none, mut hardly_any): (Vec<String>, Vec<String>) = Default::default();
    let values = definition.values();
    for (value, label) in read_values(&values) {
        let with_value = gaps.with_value(&value.counted_as());
        let Some(before) = before(value, &label, known) else { continue };
        if !before.is_missed_in(gaps.records(), with_value, reads) {
            continue;
        }
        let mut text = format!("`{}`", visible(&cut(&label, SHOWN)));
        if with_value > 0 {
            let now = percent(with_value, gaps.records);
            let then = percent(before.with_value, before.records);
            text = format!("{} of {text} ({now}, {then} before)", grouped(with_value));
        }
        if let Some(name) = instead_of(definition, value.from, new) {
            text = format!("{text}; is it `{}` now?", visible(&cut(name, SHOWN)));
        }
        // What adds up over runs is more than this one has seen.
        if with_value == 0 && reads == Reads::News && !before.missed && before.lacking > 0 {
            text = format!("{text} (nor has any of the last {} before)", grouped(before.lacking));
        }
        let told = if with_value == 0 { &mut none } else { &mut hardly_any };
        if !told.contains(&text) {
            told.push(text);
        }
    }
    let records = grouped(gaps.records);
    let none = (!none.is_empty()).then(|| {
        let which = match gaps.records {
            1 => "the only record has no value of".to_owned(),
            _ => format!("none of {records} records has a value of"),
        };
        format!("{which} {}, and earlier ones had", few(none))
    });
    let hardly_any = (!hardly_any.is_empty())
        .then(|| format!("of {records} records hardly any has a value: {}", few(hardly_any)));
    let lost: Vec<String> = none.into_iter().chain(hardly_any).collect();
    (!lost.is_empty()).then(|| {
        Remark::degrading(format!(
            "{}: they were loaded without; if that is meant, write missing_field = \"evolve\" under \
             [contract]",
            lost.join("; ")
        ))
    })
}

/// A share of records in hundredths, as exact as it must be to be told from nothing.
fn percent(some: u64, all: u64) -> String {
    let percent = some as f64 / all.max(1) as f64 * 100.0;
    match percent {
        p if p >= 10.0 => format!("{p:.0} %"),
        p if p >= 0.1 => format!("{p:.1} %"),
        _ => "less than 0.1 %".to_owned(),
    }
}

/// The field under which the values of another may be now: of those that are new with a run and that
/// nothing is read from, the one with the nearest name, or else the only one.
fn instead_of<'n>(
    definition: &Definition,
    from: &Locator,
    new: &'n BTreeSet<String>,
) -> Option<&'n str> {
    if from.nested_path().is_some() {
        return None;
    }
    let read: Vec<String> = definition.locators().iter().flat_map(read_from).collect();
    let is_free = |name: &&str| !read.iter().any(|read| plain_header(read) == plain_header(name));
    let free = || new.iter().map(String::as_str).filter(is_free);
    let near = read_from(from).iter().find_map(|name| nearest_field(name, free()));
    near.or_else(|| free().next().filter(|_| free().nth(1).is_none()))
}

/// The names at the top of records that a locator begins with.
fn read_from(locator: &Locator) -> Vec<String> {
    match locator {
        Locator::Whole(_) | Locator::Nowhere => Vec::new(),
        Locator::Column(names) => names.clone(),
        Locator::Named(name) => vec![name.clone()],
        Locator::Path(path) => match first_segment(path) {
            Some((name, _)) => vec![name],
            None => vec![path.clone()],
        },
    }
}

/// What is known after a run that has read all there was to read.
pub(super) fn after(definition: &Definition, known: &Known, gaps: &Gaps, reads: Reads) -> Known {
    let may_go = definition.contract.missing_field == Policy::Evolve;
    let values = definition.values();
    let read = read_values(&values).filter_map(|(value, label)| {
        let with_value = gaps.with_value(&value.counted_as());
        let presence = match before(value, &label, known) {
            // Nothing is known of a field before it has a value.
            None if with_value == 0 => return None,
            None => Presence::first(&label, gaps.records, with_value),
            Some(_) if with_value == 0 && may_go => return None,
            Some(before) if may_go && before.is_missed_in(gaps.records(), with_value, reads) => {
                Presence::first(&label, gaps.records, with_value)
            }
            Some(before) => before.clone().after(gaps.records(), with_value, reads),
        };
        Some((value.counted_as().into_owned(), presence))
    });
    read.collect()
}

/// The fields that are likely to be missing from so few rows: some rows had them and others did not.
pub(super) fn missing_by_accident(
    definition: &Definition,
    known: &Known,
    rows: u64,
    reads: Reads,
) -> BTreeSet<String> {
    let values = definition.values();
    let accidents = read_values(&values).filter(|(value, label)| {
        before(value, label, known)
            .is_some_and(|before| !before.always && !before.is_missed_in(rows, 0, reads))
    });
    accidents.filter_map(|(value, _)| value.from.label()).map(str::to_owned).collect()
}

/// What is known of a value that is still read from where it was.
fn before<'k>(value: &FieldValue<'_>, label: &str, known: &'k Known) -> Option<&'k Presence> {
    known.get(&*value.counted_as()).filter(|before| before.from == label)
}

/// The values that are read from somewhere, and where, as it is kept.
fn read_values<'v, 'd>(
    values: &'v [FieldValue<'d>],
) -> impl Iterator<Item = (&'v FieldValue<'d>, String)> {
    let values = values.iter();
    values.filter_map(|value| Some((value, field_name::kept(value.from.label()?).into_owned())))
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
        let without = [("brand".to_owned(), brand)].into();
        Gaps { records, without, ..Gaps::default() }
    }

    #[test]
    fn a_field_that_lost_its_values_is_missed_until_they_come_back() {
        let guarding = definition("");
        let mut known = after(&guarding, &Known::default(), &gaps(10, 0), AGAIN);
        assert_eq!(known.keys().collect::<Vec<_>>(), ["brand", "name"]);
        for _ in 0..50 {
            let text =
                remark(&guarding, &known, &gaps(10, 10), AGAIN, &BTreeSet::new()).unwrap().text;
            assert!(
                text.starts_with("none of 10 records has a value of `$.vendor.name`"),
                "{text}"
            );
            known = after(&guarding, &known, &gaps(10, 10), AGAIN);
        }
        assert_eq!(remark(&guarding, &known, &gaps(10, 8), AGAIN, &BTreeSet::new()), None);
        known = after(&guarding, &known, &gaps(10, 8), AGAIN);
        assert!(!known["brand"].always);
    }

    #[test]
    fn a_field_that_hardly_any_record_has_is_missed_with_both_shares_and_its_new_name() {
        let guarding = definition("");
        let mut known = after(&guarding, &Known::default(), &gaps(2_000, 0), AGAIN);
        for _ in 0..50 {
            let new = ["zebra", "vendor_name", "name"].map(str::to_owned).into();
            let said = remark(&guarding, &known, &gaps(2_000, 1_999), AGAIN, &new).unwrap();
            assert_eq!(
                said.text,
                "of 2,000 records hardly any has a value: 1 of `$.vendor.name` (less than 0.1 %, 100 % \
                 before): they were loaded without; if that is meant, write missing_field = \"evolve\" \
                 under [contract]"
            );
            known = after(&guarding, &known, &gaps(2_000, 1_999), AGAIN);
        }
        let lost =
            Gaps { records: 60, without: [("name".to_owned(), 57)].into(), ..Gaps::default() };
        let said = |new: &[&str]| {
            let new = new.iter().map(|name| (*name).to_owned()).collect();
            remark(&guarding, &known, &lost, AGAIN, &new).unwrap().text
        };
        let new_name = |text: &str| {
            text.split_once("before); ").map(|(_, rest)| rest.split_once("?").unwrap().0.to_owned())
        };
        assert!(said(&[]).contains("3 of `name` (5.0 %, 100 % before): "), "{}", said(&[]));
        assert_eq!(
            new_name(&said(&["zebra", "fullname", "vendor"])).unwrap(),
            "is it `fullname` now"
        );
        assert_eq!(new_name(&said(&["zebra"])).unwrap(), "is it `zebra` now");
        assert_eq!(new_name(&said(&["zebra", "cost"])), None);
        assert_eq!(new_name(&said(&["id", "vendor"])), None, "read already");
    }

    /// A run that finds nothing new says again what the last one said, and no more.
    #[test]
    fn records_that_are_known_of_are_no_further_evidence() {
        let guarding = definition("");
        let known = after(&guarding, &Known::default(), &gaps(4, 0), Reads::News);
        // Live records with a value missing, as many deleted ones, all of them unchanged.
        let mut few = Gaps { deleted: 2, ..gaps(2, 2) };
        few.note_unchanged(4);
        assert_eq!((few.records().all, few.records().new), (2, 0));
        // One of four is new; of the unchanged ones two may be deleted.
        let mut some = Gaps { deleted: 2, ..gaps(2, 2) };
        some.note_unchanged(3);
        assert_eq!(some.records().new, 1);
        let mut news = gaps(2, 2);
        let (mut runs, mut now) = (0, known);
        while remark(&guarding, &now, &news, Reads::News, &BTreeSet::new()).is_none() {
            now = after(&guarding, &now, &news, Reads::News);
            news.known_before = news.records;
            let again = remark(&guarding, &now, &news, Reads::News, &BTreeSet::new());
            assert_eq!(again, None, "after {runs} runs");
            news.known_before = 0;
            runs += 1;
        }
        assert!((1..9).contains(&runs), "{runs}");
    }

    #[test]
    fn evolve_lets_values_go_for_good() {
        let (guarding, evolving) =
            (definition(""), definition("[contract]\nmissing_field = 'evolve'"));
        let known = after(&guarding, &Known::default(), &gaps(10, 0), AGAIN);
        assert_eq!(remark(&evolving, &known, &gaps(10, 10), AGAIN, &BTreeSet::new()), None);
        assert_eq!(remark(&evolving, &known, &gaps(99, 98), AGAIN, &BTreeSet::new()), None);
        let hardly_any = after(&evolving, &known, &gaps(99, 98), AGAIN);
        assert_eq!(remark(&guarding, &hardly_any, &gaps(99, 98), AGAIN, &BTreeSet::new()), None);
        let known = after(&evolving, &known, &gaps(10, 10), AGAIN);
        assert_eq!(remark(&guarding, &known, &gaps(10, 10), AGAIN, &BTreeSet::new()), None);
    }

    #[test]
    fn a_field_that_is_read_from_elsewhere_begins_anew() {
        let definition = definition("");
        let mut known = after(&definition, &Known::default(), &gaps(10, 0), AGAIN);
        known.get_mut("brand").unwrap().from = "$.vendor.title".to_owned();
        assert_eq!(remark(&definition, &known, &gaps(10, 10), AGAIN, &BTreeSet::new()), None);
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
            let missed = |with_value| {
                known.get("brand").is_some_and(|brand| brand.is_missed_in(now, with_value, AGAIN))
            };
            let hardly_any = remark(&definition, &known, &gaps(now, now - 1), AGAIN, &BTreeSet::new());
            prop_assert_eq!(hardly_any.is_some(), missed(1));
            let missed = missed(0);
            prop_assert_eq!(remark(&definition, &known, &gaps(now, now), AGAIN, &BTreeSet::new()).is_some(), missed);
            let silenced = after(&definition, &known, &gaps(now, now), AGAIN);
            prop_assert_eq!(silenced.get("brand").is_some_and(|brand| brand.missed), missed);
            let accident = missing_by_accident(&definition, &known, now, AGAIN).contains("$.vendor.name");
            let sometimes = known.get("brand").is_some_and(|brand| !brand.always);
            prop_assert_eq!(accident, sometimes && !missed);
        }
    }
}
