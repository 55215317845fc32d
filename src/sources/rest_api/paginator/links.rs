//! Owns what paginators by links have in common: their positions, and what becomes of a link.
//!
//! A link is relative to the address that was asked. It may repeat the key of the request, which is not stored: it
//! is left out, and added again when the link is asked for.

use reqwest::Url;
use reqwest::header::{HeaderMap, LINK};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::page_view::PageView;
use super::paginate::position;
use crate::domain::text;
use crate::sources::rest_api::http::redact_json::REDACTED;
use crate::sources::rest_api::request::RequestParts;
use crate::sources::{SourceError, SourceErrorKind};

/// Where a page is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Position {
    /// Which page of the full sync it is, from 1.
    page: u64,
    /// The address; `None` for the first, which is that of the job file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

pub(super) fn first() -> Value {
    json!({ "page": 1 })
}

pub(super) fn ordinal(at: &Value) -> Result<u64, SourceError> {
    position::<Position>(at).map(|position| position.page)
}

pub(super) fn ask_for(at: &Value, request: &mut RequestParts) -> Result<(), SourceError> {
    let Some(url) = position::<Position>(at)?.url else { return Ok(()) };
    let url = Url::parse(&url).map_err(|error| {
        let message = format!("{at} is no position of a paginated API: {error}");
        SourceError::new(SourceErrorKind::InvalidState, message)
    })?;
    request.follow(url);
    Ok(())
}

/// The position of the page that a link leads to.
///
/// # Errors
/// When it is no address that can be asked.
pub(super) fn next(at: &Value, page: &PageView<'_>, link: &str) -> Result<Value, SourceError> {
    let number = ordinal(at)?.saturating_add(1);
    let wrong = |why: &str| {
        let link = text::beginning(link);
        let message = format!("the link to the next page, `{link}`, {why}");
        SourceError::new(SourceErrorKind::InvalidResponse, message)
    };
    let mut url = page.asked.join(link.trim()).map_err(|_| wrong("is no address"))?;
    url.set_fragment(None);
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("is no http or https address"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("has a user name in it"));
    }
    if url.path().contains(REDACTED) {
        return Err(wrong("has a key in its path, which is not stored"));
    }
    without_secrets(&mut url);
    Ok(json!({ "page": number, "url": url.as_str() }))
}

/// Whether the link at the position `next`, which the page holds, counts pages or records: a number of its query, or
/// a part of its path, is one more than that of the page's address, or as many more as the page has records, or asks
/// for. Without one there the page is the first.
pub(super) fn lead_by_number(page: &PageView<'_>, next: &Value) -> bool {
    let next = position::<Position>(next).ok().and_then(|next| Url::parse(&next.url?).ok());
    next.is_some_and(|next| is_counted_on(page.asked, &next, page.came as u64))
}

fn is_counted_on(asked: &Url, next: &Url, came: u64) -> bool {
    let number = |text: &str| text.parse::<u64>().ok();
    let asked_of = |name: &str| {
        asked.query_pairs().find(|(key, _)| key == name).map(|(_, value)| number(&value))
    };
    let sizes: Vec<u64> = next.query_pairs().filter_map(|(_, value)| number(&value)).collect();
    // The first page is 0 or 1, and begins with record 0 or 1.
    let is_second = |to: u64| {
        let firsts = [1, 2, came, came + 1].into_iter().chain(sizes_of(next));
        to > 0 && firsts.into_iter().any(|number| number == to)
    };
    let is_step = |step: u64| step == 1 || (step > 1 && (step == came || sizes.contains(&step)));
    let in_query = next.query_pairs().any(|(key, value)| {
        let Some(to) = number(&value) else { return false };
        match asked_of(&key) {
            Some(Some(from)) => to > from && is_step(to - from),
            None => is_second(to) && !is_size(&key),
            Some(None) => false,
        }
    });
    let parts = |url: &Url| -> Vec<String> {
        url.path_segments().into_iter().flatten().map(str::to_owned).collect()
    };
    let (from, to) = (parts(asked), parts(next));
    let in_path = from.len() == to.len()
        && from.iter().zip(&to).any(|(from, to)| match (number(from), number(to)) {
            (Some(from), Some(to)) => to > from && is_step(to - from),
            _ => false,
        });
    // As `/x` leads to `/x/page/2`.
    let is_below = to.len() > from.len() && to.starts_with(&from);
    let last = to.last().and_then(|last| number(last));
    in_query || in_path || is_below && last.is_some_and(is_second)
}

