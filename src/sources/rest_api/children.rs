//! Owns how chains of requests for parents follow each other: so many are open, and one that has ended, or cannot be
//! read, opens the next in its place. And how children are told their parent.
//!
//! Must not know where parents are kept.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::explode::with_parent;
use super::for_each::{ForEach, MOST_BYTES};
use super::position::{PagePosition, ParentsAt};
use crate::domain::parent::Parent;
use crate::domain::slice::SliceId;
use crate::sources::{NextSlice, SourceError, SourceErrorKind};

/// After so many failed chains in a row nobody believes that it is the parents' fault.
const MOST_IN_A_ROW: u32 = 10;
/// How many times its own size a page may become, beyond [`AT_LEAST`]: what is known of the parent is repeated for
/// each child.
const MOST_TIMES: usize = 16;
const AT_LEAST: usize = 64 << 20;
/// The key of what is known of the parent, in the context of a page.
const PARENT: &str = "parent";

/// The first pages of the chains that a run begins with; `first` is where each begins.
pub(super) fn begins(for_each: &ForEach, first: &PagePosition) -> Vec<NextSlice> {
    let position = begin(first, first.at.clone(), 0).to_json();
    let lanes = 0..for_each.side_by_side();
    lanes
        .map(|lane| NextSlice { slice: SliceId::new(lane, 0), position: position.clone() })
        .collect()
}

/// The first page of the chain that is opened when that of this position has ended; `failed` says that it could not
/// be read. `None` when there is none, or when so many have failed in a row that the API is at fault.
pub(super) fn behind(
    for_each: &ForEach,
    (position, slice): (&PagePosition, SliceId),
    first: Value,
    failed: bool,
) -> Option<NextSlice> {
    let before = position.parents.as_ref().map_or(0, |parents| parents.failed_before);
    let failed_before = if failed { before.saturating_add(1) } else { 0 };
    let lane = slice.lane().checked_add(for_each.side_by_side())?;
    if failed_before >= MOST_IN_A_ROW || lane > SliceId::MAX_LANE {
        return None;
    }
    let position = begin(position, first, failed_before).to_json();
    Some(NextSlice { slice: SliceId::new(lane, 0), position })
}

fn begin(like: &PagePosition, first: Value, failed_before: u32) -> PagePosition {
    let parents = Some(ParentsAt { of: Vec::new(), failed_before });
    PagePosition { at: first, parents, ..like.clone() }
}

/// Whether an error may be that of what was asked for, so that the children of other parents can be read.
pub(super) fn is_of_these(kind: SourceErrorKind) -> bool {
    kind.is_of_a_part()
        || matches!(
            kind,
            SourceErrorKind::Forbidden
                | SourceErrorKind::BadRedirect
                | SourceErrorKind::RepeatedPage
                | SourceErrorKind::NoFurtherPage
                | SourceErrorKind::InvalidState
        )
}

/// The position with what is known of its parents.
///
/// # Errors
/// When there are none, or one is too large.
pub(super) fn looked_up(
    position: PagePosition,
    found: Vec<Parent>,
) -> Result<PagePosition, SourceError> {
    if found.is_empty() {
        let message = "the parents that are asked for are not kept any more";
        return Err(SourceError::new(SourceErrorKind::Internal, message)
            .advise("the next run asks for them again"));
    }
    let large = found.iter().find(|parent| json_of(&parent.fields).len() > MOST_BYTES);
    if let Some(parent) = large {
        let message = format!(
            "the fields of the parent {:?} have more than {MOST_BYTES} bytes, too many to be repeated for each child",
            parent.key
        );
        return Err(SourceError::new(SourceErrorKind::TooLarge, message)
            .advise("name fewer in `rest_api.for_each.fields`"));
    }
    let failed_before = position.parents.as_ref().map_or(0, |parents| parents.failed_before);
    let of = found.into_iter().map(|parent| parent.fields).collect();
    Ok(PagePosition { parents: Some(ParentsAt { of, failed_before }), ..position })
}

/// What is known of the parent of all records of a page, as JSON; `None` where there are several, or none.
pub(super) fn parent_of(position: &PagePosition, for_each: Option<&ForEach>) -> Option<String> {
    let for_each = for_each.filter(|for_each| for_each.batch() == 1)?;
    let [parent] = position.parents.as_ref()?.of.as_slice() else { return None };
    let known = for_each.names().into_iter();
    let known = known.filter_map(|name| Some((name.to_owned(), parent.get(name)?.clone())));
    Some(json_of(&known.collect()))
}

fn json_of(fields: &Map<String, Value>) -> String {
    Value::Object(fields.clone()).to_string()
}

