//! Owns noticing that an answer is one page of several, though the job file knows of one only: the
//! sweep would end behind the first page, and nobody would miss the rest.
//!
//! It looks at what stands around the records, never into them: a record may well have a field
//! `next`. What an API says in so many words ("no more") counts more than what its figures suggest.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// The longest value around the records that is looked at: what tells pages apart is short.
const MOST_BYTES: usize = 64 << 10;
/// How deep such values are looked into, as in `meta.pagination.links.next`.
const MOST_LEVELS: usize = 4;

/// What an answer says of its pages.
#[derive(Debug, Default)]
struct Findings {
    /// Where a yes or no says that there is another page …
    affirms: Option<String>,
    /// … or that there is none, whatever links and cursors there are: some APIs give a cursor for later.
    denies: bool,
    /// Where a link or a cursor leads to another page.
    says_more: Option<String>,
    /// Whether there is a place for such a link, and none in it.
    says_last: bool,
    /// What suggests that there is another page.
    suggests: Option<String>,
    pages: Option<(String, u64)>,
    total: Option<(String, u64)>,
    /// The page's number, if it gives one, …
    page: Option<u64>,
    /// … or how many records come before it.
    offset: Option<u64>,
}

/// What shows that there are more pages than the one in `body`, as the end of a sentence; `None` when
/// nothing does. `path` is the keys that lead to the `records` that were found in it, when it is no
/// more than keys; `link` the headers of that name.
pub(super) fn evidence(
    body: &str,
    path: Option<&[String]>,
    records: usize,
    link: Option<&str>,
) -> Option<String> {
    if link.is_some_and(links_to_next) {
        return Some("its header `Link` has rel=\"next\"".to_owned());
    }
    let mut findings = Findings::default();
    let mut around = body.trim_start();
    let Some(path) = path else {
        if around.starts_with('{') {
            look(around, None, "", &mut findings).ok()?;
        }
        return findings.evidence(records as u64);
    };
    let mut at = String::new();
    for key in path {
        if !around.starts_with('{') {
            break;
        }
        let inner = look(around, Some(key), &at, &mut findings).ok()?;
        at = join(&at, key);
        around = inner.unwrap_or_default();
    }
    findings.evidence(records as u64)
}

impl Findings {
    fn evidence(self, records: u64) -> Option<String> {
        if let Some(place) = self.affirms.or(self.says_more.filter(|_| !self.denies)) {
            return Some(format!("it says so in `{place}`"));
        }
        if self.denies || self.says_last {
            return None;
        }
        // APIs count pages from 0 or from 1; the first page has no smaller number than that.
        if let Some((place, pages)) = self.pages.filter(|(_, pages)| *pages > 1)
            && self.page.is_none_or(|page| page < pages)
        {
            return Some(format!("`{place}` is {pages}"));
        }
        if let Some((place, total)) = self.total
            && records > 0
            && total > records.saturating_add(self.offset.unwrap_or(0))
            && self.page.is_none_or(|page| page <= 1)
        {
            return Some(format!("`{place}` is {total}, and it has {records} records"));
        }
        self.suggests.map(|place| format!("it has a `{place}`"))
    }

