//! Owns which fields have values: in how many records of a run, in how many of those before it, and
//! when it is no accident that a run has none, or hardly any.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// It is no accident that a field has no value when the odds of that are smaller than this: a source
/// that is read every hour is then called to account without cause about once in six weeks.
const ODDS: f64 = 0.001;

/// Values are missed when the share of records that have one is smaller than this part of what it was:
/// shares double and halve with seasons and catalogues, and one record of the old kind among thousands
/// of a new one is no value that came back.
const HARDLY_ANY: f64 = 0.1;

/// The assumed share of records that have a field, when it is only known that some
/// records have it and others do not.
const ASSUMED_SHARE: f64 = 0.1;

/// No field is taken to be in more records than this share, so that five is the fewest that count:
/// records that come together are often alike.
const SUREST: f64 = 0.75;

/// Of more records than this, half are forgotten with each run that has new ones: what a source was
/// like long ago says little.
const WELL_KNOWN: u64 = 1_000;

/// How many records lack a value of a field.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gaps {
    /// The records looked at.
    pub records: u64,
    /// Those that say that they are deleted, which are none of these: they need no field but the key.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub deleted: u64,
    /// Those of them without a value, by the job file's name of the field. Fields without gaps have
    /// no entry.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub without: BTreeMap<String, u64>,
    /// Those of them that the table had just so: the same ones as last time, and no further evidence.
    #[serde(skip)]
    pub known_before: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Gaps {
    /// Whether no record was met.
    pub fn is_empty(&self) -> bool {
        self.records == 0 && self.deleted == 0
    }

    /// Whether these are the gaps of so many records, and any was looked at.
    pub fn are_of(&self, records: i64) -> bool {
        self.records > 0 && i64::try_from(self.records + self.deleted) == Ok(records)
    }

    /// Notes how many of the records, deleted ones among them, the table had just so. Which of them are deleted is not
    /// known: as many as may be, so that nothing that is new is taken for known.
    pub fn note_unchanged(&mut self, unchanged: u64) {
        self.known_before = unchanged.saturating_sub(self.deleted);
    }

    /// The records as what may be evidence.
    pub fn records(&self) -> Records {
        Records { all: self.records, new: self.records.saturating_sub(self.known_before) }
    }

    /// Adds the gaps of other records.
    pub fn merge(&mut self, other: &Self) {
        self.records += other.records;
        self.deleted += other.deleted;
        for (field, gaps) in &other.without {
            *self.without.entry(field.clone()).or_default() += gaps;
        }
    }

    /// How many of the records have a value of a field.
    pub fn with_value(&self, field: &str) -> u64 {
        self.records.saturating_sub(self.without.get(field).copied().unwrap_or(0))
    }
}

/// How many records were looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Records {
    /// All of them.
    pub all: u64,
    /// Those that no run before can have looked at.
    pub new: u64,
}

impl From<u64> for Records {
    /// Records none of which was looked at before.
    fn from(all: u64) -> Self {
        Self { all, new: all }
    }
}

/// What earlier runs had of one field of a job file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// Where the job file said that the value is.
    pub from: String,
    /// Records of earlier runs, the last ones above all.
    pub records: u64,
    /// Those of them that had a value.
    pub with_value: u64,
    /// Whether every record had one, ever since the field is mapped like this. Where runs read what is new, a few
    /// that have none do not decide it: the next value does, or so many that it is no accident.
    pub always: bool,
    /// Records since the last value.
    #[serde(default)]
    pub lacking: u64,
    /// Whether so few records had a value that it was no accident. It stays so until values come back;
    /// so long the counts are those from before.
    #[serde(default)]
    pub missed: bool,
}

/// Which records a run has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// Such as earlier runs may have read as well: an API gives the same ones day after day.
    Again,
    /// Those that are new, of files.
    News,
}

impl Presence {
    /// The presence of a field after the first run that has values of it.
    pub fn first(from: &str, records: u64, with_value: u64) -> Self {
        let (from, always) = (from.to_owned(), with_value == records);
        Self { from, records, with_value, always, lacking: 0, missed: false }
    }