/// The context of a page whose records have this parent.
pub(super) fn context(context: Value, parent: Option<&str>) -> Value {
    let Some(parent) = parent.and_then(|parent| serde_json::from_str::<Value>(parent).ok()) else {
        return context;
    };
    let mut fields = match context {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    fields.insert(PARENT.to_owned(), parent);
    Value::Object(fields)
}

/// The parent of the records of a page, out of its context.
pub(super) fn of_context(context: &Value) -> Option<String> {
    context.get(PARENT).map(Value::to_string)
}

/// Records with what is known of their parent at `$._parent`. `body` is the size of the page.
///
/// # Errors
/// When that would be too much.
pub(super) fn told<'b>(
    records: &[Cow<'b, str>],
    parent: &str,
    body: usize,
) -> Result<Vec<Cow<'b, str>>, SourceError> {
    let most = body.saturating_mul(MOST_TIMES).max(AT_LEAST);
    let bytes = records.iter().map(|record| record.len().saturating_add(parent.len()));
    if bytes.sum::<usize>() > most {
        let message =
            format!("the records of the page and their parent take more than {most} bytes");
        return Err(SourceError::new(SourceErrorKind::TooLarge, message)
            .advise("ask for smaller pages, or name fewer `fields` in `rest_api.for_each`"));
    }
    Ok(records.iter().map(|record| Cow::Owned(with_parent(record, parent))).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn for_each(text: &str) -> ForEach {
        toml::from_str(&format!("source = 'a'\nfields = ['id']\n{text}")).unwrap()
    }

    #[test]
    fn a_chain_opens_the_one_in_its_place_and_ten_failures_in_a_row_none() {
        let two = for_each("concurrency = 2");
        let first = PagePosition::of(json!({ "page": 1 }));
        let lanes: Vec<_> = begins(&two, &first).iter().map(|next| next.slice.lane()).collect();
        assert_eq!(lanes, [0, 1]);
        let mut at = begins(&two, &first).remove(0);
        let mut opened = 0;
        loop {
            let position = PagePosition::from_json(&at.position).unwrap();
            let next = behind(&two, (&position, at.slice), first.at.clone(), true);
            let Some(next) = next else { break };
            assert_eq!(next.slice, SliceId::new(at.slice.lane() + 2, 0));
            (at, opened) = (next, opened + 1);
        }
        assert_eq!(opened, 9);
        let position = PagePosition::from_json(&at.position).unwrap();
        let next = behind(&two, (&position, at.slice), first.at.clone(), false).unwrap();
        let position = PagePosition::from_json(&next.position).unwrap();
        assert_eq!(position.parents, Some(ParentsAt::default()), "one that is read counts from 0");
        let last = (&position, SliceId::new(SliceId::MAX_LANE, 0));
        assert!(behind(&two, last, first.at.clone(), false).is_none());
    }

    #[test]
    fn a_run_begins_with_a_hundred_chains_at_most_whatever_is_stored() {
        let first = PagePosition::of(json!({ "page": 1 }));
        assert_eq!(begins(&for_each("concurrency = 100"), &first).len(), 100);
        let far = for_each("concurrency = 4294967295");
        let all = begins(&far, &first);
        assert_eq!(all.len(), 100);
        let position = PagePosition::from_json(&all[0].position).unwrap();
        let next = behind(&far, (&position, all[0].slice), first.at.clone(), false).unwrap();
        assert_eq!(next.slice, SliceId::new(100, 0), "none is left out");
    }

    #[test]
    fn children_are_told_what_is_known_of_their_parent_and_no_more() {
        let position = PagePosition::of(json!({ "page": 1 }));
        let fields = json!({ "id": 7, "other": 1 }).as_object().unwrap().clone();
        let found = vec![Parent { key: "7".to_owned(), fields }];
        let position = looked_up(position, found.clone()).unwrap();
        let one = parent_of(&position, Some(&for_each(""))).unwrap();
        assert_eq!(one, r#"{"id":7}"#);
        assert_eq!(of_context(&context(Value::Null, Some(&one))), Some(one.clone()));
        assert_eq!(context(Value::Null, None), Value::Null);
        let records = [Cow::Borrowed(r#"{"n":1.50}"#), Cow::Borrowed("7")];
        assert_eq!(told(&records, &one, 10).unwrap(), [r#"{"n":1.50,"_parent":{"id":7}}"#, "7"]);
        assert_eq!(parent_of(&position, Some(&for_each("batch = 2"))), None);
        let gone = looked_up(position, Vec::new()).unwrap_err();
        assert!(gone.text().contains("not kept any more"), "{gone}");
    }
}