    fn see(&mut self, place: &str, key: &str, value: &Value) {
        let plain = plain(key);
        match plain.as_str() {
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
            | "nexttoken"
            | "nextoffset"
            | "nextrecordsurl"
            | "nextmarker"
            | "nextcontinuationtoken"
            | "nextresults"
            | "continuationtoken"
            | "lastevaluatedkey"
                if !is_date(value) =>
            {
                match leads_on(value) {
                    true => self.says(place),
                    false => self.says_last = true,
                }
            }
            // MediaWiki and Kubernetes.
            "continue" if value.is_object() || value.is_string() => match leads_on(value) {
                true => self.says(place),
                false => self.says_last = true,
            },
            "remainingitemcount" if number(value).is_some_and(|left| left > 0) => self.says(place),
            "hasmore"
            | "hasnext"
            | "hasnextpage"
            | "hasmorepages"
            | "hasmoreitems"
            | "hasmoreresults"
            | "moreresultsavailable"
            | "exceededtransferlimit"
            | "istruncated" => self.says_if(place, value, true),
            "more" | "truncated" if value.is_boolean() => self.says_if(place, value, true),
            "last" | "islast" | "lastpage" | "islastpage" | "eof" if value.is_boolean() => {
                self.says_if(place, value, false);
            }
            "totalpages" | "pagestotal" | "totalpagecount" | "pagecount" | "pages" | "numpages"
            | "nbpages" | "lastpage" => self.pages = number(value).map(|n| (place.to_owned(), n)),
            "total" | "totalcount" | "totalresults" | "totalrecords" | "totalitems"
            | "totalelements" | "totalentries" | "totalhits" | "nbhits" | "numfound"
            | "resultcount" | "count" => {
                let within = value.get("value").unwrap_or(value);
                // The largest: `count` may be that of the page, beside a `total`.
                let found = number(within).map(|n| (place.to_owned(), n));
                if found.as_ref().map(|(_, n)| n) > self.total.as_ref().map(|(_, n)| n) {
                    self.total = found;
                }
            }
            "page" | "currentpage" | "pagenumber" | "number" | "pageindex" => {
                self.page = number(value).or(self.page);
            }
            "offset" | "skip" | "startat" | "startindex" => {
                self.offset = number(value).or(self.offset);
            }
            "cursor" | "bookmark" if leads_on(value) => self.suggests = Some(place.to_owned()),
            _ => {}
        }
    }

    fn says(&mut self, place: &str) {
        self.says_more.get_or_insert_with(|| place.to_owned());
    }

    fn says_if(&mut self, place: &str, value: &Value, more: bool) {
        match yes_or_no(value) {
            Some(said) if said == more => {
                self.affirms.get_or_insert_with(|| place.to_owned());
            }
            Some(_) => self.denies = true,
            None => {}
        }
    }

    /// Looks into what APIs put around the things that tell pages apart.
    fn see_within(&mut self, place: &str, key: &str, value: &Value, level: usize) {
        let around = matches!(
            plain(key).as_str(),
            "meta"
                | "metadata"
                | "pagination"
                | "paginationinfo"
                | "paging"
                | "pager"
                | "pageinfo"
                | "page"
                | "links"
                | "cursor"
                | "cursors"
                | "responsemetadata"
                | "searchmetadata"
                | "info"
                | "hits"
        );
        if !around || level >= MOST_LEVELS {
            return;
        }
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let place = join(place, name);
                    self.see(&place, name, value);
                    self.see_within(&place, name, value, level + 1);
                }
            }
            // As in `"links": [{ "rel": "next", "href": "…" }]`.
            Value::Array(links) => {
                let next = |link: &Value| link.get("rel").and_then(Value::as_str) == Some("next");
                if links.iter().any(next) {
                    self.says(&join(place, "next"));
                }
            }
            _ => {}
        }
    }
}

/// Looks at an object around the records; answers the value behind `key`, where they are.
fn look<'b>(
    object: &'b str,
    key: Option<&str>,
    at: &str,
    findings: &mut Findings,
) -> Result<Option<&'b str>, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_str(object);
    json.deserialize_map(Around { key, at, findings })
}

struct Around<'a> {
    key: Option<&'a str>,
    at: &'a str,
    findings: &'a mut Findings,
}

impl<'b> Visitor<'b> for Around<'_> {
    type Value = Option<&'b str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'b>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut inner = None;
        while let Some(name) = map.next_key::<Cow<'b, str>>()? {
            if Some(&*name) == self.key {
                inner = Some(map.next_value::<&'b RawValue>()?.get());
                continue;
            }
            if name.len() > MOST_BYTES {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value = map.next_value::<&'b RawValue>()?.get();
            if value.len() > MOST_BYTES {
                continue;
            }
            if let Ok(value) = serde_json::from_str(value) {
                let place = join(self.at, &name);
                self.findings.see(&place, &name, &value);
                self.findings.see_within(&place, &name, &value, 1);
            }
        }
        Ok(inner)
    }
}