    /// The same after a further run.
    pub fn after(mut self, records: impl Into<Records>, with_value: u64, reads: Reads) -> Self {
        let (records, with_value) = self.evidence(records.into(), with_value, reads);
        let missed = self.is_missed_in(records, with_value, reads);
        if with_value == 0 || missed {
            self.missed = missed;
            self.always &= missed || records.all == 0 || reads == Reads::News;
            let lack = if reads == Reads::News { records.new } else { records.all };
            self.lacking = if with_value == 0 { self.lacking + lack } else { 0 };
            return self;
        }
        let records = records.all;
        if self.records > WELL_KNOWN {
            self.records = self.records.div_ceil(2);
            self.with_value = self.with_value.div_ceil(2);
        }
        if !self.missed {
            // They lacked it by accident.
            self.always &= self.lacking == 0;
            self.records += self.lacking;
        }
        self.records += records;
        self.with_value += with_value;
        self.always &= with_value == records;
        (self.lacking, self.missed) = (0, false);
        self
    }

    /// What of these records says anything. Where every record had a value, those that the table had just so have theirs from
    /// before, but for the few that lacked it then: read again, at the watermark for example, they are no values of
    /// what is new.
    fn evidence(&self, records: Records, with_value: u64, reads: Reads) -> (Records, u64) {
        if reads == Reads::Again || !self.always {
            return (records, with_value);
        }
        let again = records.all.saturating_sub(records.new);
        let had = again.saturating_sub(self.lacking).min(with_value);
        (Records { all: records.all - had, ..records }, with_value - had)
    }

    /// The share of records that had a value. By the rule of succession: few records do not tell
    /// for certain what the next are like.
    fn share(&self) -> f64 {
        self.with_value as f64 / (self.records as f64 + 1.0)
    }

    /// Whether values of so few of these records are too few for an accident.
    pub fn is_missed_in(&self, records: impl Into<Records>, with_value: u64, reads: Reads) -> bool {
        let (records, with_value) = self.evidence(records.into(), with_value, reads);
        if records.all == 0 {
            return self.missed;
        }
        let looked_at = match reads {
            // What was looked at before may be among those that lacked it then.
            Reads::News if !self.missed => records.all.max(self.lacking + records.new),
            Reads::News | Reads::Again => records.all,
        };
        let is_large = (with_value as f64) < HARDLY_ANY * self.share() * looked_at as f64;
        if self.with_value == 0 || !is_large {
            return false;
        }
        self.missed || so_few_by_accident(self.share().min(SUREST), looked_at, with_value) < ODDS
    }

    /// How many records of a run that reads what is new must all lack the field for it to be no accident, whether or
    /// not they were looked at before.
    pub fn fewest_missed(&self) -> u64 {
        let is_missed =
            |all: &u64| self.is_missed_in(Records { all: *all, new: 0 }, 0, Reads::News);
        let share = self.share().min(SUREST);
        let about = (ODDS.ln() / (1.0 - share).ln()) as u64;
        // One is enough where others were missed before.
        let about = if is_missed(&1) { 1 } else { about.max(1) };
        (about..about.saturating_add(3)).find(is_missed).unwrap_or(u64::MAX)
    }
}

/// Whether a field that some records had is missed when this many records all lack it.
pub fn optional_is_missed_in(records: u64) -> bool {
    so_few_by_accident(ASSUMED_SHARE, records, 0) < ODDS
}

