//! Owns what keys and headers say of pages, and the conclusion from all of it.

use std::collections::BTreeSet;

use reqwest::Url;
use serde_json::Value;

use crate::sources::rest_api::around::{self, Looks, join, plain};
use crate::sources::rest_api::full_page::fills_a_page;
use crate::sources::rest_api::signs::{Sign, holds_signs, is_about, says_end, sign_of};

/// How deep values around the records are looked into, as in `meta.pagination.links.next`.
const MOST_LEVELS: usize = 4;
/// The most links to other pages that are kept.
const MOST_LINKS: usize = 32;

/// What an answer says of its pages. Places are quoted as they are shown.
#[derive(Debug, Default)]
pub(super) struct Findings<'a> {
    /// The address that was asked.
    asked: &'a str,
    /// What the key of the records is called, without its spelling.
    records: Option<&'a str>,
    /// Whether what is looked into is named after the records, as `items_aggregate` beside `items`.
    of_records: bool,
    /// The cursors that say that there is no next page.
    end_values: &'a [Value],
    /// The address that the answer says it has.
    own: Option<String>,
    /// Where a yes or no says that there is another page …
    affirms: Option<String>,
    /// … or that there is none, whatever links and cursors there are: some APIs give a cursor for later.
    denies: bool,
    /// Where links and cursors lead to another page.
    next_links: Vec<NextLink>,
    /// Whether there is a place for such a link, and none in it.
    says_last: bool,
    /// What suggests that there is another page.
    suggests: Option<String>,
    pages: Option<(String, u64)>,
    /// Whether only the word `pages` says so: a book has pages, too, …
    pages_in_a_word: bool,
    /// … and a title.
    has_title: bool,
    /// How many records are announced behind these.
    remaining: Option<(String, u64)>,
    /// Whether there are allowances, and `remaining` may be what is left of one.
    has_quota: bool,
    /// How many records there are on all pages.
    total: Option<(String, u64)>,
    /// The same of a `count`, which may count something else.
    count: Option<(String, u64)>,
    /// Whether anything is there that only pages have.
    is_paged: bool,
    /// How often something was looked at, liked or fetched: `count` may be one of these.
    figures: Vec<u64>,
    /// Whether there are sums of money, and `total` may be one of them.
    has_sums: bool,
    /// The page's number, if it gives one, …
    page: Option<u64>,
    /// … whether pages are numbered from 0, …
    from_zero: bool,
    /// … or how many records come before it.
    offset: Option<u64>,
}

/// What leads to another page.
#[derive(Debug, Default)]
struct NextLink {
    place: String,
    link: Option<String>,
    /// The number of the page.
    page: Option<u64>,
}

impl<'a> Findings<'a> {
    /// Nothing yet, of an answer from this address whose records have this key.
    pub fn new(asked: &'a str, records: Option<&'a str>, end_values: &'a [Value]) -> Self {
        Self { asked, records, end_values, ..Self::default() }
    }

    /// Nothing comes behind this page.
    pub fn says_last(&mut self) {
        self.says_last = true;
    }

