//! Owns which headers tell pages apart, and what they say.

use reqwest::header::HeaderMap;
use serde_json::Value;

use super::findings::Findings;
use crate::sources::rest_api::signs::bare_header;

/// The longest header that is looked at.
const MOST_BYTES: usize = 8 << 10;
/// The most of them.
const MOST_HEADERS: usize = 32;

/// The headers of an answer that may tell pages apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PageHeaders(Vec<(String, String)>);

impl PageHeaders {
    /// Those among these.
    pub fn among(headers: &HeaderMap) -> Self {
        let known = headers.iter().filter(|(name, _)| {
            let name = name.as_str();
            matches!(name, "link" | "content-range" | "next-range") || bare_header(name).is_some()
        });
        let readable = known.filter_map(|(name, value)| {
            let value = value.to_str().ok().filter(|value| value.len() <= MOST_BYTES)?;
            Some((name.as_str().to_owned(), value.to_owned()))
        });
        Self(readable.take(MOST_HEADERS).collect())
    }

    /// Notes what they say; answers what shows for certain that there are more pages.
    pub(super) fn look(&self, status: u16, findings: &mut Findings<'_>) -> Option<String> {
        if self.of("link").any(links_to_next) {
            return Some("its header `Link` has rel=\"next\"".to_owned());
        }
        if self.of("next-range").any(|range| !range.trim().is_empty()) {
            return Some("it has a header `Next-Range`".to_owned());
        }
        match self.of("content-range").find_map(Range::of) {
            Some(range) if range.is_last() => findings.says_last(),
            Some(Range { total: Some(total), .. }) => {
                return Some(format!("by its header `Content-Range` there are {total} records"));
            }
            _ if status == 206 => {
                return Some("its status is 206, which is a part only".to_owned());
            }
            _ => {}
        }
        for (name, value) in &self.0 {
            if let Some(bare) = bare_header(name) {
                // Some APIs put all of it into one header, as JSON.
                let json =
                    value.starts_with('{').then(|| serde_json::from_str(value).ok()).flatten();
                let value = json.unwrap_or_else(|| Value::from(value.as_str()));
                findings.look_at_header(&shown(name), bare, &value);
            }
        }
        None
    }

    fn of<'h>(&'h self, header: &'h str) -> impl Iterator<Item = &'h str> {
        self.0.iter().filter(move |(name, _)| name == header).map(|(_, value)| value.as_str())
    }
}

/// A header's name as it is mostly written.
fn shown(name: &str) -> String {
    if name == "x-wp-totalpages" {
        return "X-WP-TotalPages".to_owned();
    }
    let mut upper = true;
    let letters = name.chars().map(|c| {
        let shown = if upper { c.to_ascii_uppercase() } else { c };
        upper = c == '-';
        shown
    });
    letters.collect()
}

/// What `Content-Range` says: `items 0-24/100`.
struct Range {
    end: u64,
    total: Option<u64>,
}

impl Range {
    fn of(header: &str) -> Option<Self> {
        let (unit, range) = header.trim().rsplit_once(' ').unwrap_or(("", header.trim()));
        if unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (range, total) = range.split_once('/')?;
        let end = range.split_once('-')?.1.trim().parse().ok()?;
        Some(Self { end, total: total.trim().parse().ok() })
    }

    /// Whether nothing comes behind it.
    fn is_last(&self) -> bool {
        self.total.is_some_and(|total| self.end.saturating_add(1) >= total)
    }
}

/// Whether a `Link` header (RFC 8288) has a link to the next page.
fn links_to_next(header: &str) -> bool {
    // A comma or a semicolon may be within the brackets of an address, or within quotes.
    let (mut in_address, mut in_quotes) = (false, false);
    let mut links = header.split(|c| {
        match c {
            '<' if !in_quotes => in_address = true,
            '>' if !in_quotes => in_address = false,
            '"' if !in_address => in_quotes = !in_quotes,
            _ => {}
        }
        c == ',' && !in_address && !in_quotes
    });
    links.any(|link| {
        let parameters = link.rsplit_once('>').map_or(link, |(_, parameters)| parameters);
        let value = |name: &str| {
            parameters.split(';').find_map(|parameter| {
                let (key, value) = parameter.split_once('=')?;
                let matches = key.trim().eq_ignore_ascii_case(name);
                matches.then(|| value.trim().trim_matches('"').to_ascii_lowercase())
            })
        };
        let next = value("rel").is_some_and(|rel| rel.split_whitespace().any(|rel| rel == "next"));
        // Sentry links to a next page always, and says whether there is anything on it.
        next && value("results").as_deref() != Some("false")
    })
}