/// The odds that of this many records no more than `with_value` have what this share of all records has:
/// exact for none, and by Chernoff's bound at most this for some.
fn so_few_by_accident(share: f64, records: u64, with_value: u64) -> f64 {
    let found = with_value as f64 / records.max(1) as f64;
    if found >= share {
        return 1.0;
    }
    let mut exponent = (1.0 - found) * ((1.0 - share) / (1.0 - found)).ln();
    if with_value > 0 {
        exponent += found * (share / found).ln();
    }
    (records as f64 * exponent).exp()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fewest(records: u64, with_value: u64) -> u64 {
        let before = Presence::first("$.x", records, with_value);
        (0..1_000_000).find(|now| before.is_missed_in(*now, 0, Reads::Again)).unwrap()
    }

    /// The table of docs/job-files.md.
    #[test]
    fn the_rarer_a_field_is_the_more_records_must_lack_it() {
        assert_eq!(fewest(1_000_000, 1_000_000), 5);
        assert_eq!(fewest(3, 3), 5);
        assert_eq!(fewest(1, 1), 10);
        assert_eq!(fewest(1_000, 500), 10);
        assert_eq!(fewest(1_000, 100), 66);
        assert_eq!(fewest(1_000, 10), 689);
        assert!(!optional_is_missed_in(65) && optional_is_missed_in(66));
    }

    #[test]
    fn gaps_are_counted_by_field() {
        let one = Gaps {
            records: 3,
            deleted: 1,
            without: [("a".to_owned(), 3)].into(),
            ..Gaps::default()
        };
        let mut both = one.clone();
        let other = [("b".to_owned(), 1)].into();
        both.merge(&Gaps { records: 2, deleted: 1, without: other, ..Gaps::default() });
        assert_eq!(["a", "b", "c"].map(|field| both.with_value(field)), [2, 4, 5]);
        assert!(Gaps::default().is_empty() && !both.is_empty());
        assert!(both.are_of(7) && !both.are_of(5));
        let deleted = Gaps { deleted: 2, ..Gaps::default() };
        assert!(!deleted.is_empty() && !deleted.are_of(2), "they say nothing of other fields");
    }

    #[test]
    fn what_is_missed_stays_so_until_a_value_comes() {
        let before = Presence::first("$.x", 1_000, 500);
        let mut missed = before.clone().after(10, 0, Reads::Again);
        assert!(missed.missed && missed.is_missed_in(1, 0, Reads::Again));
        missed = missed.after(1, 0, Reads::Again);
        let back = missed.after(1, 1, Reads::Again);
        assert_eq!((back.missed, back.records, back.with_value), (false, 1_001, 501));
        // The same few records, read again and again, are not many; new ones are.
        let (mut again, mut news) = (before.clone(), before);
        for run in 1..=9 {
            again = again.after(2, 0, Reads::Again);
            news = news.after(2, 0, Reads::News);
            assert_eq!((again.missed, news.missed), (false, run >= 5), "{run}");
        }
        assert_eq!(again.after(2, 1, Reads::Again).records, 1_020);
    }

    /// A value that is read again, since its record is at the watermark, is none of a new record.
    #[test]
    fn values_that_were_there_before_do_not_hide_that_what_is_new_has_none() {
        let mut now = Presence::first("$.x", 100, 100);
        // The one at the watermark has it in the first run, and lacks it in those behind.
        for (run, with_value) in [1, 0, 0, 0, 0].into_iter().enumerate() {
            now = now.after(Records { all: 2, new: 1 }, with_value, Reads::News);
            assert!(now.always && now.lacking == run as u64 + 1, "{now:?}");
        }
        assert!(now.missed && now.fewest_missed() == 1, "{now:?}");
        // So many that were read before are no loss either, and no further evidence.
        let before = Presence::first("$.x", 100, 100);
        let quiet = before.clone().after(Records { all: 2_000, new: 0 }, 2_000, Reads::News);
        assert_eq!(quiet, before);
        let few = before.after(Records { all: 2_003, new: 3 }, 2_000, Reads::News);
        assert_eq!((few.lacking, few.always, few.missed), (3, true, false));
        // One of those that lacked it comes again, beside a new one that has it.
        let back = few.after(Records { all: 2, new: 1 }, 1, Reads::News);
        assert_eq!((back.lacking, back.always), (0, false));
    }

    /// A record that is read again in each run, since it is at the watermark, is one record.
    #[test]
    fn the_same_news_read_again_and_again_are_no_evidence() {
        let before = Presence::first("$.x", 100, 100);
        let again = Records { all: 3, new: 0 };
        let mut now = before.clone().after(3, 0, Reads::News);
        for _ in 0..50 {
            assert!(!now.is_missed_in(again, 0, Reads::News));
            now = now.after(again, 0, Reads::News);
        }
        assert_eq!((now.lacking, now.always, now.fewest_missed()), (3, true, 5));
        // Two more that lack it are enough, and one of them is enough for the next run.
        let missed = now.clone().after(Records { all: 5, new: 2 }, 0, Reads::News);
        assert!(missed.missed && missed.always && missed.fewest_missed() == 1);
        assert!(!now.clone().after(Records { all: 4, new: 1 }, 0, Reads::News).missed);
        // A value decides it: records may lack the field.
        let decided = now.after(1, 1, Reads::News);
        assert_eq!((decided.always, decided.lacking, decided.records), (false, 0, 104));
    }

    /// One old record among thousands, or a deployment that goes on, is no value that came back.
    #[test]
    fn hardly_any_values_are_as_much_of_an_alarm_as_none() {
        let before = Presence::first("$.price", 2_000, 2_000);
        let missed = |records, with_value| before.is_missed_in(records, with_value, Reads::Again);
        assert!(missed(2_000, 1) && missed(2_000, 199) && !missed(2_000, 200));
        assert!(missed(11, 1) && !missed(10, 1), "one of ten is a tenth");
        // It does not go out by itself, however often, nor with the next old record.
        let mut now = before.clone();
        for run in 0..60 {
            now = now.after(2_000, run % 3, Reads::Again);
            assert!(now.missed && now.always, "{run}");
        }
        assert_eq!((now.records, now.with_value), (2_000, 2_000));
        let back = now.after(2_000, 1_900, Reads::Again);
        assert!(!back.missed && !back.always);
        // A deployment that goes on over days is noticed before it ends.
        let mut now = before.clone();
        let days = [1_800, 1_200, 600, 200, 60, 10, 1].map(|with_value| {
            now = now.clone().after(2_000, with_value, Reads::Again);
            now.missed
        });
        assert_eq!(days, [false, false, false, false, false, true, true]);
    }

    #[test]
    fn a_share_that_halves_or_swings_is_no_alarm() {
        let mut now = Presence::first("$.sale", 2_000, 800);
        for with_value in [400, 200, 700, 100, 300, 60, 900, 400] {
            now = now.after(2_000, with_value, Reads::Again);
            assert!(!now.missed, "{with_value}");
        }
        // Of what is rare, few records say nothing.
        let rare = Presence::first("$.recall", 10_000, 100);
        assert!(
            !rare.is_missed_in(600, 0, Reads::Again) && !rare.is_missed_in(1_000, 1, Reads::Again)
        );
        assert!(rare.is_missed_in(5_000, 2, Reads::Again));
    }

    /// Chernoff's bound never takes for unlikely what is likely.
    #[test]
    fn odds_are_never_taken_for_smaller_than_they_are() {
        for (records, share) in [(5_u64, 0.75_f64), (40, 0.75), (60, 0.5), (300, 0.1), (900, 0.02)]
        {
            let (mut exact, mut term) = (0.0, (1.0 - share).powf(records as f64));
            for with_value in 0..=records / 8 {
                exact += term;
                let bound = so_few_by_accident(share, records, with_value);
                assert!(
                    bound >= exact * 0.999_999,
                    "{records} {share} {with_value}: {bound} {exact}"
                );
                term *=
                    (records - with_value) as f64 / (with_value + 1) as f64 * share / (1.0 - share);
            }
        }
    }

    proptest! {
        #[test]
        fn more_records_without_a_value_are_never_less_of_an_alarm(
            runs in prop::collection::vec((1..5_000_u64, 0.0..=1.0_f64), 1..20),
            now in 1..5_000_u64,
            with_value in 0..500_u64,
            reads in prop::sample::select(vec![Reads::Again, Reads::News]),
        ) {
            let mut before = Presence::first("$.x", 10, 7);
            for (records, share) in runs {
                let with_value = ((records as f64 * share.powi(4)) as u64).saturating_sub(1);
                let missed = before.is_missed_in(records, with_value, reads);
                let after = before.clone().after(records, with_value, reads);
                // What is reported is what is kept, and what is missed is measured by what was before it.
                prop_assert_eq!(after.missed, missed);
                if missed {
                    prop_assert_eq!((after.records, after.with_value, after.always),
                        (before.records, before.with_value, before.always));
                }
                // An alarm ends with values only.
                prop_assert!(!before.missed || missed || with_value > 0);
                before = after;
                // What was there once is not forgotten.
                prop_assert!(0 < before.with_value && before.with_value <= before.records);
            }
            let missed = |now, with_value| before.is_missed_in(now, with_value, reads);
            let with_value = with_value.min(now);
            prop_assert!(!missed(now, with_value) || missed(now + 1, with_value));
            prop_assert!(!missed(now, with_value) || missed(now, with_value.saturating_sub(1)));
            prop_assert_eq!(missed(0, 0), before.missed);
            let fewest = before.fewest_missed();
            let missed = |all| before.is_missed_in(Records { all, new: 0 }, 0, Reads::News);
            prop_assert!(missed(fewest) && (fewest == 1 || !missed(fewest - 1)), "{fewest}");
        }

        #[test]
        fn every_record_had_a_value_unless_one_had_none(
            runs in prop::collection::vec((1..50_u64, 0..50_u64), 0..9),
        ) {
            let mut before = Presence::first("$.x", 9, 9);
            let mut always = true;
            for (records, without) in runs {
                let with_value = records.saturating_sub(without);
                let missed = before.is_missed_in(records, with_value, Reads::Again);
                always &= with_value == records || missed;
                before = before.after(records, with_value, Reads::Again);
                prop_assert_eq!(before.always, always);
            }
        }
    }
}