/// The sizes of pages that an address asks for, and each with the one behind it.
fn sizes_of(url: &Url) -> Vec<u64> {
    let sizes = url.query_pairs().filter(|(key, _)| is_size(key));
    let sizes = sizes.filter_map(|(_, value)| value.parse::<u64>().ok());
    sizes.flat_map(|size| [size, size.saturating_add(1)]).collect()
}

/// Whether a parameter says how many records a page has.
fn is_size(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["per", "limit", "size", "count", "max", "top", "first", "len", "rows", "take"]
        .iter()
        .any(|word| name.contains(word))
}

/// Takes out the query parameters whose values are secrets.
fn without_secrets(url: &mut Url) {
    let Some(query) = url.query().filter(|query| query.contains(REDACTED)) else { return };
    let kept: Vec<&str> = query.split('&').filter(|pair| !pair.contains(REDACTED)).collect();
    let kept = kept.join("&");
    url.set_query(Some(kept.as_str()).filter(|query| !query.is_empty()));
}

/// The target of the first link with a relation (RFC 8288).
pub(super) fn related(headers: &HeaderMap, rel: &str) -> Option<String> {
    let values = headers.get_all(LINK);
    let texts = values.iter().filter_map(|value| std::str::from_utf8(value.as_bytes()).ok());
    texts.flat_map(Links).find_map(|link| {
        let relations = link.parameter("rel")?;
        let related = relations.split_ascii_whitespace().any(|one| one.eq_ignore_ascii_case(rel));
        // Sentry links to a next page always, and says whether there is anything on it.
        let nothing = link.parameter("results").is_some_and(|results| results == "false");
        // One with an anchor is a link of something else.
        (related && !nothing && link.parameter("anchor").is_none()).then(|| link.target.to_owned())
    })
}

/// A link of a header.
#[derive(Debug, PartialEq)]
struct Link<'a> {
    target: &'a str,
    parameters: Vec<(&'a str, String)>,
}

impl Link<'_> {
    /// The first parameter of a name: further ones do not count.
    fn parameter(&self, name: &str) -> Option<&str> {
        let mut found = self.parameters.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.as_str())
    }
}

/// The links of the value of a header. What is none is skipped up to the next comma.
struct Links<'a>(&'a str);

impl<'a> Iterator for Links<'a> {
    type Item = Link<'a>;

    fn next(&mut self) -> Option<Link<'a>> {
        loop {
            self.0 = self.0.trim_start_matches(|c: char| c == ',' || c.is_ascii_whitespace());
            if self.0.is_empty() {
                return None;
            }
            let Some(link) = self.0.strip_prefix('<').and_then(|rest| rest.split_once('>')) else {
                let end = self.0.find(',').map_or(self.0.len(), |comma| comma + 1);
                self.0 = &self.0[end..];
                continue;
            };
            let (target, rest) = link;
            self.0 = rest;
            let mut parameters = Vec::new();
            while let Some(rest) = self.0.trim_start().strip_prefix(';') {
                self.0 = rest;
                parameters.extend(self.parameter());
            }
            return Some(Link { target, parameters });
        }
    }
}

