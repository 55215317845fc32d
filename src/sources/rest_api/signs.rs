//! Owns which keys of answers speak of pages, and of what: one list for what a run heeds of a page and for what
//! `preview` says of it. Keys are compared without what APIs spell differently: `hasMore` and `has_more` are the same.
//!
//! Must not know what a value behind a key says.

use serde_json::Value;

/// What a key beside the records may speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    /// The address of this very page.
    Here,
    /// The next page: its address, its number, a cursor, or an object that holds one.
    Next,
    /// A cursor of the next page, or one for later.
    Cursor,
    /// What MediaWiki and Kubernetes go on with.
    Continue,
    /// The same in a header.
    Continuation,
    /// Whether there are more pages …
    More,
    /// … if it is a yes or a no.
    PerhapsMore,
    /// Whether this is the last page, if it is a yes or a no.
    Last,
    /// Whether this is the last page, or the number of that.
    LastPage,
    /// Whether the answer lacks something: a yes only says so.
    Partial,
    /// Whether it is complete: a no only says that it lacks something.
    Complete,
    /// Whether all was given: a yes only says so.
    Done,
    /// How many items are behind this page, …
    ItemsLeft,
    /// … or perhaps something else that is left.
    Left,
    /// How many records there are on all pages.
    Total,
    /// The same, or of something else.
    Count,
    /// How many pages there are.
    Pages,
    /// The number of this page.
    Page,
    /// How many records come before it.
    Offset,
    /// What only pages have, such as their size.
    Paged,
    /// Words of the API for people.
    Words,
    /// A sum of money.
    Sum,
    /// What books have.
    Book,
    /// How often something was looked at.
    Figure,
}

/// Whether a cursor is one of the values that say that there is no next page: a text is also a number that is written
/// so.
pub(super) fn says_end(ends: &[Value], cursor: &Value) -> bool {
    let text = |value: &Value| match value {
        Value::String(text) => text.trim().to_owned(),
        other => other.to_string(),
    };
    ends.iter().any(|end| text(end) == text(cursor))
}

/// What a key without its spelling speaks of; `records` is that of the key of the records, if they have one.
pub(super) fn sign_of(plain: &str, records: Option<&str>) -> Option<Sign> {
    if records.is_some_and(|records| counts(plain, records)) {
        return Some(Sign::Total);
    }
    Some(match plain {
        "self" => Sign::Here,
        "next"
        | "nextpage"
        | "nexturl"
        | "nexturi"
        | "nextlink"
        | "odatanextlink"
        | "nexthref"
        | "nextpageurl"
        | "nextpageuri"
        | "nextpagelink"
        | "nextcursor"
        | "nextpagecursor"
        | "nextpagetoken"
        | "nextpagestart"
        | "nextstart"
        | "nextpagekey"
        | "nextkey"
        | "nexttoken"
        | "nextoffset"
        | "nextrecordsurl"
        | "nextmarker"
        | "nextcontinuationtoken"
        | "nextresults"
        | "continuationtoken"
        | "lastevaluatedkey" => Sign::Next,
        "cursor" | "bookmark" | "after" => Sign::Cursor,
        "continue" => Sign::Continue,
        "continuation" => Sign::Continuation,
        "hasmore"
        | "moreavailable"
        | "moreresults"
        | "morepages"
        | "moreitems"
        | "moredata"
        | "hasmoredata"
        | "hasmorerecords"
        | "hasmorerows"
        | "hasnext"
        | "hasnextpage"
        | "hasmorepages"
        | "hasmoreitems"
        | "hasmoreresults"
        | "morerecords"
        | "moreitemsincollection"
        | "moreresultsavailable"
        | "exceededtransferlimit"
        | "istruncated" => Sign::More,
        "more" | "truncated" => Sign::PerhapsMore,
        "lastpage" => Sign::LastPage,
        "last" | "islast" | "islastpage" | "eof" | "end" | "isend" | "atend" | "endoflist"
        | "endofresults" | "endofrecords" | "endofdata" | "endofstream" | "nomore"
        | "nomorepages" | "nomoreresults" => Sign::Last,
        "partial" | "ispartial" | "incomplete" | "incompleteresults" => Sign::Partial,
        "complete" | "iscomplete" => Sign::Complete,
        "done" => Sign::Done,
        "remainingitemcount" => Sign::ItemsLeft,
        "remaining" | "remainingitems" | "remainingresults" | "remainingrecords"
        | "remainingcount" | "itemsremaining" | "resultsremaining" | "recordsremaining" => {
            Sign::Left
        }
        "total" | "totalcount" | "totalresults" | "totalrecords" | "totalitems"
        | "totalelements" | "totalentries" | "totalhits" | "estimatedtotalhits" | "totalsize"
        | "nbhits" | "numfound" | "odatacount" | "recordstotal" | "matched" | "nummatched"
        | "numbermatched" | "totalmatched" | "totalmatches" | "totalavailable" | "totalfound"
        | "totalrows" | "totaltransactions" | "found" => Sign::Total,
        "count" | "resultcount" | "rowcount" | "hits" => Sign::Count,
        "totalpages" | "pagestotal" | "totalpagecount" | "pagecount" | "pages" | "numpages"
        | "nbpages" => Sign::Pages,
        "page" | "currentpage" | "pagenumber" | "number" | "pageindex" => Sign::Page,
        "offset" | "skip" | "start" | "startat" | "startindex" => Sign::Offset,
        "limit" | "perpage" | "pagesize" | "itemsperpage" | "resultsperpage" | "pagelen"
        | "maxresults" | "previous" | "previouspage" | "prev" => Sign::Paged,
        "warning" | "warnings" | "notice" | "message" | "msg" | "note" | "info" => Sign::Words,
        "currency" | "currencycode" | "subtotal" | "amount" | "tax" | "totalprice"
        | "totalamount" | "totalcost" | "totaltax" | "totaldiscount" | "totalshipping"
        | "totalvat" | "grandtotal" | "taxtotal" | "shippingtotal" => Sign::Sum,
        "title" | "isbn" | "author" | "authors" | "publisher" => Sign::Book,
        "views" | "pageviews" | "viewcount" | "visits" | "visitors" | "likes" | "clicks"
        | "downloads" | "plays" | "votes" | "followers" | "shares" => Sign::Figure,
        _ => return None,
    })
}