    /// Looks at a header; `key` is its name without marks.
    pub fn look_at_header(&mut self, header: &str, key: &str, value: &Value) {
        let place = format!("its header `{header}`");
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    self.see(&place, name, value);
                }
            }
            value => self.see(&place, key, value),
        }
    }

    /// Where it says in so many words, or by a link, that there is another page.
    pub fn says_more(&self) -> Option<String> {
        let leads_on =
            |next: &&NextLink| !self.is_here(next.link.as_deref()) && !self.is_beyond(next.page);
        let next = self.next_links.iter().find(leads_on);
        let next = next.map(|next| &next.place).filter(|_| !self.denies);
        let place = self.affirms.as_ref().or(next)?;
        Some(format!("it says so in {place}"))
    }

    /// Whether it says itself that it is the last.
    pub fn is_last(&self) -> bool {
        (self.denies || self.says_last) && self.says_more().is_none()
    }

    /// How many records there are on all pages, and where it says so.
    pub fn total(self) -> Option<(String, u64)> {
        let is_sum = self.has_sums && !self.is_paged;
        self.total.filter(|_| !is_sum)
    }

    /// How many records it may say that there are on all pages: a total, or a count that is larger than this many
    /// records of the page.
    pub fn claim(self, records: u64) -> Option<(String, u64)> {
        let is_sum = self.has_sums && !self.is_paged;
        let figures = self.figures;
        let count = self.count.filter(|(_, count)| *count > records && !figures.contains(count));
        self.total.filter(|_| !is_sum).or(count)
    }

    /// The conclusion, for a response with this many records, as the end of a sentence.
    pub fn evidence(self, records: Option<u64>) -> Option<String> {
        if let Some(place) = self.says_more() {
            return Some(place);
        }
        if self.denies || self.says_last {
            return None;
        }
        let is_book = self.pages_in_a_word && self.has_title && !self.is_paged;
        let is_paged = self.is_paged || self.pages_in_a_word && !is_book;
        if let Some((place, pages)) = self.pages.filter(|(_, pages)| *pages > 1 && !is_book)
            && self.page.is_none_or(|page| page + u64::from(self.from_zero) < pages)
        {
            return Some(format!("{place} is {pages}"));
        }
        if let Some((place, left)) = self.remaining.filter(|_| !self.has_quota) {
            return Some(format!("{place} is {left}"));
        }
        let records = records.unwrap_or(0);
        let is_count = |count: &(String, u64)| {
            self.total.is_none()
                && count.1 > records
                && !self.figures.contains(&count.1)
                && (is_paged || fills_a_page(records))
        };
        let is_sum = self.has_sums && !is_paged;
        let total = self.total.clone().filter(|_| !is_sum).or(self.count.clone().filter(is_count));
        // APIs count pages from 0 or from 1; the first page has no smaller number than that.
        if let Some((place, total)) = total
            && records > 0
            && total > records.saturating_add(self.offset.unwrap_or(0))
            && self.page.is_none_or(|page| page <= 1)
        {
            return Some(format!("{place} is {total}, and it has {records} records"));
        }
        self.suggests.map(|place| format!("it has {place}"))
    }

    /// Whether a link leads to where the answer came from.
    fn is_here(&self, link: Option<&str>) -> bool {
        let Some(link) = link else { return false };
        let own = self.own.as_deref();
        own == Some(link) || [Some(self.asked), own].iter().flatten().any(|at| leads_back(at, link))
    }

    /// Whether a page's number is larger than there are pages: some APIs always name the next one.
    fn is_beyond(&self, page: Option<u64>) -> bool {
        let pages = self.pages.as_ref().map(|(_, pages)| *pages);
        page.zip(pages).is_some_and(|(page, pages)| page + u64::from(self.from_zero) > pages)
    }

    fn see(&mut self, place: &str, key: &str, value: &Value) {
        let plain = plain(key);
        self.has_quota |= ["quota", "ratelimit", "credits", "reset", "requests", "calls"]
            .iter()
            .any(|word| plain.contains(word));
        let Some(sign) = sign_of(&plain, self.records) else { return };
        // What is named after the records counts them.
        let sign = if self.of_records && sign == Sign::Count { Sign::Total } else { sign };
        match sign {
            Sign::Here => self.own = link_in(value).or(self.own.take()),
            Sign::Next => {
                if !is_date(value) && !is_thing(value, &plain) {
                    self.see_link(place, value);
                }
            }
            Sign::Continue if value.is_object() || value.is_string() => self.see_link(place, value),
            Sign::Continuation if value.is_string() => self.see_link(place, value),
            Sign::ItemsLeft if number(value).is_some_and(|left| left > 0) => {
                self.leads_on(place, None);
            }
            Sign::Left if number(value).is_some_and(|left| left > 0) => {
                self.remaining = number(value).map(|left| (place.to_owned(), left));
            }
            Sign::More => self.says_if(place, value, true),
            Sign::PerhapsMore if value.is_boolean() => self.says_if(place, value, true),
            Sign::Last | Sign::LastPage if value.is_boolean() => self.says_if(place, value, false),
            // Only one of the two answers speaks of pages for certain.
            Sign::Partial if value.as_bool() == Some(true) => self.affirms(place),
            Sign::Complete if value.as_bool() == Some(false) => self.affirms(place),
            Sign::Words if speaks_of_more(value) => self.affirms(place),
            // Salesforce; elsewhere only the yes says anything of pages.
            Sign::Done if value.as_bool() == Some(true) => self.denies = true,
            Sign::Pages | Sign::LastPage => {
                self.pages = number(value).map(|n| (place.to_owned(), n)).or(self.pages.take());
                // Algolia.
                self.from_zero |= plain == "nbpages";
                self.pages_in_a_word |= plain == "pages";
                self.is_paged |= plain != "pages";
            }
            Sign::Page => {
                if let Some((page, pages)) = page_of_pages(value) {
                    self.page = Some(page);
                    self.pages = self.pages.take().or_else(|| Some((place.to_owned(), pages)));
                }
                self.page = number(value).or(self.page);
                // Spring.
                self.from_zero |= matches!(plain.as_str(), "number" | "pageindex");
                self.is_paged |= plain != "number";
            }
            // Airtable's is a cursor.
            Sign::Offset if plain == "offset" && value.is_string() && number(value).is_none() => {
                self.suggests(place, value);
            }
            Sign::Offset => {
                self.offset = number(value).or(self.offset);
                self.is_paged |= number(value).is_some();
            }
            Sign::Paged => self.is_paged = true,
            Sign::Sum => self.has_sums = true,
            Sign::Book => self.has_title = true,
            Sign::Figure => self.figures.extend(number(value)),
            Sign::Cursor if !is_date(value) => self.suggests(place, value),
            Sign::Total => note_largest(&mut self.total, place, value),
            Sign::Count => note_largest(&mut self.count, place, value),
            Sign::Continue
            | Sign::Continuation
            | Sign::ItemsLeft
            | Sign::Left
            | Sign::PerhapsMore
            | Sign::Last
            | Sign::Partial
            | Sign::Complete
            | Sign::Words
            | Sign::Done
            | Sign::Cursor => {}
        }
    }

    fn affirms(&mut self, place: &str) {
        self.affirms.get_or_insert_with(|| place.to_owned());
    }

    fn leads_on(&mut self, place: &str, link: Option<String>) {
        self.leads_to(NextLink { place: place.to_owned(), link, page: None });
    }

    fn leads_to(&mut self, next_links: NextLink) {
        if self.next_links.len() < MOST_LINKS {
            self.next_links.push(next_links);
        }
    }

    fn see_link(&mut self, place: &str, value: &Value) {
        match leads_on(value) && !says_end(self.end_values, value) {
            true => {
                let (link, page) = (link_in(value), number(value));
                self.leads_to(NextLink { place: place.to_owned(), link, page });
            }
            false => self.says_last = true,
        }
    }

    fn suggests(&mut self, place: &str, value: &Value) {
        match value {
            Value::Null => self.says_last = true,
            value if says_end(self.end_values, value) => self.says_last = true,
            // The cursor that was asked for is not the next one.
            Value::String(cursor) if self.was_asked_for(cursor) => {}
            value if leads_on(value) => {
                self.suggests.get_or_insert_with(|| format!("a {place}"));
            }
            _ => {}
        }
    }

    fn was_asked_for(&self, cursor: &str) -> bool {
        Url::parse(self.asked)
            .is_ok_and(|asked| asked.query_pairs().any(|(_, value)| value == cursor))
    }

    fn says_if(&mut self, place: &str, value: &Value, more: bool) {
        match yes_or_no(value) {
            Some(said) if said == more => self.affirms(place),
            Some(_) => self.denies = true,
            None => {}
        }
    }

    /// Looks into what APIs put around the things that tell pages apart.
    fn see_within(&mut self, place: &str, key: &str, value: &Value, level: usize) {
        let plain = plain(key);
        let named = self.records.is_some_and(|records| is_about(&plain, records));
        let around = holds_signs(&plain) || named || (self.of_records && plain == "aggregate");
        // openFDA has it in `meta.results`.
        if !around && (level < 2 || plain != "results") || level >= MOST_LEVELS {
            return;
        }
        let outer = self.of_records;
        self.of_records |= named;
        self.see_each(place, &plain, value, level);
        self.of_records = outer;
    }

    fn see_each(&mut self, place: &str, plain: &str, value: &Value, level: usize) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    // Facebook's cursors are there on the last page, too.
                    if plain == "cursors" && around::plain(name) == "after" {
                        continue;
                    }
                    let place = join(place, name);
                    self.see(&format!("`{place}`"), name, value);
                    self.see_within(&place, name, value, level + 1);
                }
            }
            // As in `"links": [{ "rel": "next", "href": "…" }]`, which FHIR calls relation.
            Value::Array(links) => {
                for link in links {
                    let relation = link.get("rel").or_else(|| link.get("relation"));
                    match relation.and_then(Value::as_str) {
                        Some("next") => {
                            let place = format!("`{}`", join(place, "next"));
                            self.leads_on(&place, link_in(link));
                        }
                        Some("self") => self.own = link_in(link).or(self.own.take()),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
}

impl Looks for Findings<'_> {
    fn look(&mut self, at: &str, key: &str, value: &Value) {
        let place = join(at, key);
        self.see(&format!("`{place}`"), key, value);
        self.see_within(&place, key, value, 1);
    }
}

/// Whether a link, as it is in a response from `at`, leads to where it came from: to the same path with
/// the same parameters. What was struck out of it counts as equal.
fn leads_back(at: &str, link: &str) -> bool {
    let Ok(at) = Url::parse(at) else { return false };
    let Ok(link) = at.join(link) else { return false };
    let parameters = |url: &Url| -> BTreeSet<(String, String)> {
        let pairs = url.query_pairs().filter(|(_, value)| !value.contains("***"));
        pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
    };
    let path = |url: &Url| url.path().trim_end_matches('/').to_owned();
    path(&at) == path(&link) && parameters(&at) == parameters(&link)
}

/// The link that a value is or holds.
fn link_in(value: &Value) -> Option<String> {
    let held = || ["href", "url", "uri", "link"].iter().find_map(|key| value.get(key)?.as_str());
    value.as_str().or_else(held).map(str::to_owned)
}

/// Whether a value names another page; null, nothing, zero and `false` name none.
fn leads_on(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Bool(true) => true,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !matches!(text.trim(), "" | "0" | "null" | "false"),
        Value::Array(links) => links.iter().any(leads_on),
        Value::Object(fields) => fields.values().any(leads_on),
    }
}