impl<'a> Links<'a> {
    /// A parameter behind a semicolon; `None` where nothing stands.
    fn parameter(&mut self) -> Option<(&'a str, String)> {
        let text = self.0.trim_start();
        let end = text.find(['=', ';', ',']).unwrap_or(text.len());
        let (name, rest) = (text[..end].trim(), &text[end..]);
        let Some(value) = rest.strip_prefix('=') else {
            self.0 = rest;
            return (!name.is_empty()).then(|| (name, String::new()));
        };
        let value = value.trim_start();
        let Some(quoted) = value.strip_prefix('"') else {
            let end = value.find([';', ',']).unwrap_or(value.len());
            self.0 = &value[end..];
            return Some((name, value[..end].trim().to_owned()));
        };
        let (mut said, mut chars) = (String::new(), quoted.char_indices());
        self.0 = "";
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.0 = &quoted[at + 1..];
                    break;
                }
                '\\' => said.extend(chars.next().map(|(_, c)| c)),
                c => said.push(c),
            }
        }
        Some((name, said))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn related_in(values: &[&str], rel: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(LINK, value.parse().unwrap());
        }
        related(&headers, rel)
    }

    #[test]
    fn a_link_header_is_read_as_rfc_8288_has_it() {
        for (values, found) in [
            (&["<https://a/?page=2>; rel=\"next\""][..], Some("https://a/?page=2")),
            (&["<?p=1>; rel=prev, <?p=3>; rel=next"], Some("?p=3")),
            (&["<?p=1>; rel=prev", "<?p=3>;rel=\"next\""], Some("?p=3")),
            (&["<?ids=1,2;3>; rel=\"next\""], Some("?ids=1,2;3")),
            (&["<?p=3>; title=\"a, <b>; rel=\\\"x\\\"\"; rel=\"last next\""], Some("?p=3")),
            (&["<?p=3>; REL=Next"], Some("?p=3")),
            (&["<?p=3> ; rel = \"next\" ; foo"], Some("?p=3")),
            (&["nonsense, <?p=3>; rel=next"], Some("?p=3")),
            (&["<?p=3>; rel=prev; rel=next"], None),
            (&["<?p=3>; rel=nextish"], None),
            (&["<?p=3>; rel=next; results=\"false\""], None),
            (&["<?p=3>; rel=next; anchor=\"/other\""], None),
            (&["<?p=3; rel=next"], None),
            (&["<?p=3>; rel=\"next"], Some("?p=3")),
            (&[""], None),
            (&[], None),
        ] {
            assert_eq!(related_in(values, "next").as_deref(), found, "{values:?}");
        }
        assert_eq!(related_in(&["<a>; rel=next, <b>; rel=more"], "more").as_deref(), Some("b"));
    }

    proptest::proptest! {
        #[test]
        fn any_link_header_is_read_to_its_end(text in "[ -~]{0,60}") {
            let _ = Links(&text).count();
        }
    }

    #[test]
    fn links_that_count_are_told_from_those_with_cursors() {
        for (asked, next, came, counts) in [
            ("https://a/x?per_page=100", "https://a/x?per_page=100&page=2", 100, true),
            ("https://a/x?page=2", "https://a/x?page=3", 50, true),
            ("https://a/x", "https://a/x?startIndex=11", 10, true),
            ("https://a/x", "https://a/x?offset=10&limit=10", 9, true),
            ("https://a/x", "https://a/x/page/2", 10, true),
            ("https://a/x", "https://a/x?page=1", 50, true),
            ("https://a/x?limit=50", "https://a/x?limit=50&offset=50", 50, true),
            ("https://a/x?limit=50&offset=50", "https://a/x?limit=50&offset=100", 50, true),
            // A filter of the API, or a page that is short.
            ("https://a/x?limit=50&offset=50", "https://a/x?limit=50&offset=100", 47, true),
            ("https://a/x/page/2", "https://a/x/page/3", 10, true),
            ("https://a/x?limit=50", "https://a/x?limit=50&cursor=cD0yMDI2", 50, false),
            ("https://a/x", "https://a/x?per_page=50&cursor=cD0yMDI2", 50, false),
            ("https://a/x?limit=50", "https://a/x?limit=50&after=83125", 50, false),
            ("https://a/x?after=83125", "https://a/x?after=83190", 50, false),
            ("https://a/x?since=1700000000", "https://a/x?since=1700004711", 50, false),
            ("https://a/x?page=3", "https://a/x?page=2", 50, false),
            ("https://a/v1/x", "https://a/v1/x?token=abc", 50, false),
        ] {
            let [asked, next] = [asked, next].map(|url| Url::parse(url).unwrap());
            assert_eq!(is_counted_on(&asked, &next, came), counts, "{asked} {next}");
        }
    }

    #[test]
    fn a_key_in_a_link_is_not_stored() {
        let mut url = Url::parse("https://a/x?limit=5&access_token=***&after=a%2Cb").unwrap();
        without_secrets(&mut url);
        assert_eq!(url.as_str(), "https://a/x?limit=5&after=a%2Cb");
        let mut url = Url::parse("https://a/x?k=***").unwrap();
        without_secrets(&mut url);
        assert_eq!(url.as_str(), "https://a/x");
    }
}