/// Whether a key counts the records by the name that they have: `total_transactions` beside `transactions`.
fn counts(plain: &str, records: &str) -> bool {
    const MARKS: [&str; 4] = ["total", "totalnumberof", "numberof", "num"];
    let many = |rest: &str| !rest.is_empty() && (rest == records || records == format!("{rest}s"));
    MARKS.iter().any(|mark| plain.strip_prefix(mark).is_some_and(many))
        || ["total", "count"].iter().any(|mark| plain.strip_suffix(mark).is_some_and(many))
}

/// Whether APIs put around a key what tells pages apart, as in `meta.pagination.links`.
pub(super) fn holds_signs(plain: &str) -> bool {
    matches!(
        plain,
        "meta"
            | "metadata"
            | "additionaldata"
            | "pagination"
            | "paginationinfo"
            | "paging"
            | "pager"
            | "pageinfo"
            | "page"
            | "pages"
            | "link"
            | "links"
            | "cursor"
            | "cursors"
            | "responsemetadata"
            | "searchmetadata"
            | "resultinfo"
            | "resultset"
            | "info"
            | "status"
            | "hits"
    )
}

/// Whether a key is named after the records and holds what tells their pages apart: `_allItemsMeta` beside `allItems`,
/// `items_aggregate` beside `items`.
pub(super) fn is_about(plain: &str, records: &str) -> bool {
    const ENDINGS: [&str; 7] =
        ["meta", "metadata", "aggregate", "info", "pageinfo", "paging", "pagination"];
    let many = plain.strip_prefix(records).is_some_and(|rest| ENDINGS.contains(&rest));
    // GraphQL servers count `items` in `itemAggregate` as well.
    let one = records.strip_suffix('s').filter(|one| !one.is_empty());
    many || one.and_then(|one| plain.strip_prefix(one)).is_some_and(|rest| ENDINGS.contains(&rest))
}

/// The name of a header without what marks it as the API's own, if it may speak of pages: `X-WP-TotalPages` speaks of
/// `TotalPages`.
pub(super) fn bare_header(name: &str) -> Option<&str> {
    const OF_PAGES: [&str; 9] = [
        "page",
        "pagination",
        "next",
        "more",
        "total",
        "count",
        "offset",
        "cursor",
        "continuation",
    ];
    /// Without a mark only what speaks of nothing else.
    const UNMARKED: [&str; 12] = [
        "total",
        "total-count",
        "total-records",
        "total-results",
        "total-items",
        "total-pages",
        "record-count",
        "page-count",
        "next-page",
        "next-cursor",
        "has-more",
        "per-page",
    ];
    if UNMARKED.contains(&name) {
        return Some(name);
    }
    let bare = name.strip_prefix("x-").or_else(|| name.strip_prefix("pagination-"))?;
    let bare = ["wp-", "ms-"].iter().find_map(|of| bare.strip_prefix(of)).unwrap_or(bare);
    let bare = bare.strip_prefix("pagination-").unwrap_or(bare);
    let plain: String = bare.chars().filter(char::is_ascii_alphanumeric).collect();
    OF_PAGES.iter().any(|word| plain.contains(word)).then_some(bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_counted_by_their_own_name_and_nothing_else_is() {
        for (key, records, sign) in [
            ("totaltransactions", Some("transactions"), Some(Sign::Total)),
            ("totalusers", Some("users"), Some(Sign::Total)),
            ("usercount", Some("users"), Some(Sign::Total)),
            ("numberofusers", Some("users"), Some(Sign::Total)),
            ("totalusers", Some("orders"), None),
            ("totalprice", Some("price"), Some(Sign::Total)),
            ("totalprice", Some("items"), Some(Sign::Sum)),
            ("count", Some("count"), Some(Sign::Count)),
            ("total", Some("s"), Some(Sign::Total)),
            ("totalpages", Some("items"), Some(Sign::Pages)),
        ] {
            assert_eq!(sign_of(key, records), sign, "{key} {records:?}");
        }
    }

    #[test]
    fn what_is_named_after_the_records_is_about_them() {
        for (key, records, about) in [
            ("allitemsmeta", "allitems", true),
            ("itemsaggregate", "items", true),
            ("itemaggregate", "items", true),
            ("usersaggregate", "items", false),
            ("items", "items", false),
            ("aggregate", "s", false),
        ] {
            assert_eq!(is_about(key, records), about, "{key} {records}");
        }
    }

    #[test]
    fn headers_speak_of_pages_with_and_without_a_mark() {
        for (name, bare) in [
            ("x-wp-totalpages", Some("totalpages")),
            ("x-total-count", Some("total-count")),
            ("total-count", Some("total-count")),
            ("x-pagination-pages", Some("pages")),
            ("pagination-count", Some("count")),
            ("x-request-id", None),
            ("content-length", None),
            ("age", None),
        ] {
            assert_eq!(bare_header(name), bare, "{name}");
        }
    }
}