/// A key without what APIs spell differently: `hasMore`, `has_more` and `has-more` are the same.
fn plain(key: &str) -> String {
    key.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

fn join(place: &str, key: &str) -> String {
    if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") }
}

/// Whether a value names another page; null, nothing, zero and `false` name none.
fn leads_on(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Bool(true) => true,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(links) => links.iter().any(leads_on),
        Value::Object(fields) => fields.values().any(leads_on),
    }
}

/// A truth value, also as APIs without a type for it spell it.
fn yes_or_no(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(said) => Some(*said),
        Value::Number(number) => Some(number.as_u64()? != 0),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// A field `next` may be a day, such as that of the next delivery: `2026-11-28`, with or without a time.
fn is_date(value: &Value) -> bool {
    value.as_str().and_then(|text| text.get(..10)).is_some_and(|day| {
        day.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        })
    })
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(digits) => digits.parse().ok(),
        _ => None,
    }
}

/// Whether a `Link` header (RFC 8288) has a link to the next page.
fn links_to_next(link: &str) -> bool {
    // A comma or a semicolon may stand within the brackets of an address.
    let mut outside = String::with_capacity(link.len());
    let mut in_address = false;
    for c in link.chars() {
        match c {
            '<' => in_address = true,
            '>' => in_address = false,
            c if !in_address => outside.push(c.to_ascii_lowercase()),
            _ => {}
        }
    }
    outside.split([';', ',']).any(|part| {
        let Some((name, value)) = part.split_once('=') else { return false };
        let relations = value.trim().trim_matches('"');
        name.trim() == "rel" && relations.split_whitespace().any(|relation| relation == "next")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(body: &str, path: &str, records: usize) -> Option<String> {
        let path: Vec<String> =
            path.split('.').filter(|k| !k.is_empty()).map(String::from).collect();
        evidence(body, Some(&path), records, None)
    }

    /// The shapes of real APIs: a body with more pages, where its records are, how many there are, and
    /// what is seen; and the body of a last page.
    #[rustfmt::skip]
    const APIS: [(&str, &str, &str, usize, &str, &str); 22] = [
        ("Stripe", "data", r#"{"object":"list","url":"/v1/charges","has_more":true,"data":[{"id":1}]}"#, 1,
            "it says so in `has_more`", r#"{"object":"list","url":"/v1/charges","has_more":false,"data":[{"id":1}]}"#),
        ("Django REST framework", "results", r#"{"count":1023,"next":"https://a/?page=2","previous":null,"results":[{},{}]}"#, 2,
            "it says so in `next`", r#"{"count":1023,"next":null,"previous":"https://a/?page=4","results":[{},{}]}"#),
        ("HubSpot", "results", r#"{"results":[{}],"paging":{"next":{"after":"NTI1","link":"?after=NTI1"}}}"#, 1,
            "it says so in `paging.next`", r#"{"results":[{}]}"#),
        ("Notion", "results", r#"{"object":"list","results":[{}],"next_cursor":"33e19cb9","has_more":true,"type":"page","page":{}}"#, 1,
            "it says so in `has_more`", r#"{"object":"list","results":[{}],"next_cursor":null,"has_more":false,"type":"page","page":{}}"#),
        ("Slack", "members", r#"{"ok":true,"members":[{}],"response_metadata":{"next_cursor":"dXNlcjpVMEc="}}"#, 1,
            "it says so in `response_metadata.next_cursor`", r#"{"ok":true,"members":[{}],"response_metadata":{"next_cursor":""}}"#),
        ("Laravel", "data", r#"{"data":[{}],"links":{"first":"?page=1","last":"?page=9","prev":null,"next":"?page=2"},"meta":{"current_page":1,"last_page":9,"per_page":1,"total":9}}"#, 1,
            "it says so in `links.next`", r#"{"data":[{}],"links":{"first":"?page=1","last":"?page=9","prev":"?page=8","next":null},"meta":{"current_page":9,"last_page":9,"per_page":1,"total":9}}"#),
        ("Spring", "content", r#"{"content":[{}],"totalElements":2,"totalPages":2,"last":false,"number":0,"first":true}"#, 1,
            "it says so in `last`", r#"{"content":[{}],"totalElements":2,"totalPages":2,"last":true,"number":1,"first":false}"#),
        ("Spring HATEOAS", "_embedded.users", r#"{"_embedded":{"users":[{}]},"_links":{"self":{"href":"/users"},"next":{"href":"/users?page=1"}},"page":{"size":1,"totalElements":5,"totalPages":5,"number":0}}"#, 1,
            "it says so in `_links.next`", r#"{"_embedded":{"users":[{}]},"_links":{"self":{"href":"/users"}},"page":{"size":1,"totalElements":1,"totalPages":1,"number":0}}"#),
        ("GraphQL", "data.products.nodes", r#"{"data":{"products":{"nodes":[{}],"pageInfo":{"hasNextPage":true,"endCursor":"x"}}}}"#, 1,
            "it says so in `data.products.pageInfo.hasNextPage`", r#"{"data":{"products":{"nodes":[{}],"pageInfo":{"hasNextPage":false,"endCursor":"x"}}}}"#),
        ("OData", "value", r#"{"@odata.context":"x","value":[{}],"@odata.nextLink":"https://a?$skip=1"}"#, 1,
            "it says so in `@odata.nextLink`", r#"{"@odata.context":"x","value":[{}]}"#),
        ("Jira", "issues", r#"{"startAt":0,"maxResults":50,"total":200,"issues":[{},{}]}"#, 2,
            "`total` is 200, and it has 2 records", r#"{"startAt":198,"maxResults":50,"total":200,"issues":[{},{}]}"#),
        ("Zendesk", "users", r#"{"users":[{}],"meta":{"has_more":true,"after_cursor":"x"},"links":{"next":"https://a"}}"#, 1,
            "it says so in `meta.has_more`", r#"{"users":[{}],"meta":{"has_more":false,"after_cursor":"x"},"links":{"next":null}}"#),
        ("PayPal", "items", r#"{"items":[{}],"total_pages":3,"links":[{"rel":"self","href":"a"},{"rel":"next","href":"b"}]}"#, 1,
            "it says so in `links.next`", r#"{"items":[{}],"total_pages":1,"links":[{"rel":"self","href":"a"}]}"#),
        ("Square", "objects", r#"{"objects":[{}],"cursor":"Bw=="}"#, 1,
            "it has a `cursor`", r#"{"objects":[{}]}"#),
        ("Elasticsearch", "hits.hits", r#"{"took":1,"hits":{"total":{"value":10000,"relation":"gte"},"hits":[{},{}]}}"#, 2,
            "`hits.total` is 10000, and it has 2 records", r#"{"took":1,"hits":{"total":{"value":2,"relation":"eq"},"hits":[{},{}]}}"#),
        ("ArcGIS", "features", r#"{"exceededTransferLimit":true,"features":[{}]}"#, 1,
            "it says so in `exceededTransferLimit`", r#"{"features":[{}]}"#),
        ("MediaWiki", "query.pages", r#"{"continue":{"apcontinue":"B","continue":"-||"},"query":{"pages":[{}]}}"#, 1,
            "it says so in `continue`", r#"{"batchcomplete":"","query":{"pages":[{}]}}"#),
        ("Kubernetes", "items", r#"{"metadata":{"continue":"eyJ2","remainingItemCount":40},"items":[{}]}"#, 1,
            "it says so in `metadata.continue`", r#"{"metadata":{"continue":"","resourceVersion":"7"},"items":[{}]}"#),
        ("DynamoDB", "Items", r#"{"Items":[{}],"LastEvaluatedKey":{"id":{"S":"7"}}}"#, 1,
            "it says so in `LastEvaluatedKey`", r#"{"Items":[{}]}"#),
        ("Plaid, with a cursor for the next time", "added", r#"{"added":[{}],"has_more":true,"next_cursor":"a"}"#, 1,
            "it says so in `has_more`", r#"{"added":[{}],"has_more":false,"next_cursor":"b"}"#),
        ("truth as text or number", "items", r#"{"hasMore":"true","has_next":0,"items":[{}]}"#, 1,
            "it says so in `hasMore`", r#"{"hasMore":"False","next":"x","items":[{}]}"#),
        ("a plain count of pages", "items", r#"{"page":1,"pages":"4","items":[{}]}"#, 1,
            "`pages` is 4", r#"{"page":4,"pages":"4","items":[{}]}"#),
    ];

    #[test]
    fn real_apis_show_that_they_have_more_pages_and_that_they_have_none() {
        for (name, path, first, records, shows, last) in APIS {
            assert_eq!(seen(first, path, records).as_deref(), Some(shows), "{name}");
            assert_eq!(seen(last, path, records), None, "{name}, its last page");
        }
    }

    #[test]
    fn what_stands_in_the_records_says_nothing() {
        // CoinGecko answers with a plain list.
        assert_eq!(seen(r#"[{"id":"bitcoin","next":"x","has_more":true,"total":9}]"#, "", 1), None);
        let one = r#"{"id":7,"next":"2026-01-01","total":99,"cursor":"c"}"#;
        assert_eq!(seen(one, "", 1), None, "the answer itself is the record");
        let within = r#"{"data":{"id":7,"next":"x","has_more":true},"status":"ok"}"#;
        assert_eq!(seen(within, "data", 1), None);
        let list = r#"{"items":[{"next":"x","links":{"next":"y"},"meta":{"total_pages":9}}]}"#;
        assert_eq!(seen(list, "items", 1), None);
    }

    #[test]
    fn records_that_are_picked_out_have_something_around_them_too() {
        let body = r#"{"has_more":true,"data":[{"next":"x"}]}"#;
        let seen = evidence(body, None, 1, None);
        assert_eq!(seen.as_deref(), Some("it says so in `has_more`"));
        assert_eq!(evidence(r#"{"data":[{"next":"x"}]}"#, None, 1, None), None);
    }

    #[test]
    fn figures_that_fit_one_page_are_no_alarm() {
        for body in [
            r#"{"total":2,"count":2,"items":[{},{}]}"#,
            r#"{"total_pages":1,"page":1,"items":[{},{}]}"#,
            r#"{"total":1234.5,"items":[{},{}]}"#,
            r#"{"total":"12 EUR","next_page":0,"items":[{},{}]}"#,
            r#"{"cursor":"abc","has_more":false,"items":[{},{}]}"#,
            r#"{"paging":{"cursors":{"before":"a","after":"b"}},"items":[{},{}]}"#,
            r#"{"offset":98,"limit":50,"total":100,"items":[{},{}]}"#,
            r#"{"meta":{"next":{}},"total":9,"items":[{},{}]}"#,
            r#"{"next":"2026-11-28","items":[{},{}]}"#,
            r#"{"next":"2026-11-28T08:00:00Z","more":"details","continue":true,"items":[{},{}]}"#,
        ] {
            assert_eq!(seen(body, "items", 2), None, "{body}");
        }
    }

    #[test]
    fn a_link_header_is_read_as_rfc_8288_writes_it() {
        let github = "<https://api.github.com/repositories/1/issues?page=2>; rel=\"next\", \
                      <https://api.github.com/repositories/1/issues?page=9>; rel=\"last\"";
        let shopify = "<https://x.myshopify.com/p.json?limit=3&page_info=a;b,c>; rel=next";
        for link in [github, shopify, "<a>; rel=\"prev next\"", "<a>;title=\"x\" ; REL=\"Next\""] {
            let seen = evidence("[{}]", Some(&[]), 1, Some(link));
            assert_eq!(seen.as_deref(), Some("its header `Link` has rel=\"next\""), "{link}");
        }
        for link in ["<https://a/?rel=next>; rel=\"prev\"", "<a>; rel=\"last\"", "", "rel"] {
            assert_eq!(evidence("[{}]", Some(&[]), 1, Some(link)), None, "{link}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_body_panics(body in "[\\[\\]{}\",:a-z0-9 ]{0,60}", records in 0..3_usize) {
            let _ = seen(&body, "a.b", records);
            let _ = seen(&format!("{{\"total\":{body},\"next\":{body},\"a\":1}}"), "a", records);
        }
    }
}
