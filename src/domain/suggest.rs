//! Owns the help for mistyped words: the nearest of the words that would have been right.

/// How alike two words must be, from 0 to 1, for one to be offered for the other.
const ALIKE: f64 = 0.6;
/// A name of fewer bytes says nothing by standing within another.
const FEWEST_LETTERS: usize = 3;

/// The candidate nearest to `word`, if any is near enough to be what was meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let likeness = |candidate: &str| {
        let candidate = candidate.to_lowercase();
        strsim::normalized_damerau_levenshtein(&word, &candidate)
            .max(strsim::jaro_winkler(&word, &candidate) - 0.2)
    };
    let scored = candidates.into_iter().map(|candidate| (candidate, likeness(candidate)));
    let best = scored.max_by(|a, b| a.1.total_cmp(&b.1))?;
    (best.1 >= ALIKE).then_some(best.0)
}

/// The same among the names of a source's fields, which are also renamed by adding to them: `fullname`
/// for `name`. Such a name is offered when none is nearer.
pub fn nearest_field<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a str> + Clone,
) -> Option<&'a str> {
    let longer = |candidate: &&str| {
        let (long, short) = (candidate.to_lowercase(), name.to_lowercase());
        let (long, short) = if long.len() < short.len() { (short, long) } else { (long, short) };
        short.len() >= FEWEST_LETTERS && long.contains(&short)
    };
    nearest(name, candidates.clone())
        .or_else(|| candidates.filter(longer).min_by_key(|candidate| candidate.len()))
}

/// `; did you mean …?`, or else `; known WHAT: …`, to be put behind a message about `word`.
pub fn hint(word: &str, what: &str, candidates: &[&str]) -> String {
    match nearest(word, candidates.iter().copied()) {
        Some(candidate) => format!("; did you mean `{candidate}`?"),
        None if candidates.is_empty() => format!("; there are no {what} here"),
        None => format!("; known {what}: {}", candidates.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_offered_its_word_and_a_stranger_is_not() {
        let keys = ["column", "aliases", "required", "date_format"];
        assert_eq!(nearest("colum", keys), Some("column"));
        assert_eq!(nearest("Requierd", keys), Some("required"));
        assert_eq!(nearest("dateformat", keys), Some("date_format"));
        assert_eq!(nearest("zzz", keys), None);
        let names = ["fullname", "first_name_of_all", "id"];
        assert_eq!(nearest("name", names), None);
        assert_eq!(nearest_field("name", names.into_iter()), Some("fullname"));
        assert_eq!(nearest_field("zebra", ["br"].into_iter()), None);
        assert_eq!(hint("zzz", "keys", &["a", "b"]), "; known keys: a, b");
    }
}