/// A truth value, also as APIs without a type for it spell it.
fn yes_or_no(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(said) => Some(*said),
        Value::Number(number) => Some(number.as_u64()? != 0),
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "1" => Some(true),
            "false" | "no" | "0" => Some(false),
            _ => None,
        },
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

/// Whether the value of `next` is a thing and no page, such as the next version of a document.
fn is_thing(value: &Value, plain_key: &str) -> bool {
    const OF_PAGES: [&str; 22] = [
        "href",
        "url",
        "uri",
        "link",
        "page",
        "pagenumber",
        "number",
        "cursor",
        "after",
        "startingafter",
        "before",
        "offset",
        "skip",
        "start",
        "startindex",
        "token",
        "pagetoken",
        "marker",
        "limit",
        "since",
        "until",
        "params",
    ];
    let Value::Object(fields) = value else { return false };
    let is_link = |value: &Value| {
        value.as_str().is_some_and(|text| text.contains("://") || text.starts_with(['/', '?']))
    };
    matches!(plain_key, "next" | "nextpage")
        && !fields.is_empty()
        && !fields.iter().any(|(key, value)| {
            let plain = plain(key);
            OF_PAGES.contains(&plain.as_str()) || plain.contains("cursor") || is_link(value)
        })
}

/// `1/25` or `1 of 25`: a page's number, and how many there are.
fn page_of_pages(value: &Value) -> Option<(u64, u64)> {
    let text = value.as_str()?;
    let (page, pages) = text.split_once('/').or_else(|| text.split_once(" of "))?;
    Some((page.trim().parse().ok()?, pages.trim().parse().ok()?))
}

/// Whether a warning says that there is more than came.
fn speaks_of_more(value: &Value) -> bool {
    const WORDS: [&str; 8] = [
        "truncat",
        "incomplete",
        "partial result",
        "limited to",
        "not all results",
        "more results",
        "only the first",
        "cut off",
    ];
    match value {
        Value::String(text) => {
            let text = text.to_lowercase();
            WORDS.iter().any(|word| text.contains(word))
        }
        Value::Array(texts) => texts.iter().any(speaks_of_more),
        _ => false,
    }
}

/// Notes what may be the number of all records: the largest counts.
fn note_largest(most: &mut Option<(String, u64)>, place: &str, value: &Value) {
    // Elasticsearch puts the number into an object.
    let Some(found) = number(value.get("value").unwrap_or(value)) else { return };
    if most.as_ref().is_none_or(|(_, most)| found > *most) {
        *most = Some((place.to_owned(), found));
    }
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(digits) => digits.trim().parse().ok(),
        _ => None,
    }
}
