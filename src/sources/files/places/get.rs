//! Owns what an answer to GET is of a file: all of it or what is behind an offset, of the file that was listed or of
//! another, or that it has not changed.
//!
//! Must not know whose answer it is.

use std::io::{self, Read};
use std::time::SystemTime;

use encoding_rs::Encoding;
use reqwest::Url;
use reqwest::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue,
    IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE, LAST_MODIFIED, RANGE,
};

use super::incoming::Incoming;
use super::{Body, Coded, Listed, OpenedFile};
use crate::domain::text;
use crate::sources::rest_api::file_request::{FileClient, FileRequest, FileResponse, Told};
use crate::sources::{SourceError, SourceErrorKind};

/// Answers of these are understood here.
const EXPECTED: &[u16] = &[304, 412, 416];
/// What gzip begins with.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// What is asked for of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// The file that was listed.
    pub file: &'a Listed,
    /// What is known of it from the last run.
    pub known: Option<&'a Listed>,
    /// Where the bytes are to begin.
    pub from: u64,
    /// Whether the address means the version that was listed and no other.
    pub pinned: bool,
}

impl Asked<'_> {
    /// The headers that say so. Where it cannot be told whether the file is the same, all of it is asked for.
    pub fn conditions(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let mut set = |name, value: String| {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        };
        match (&self.file.etag, self.file.modified) {
            _ if self.pinned => {}
            (Some(etag), _) if is_strong(etag) => set(IF_MATCH, etag.clone()),
            (None, Some(modified)) => set(IF_UNMODIFIED_SINCE, httpdate::fmt_http_date(modified)),
            _ => {}
        }
        if self.from > 0 {
            if self.is_ranged() {
                set(RANGE, format!("bytes={}-", self.from));
            }
            return headers;
        }
        match self.known.map(|known| (&known.etag, known.modified)) {
            Some((Some(etag), _)) => set(IF_NONE_MATCH, etag.clone()),
            Some((None, Some(modified))) => {
                set(IF_MODIFIED_SINCE, httpdate::fmt_http_date(modified))
            }
            Some((None, None)) | None => {}
        }
        headers
    }

    /// Whether what is behind the offset can be asked for alone: nothing of another file must get behind what was read.
    fn is_ranged(&self) -> bool {
        let is_behind_the_end = self.file.size.is_some_and(|size| size <= self.from);
        (self.pinned || has_strong_etag(self.file)) && !is_behind_the_end
    }
}

/// Whether a file has a word that no other bytes have.
pub(super) fn has_strong_etag(file: &Listed) -> bool {
    file.etag.as_deref().is_some_and(is_strong)
}

/// Opens a file by a request that has the conditions of what is asked; `None` when only a part came of what may be another
/// file: then it is to be asked for from its start.
///
/// # Errors
/// When it cannot be had, or is another than was listed.
pub(super) async fn opened(
    client: &FileClient,
    url: &Url,
    request: &FileRequest,
    asked: Asked<'_>,
) -> Result<Option<OpenedFile>, SourceError> {
    let response = client.get(url, request, EXPECTED).await?;
    let name = &asked.file.name;
    match response.status {
        304 if asked.known.is_some() => return Ok(Some(OpenedFile::Unchanged)),
        304 => {
            let message =
                format!("{name} answered 304, although it was not asked whether it has changed");
            return Err(SourceError::new(SourceErrorKind::InvalidResponse, message));
        }
        412 | 416 => return Err(changed(name)),
        _ => {}
    }
    let came = Came::of(&response, asked)?;
    if let Some(known) = asked.known
        && asked.from == 0
        && came.file.etag.as_deref().is_some_and(is_strong)
        && (&came.file.etag, came.file.size) == (&known.etag, known.size)
    {
        // It was asked whether it has changed, and did not look.
        return Ok(Some(OpenedFile::Unchanged));
    }
    if came.from > 0 && !came.is_same {
        return Ok(None);
    }
    let body = body(response, came).await?;
    Ok(Some(OpenedFile::Body(body)))
}

/// What asking for the whole of a file has given.
///
/// # Errors
/// When it is a part all the same.
pub(super) fn whole(opened: Option<OpenedFile>, name: &str) -> Result<OpenedFile, SourceError> {
    opened.ok_or_else(|| {
        let message =
            format!("{name} answered with a part of the file, and was asked for all of it");
        SourceError::new(SourceErrorKind::InvalidResponse, message)
    })
}

/// What an answer says of itself.
struct Came {
    file: Listed,
    from: u64,
    is_gzip: bool,
    is_same: bool,
}

impl Came {
    fn of(response: &FileResponse, asked: Asked<'_>) -> Result<Self, SourceError> {
        let Asked { file, from, .. } = asked;
        let headers = &response.headers;
        let invalid = |what: String| {
            let message = format!("{} answered {what}", file.name);
            SourceError::new(SourceErrorKind::InvalidResponse, message)
        };
        let (begins, size) = match response.status {
            200 => (
                0,
                text_of(headers, CONTENT_LENGTH.as_str()).and_then(|length| length.parse().ok()),
            ),
            206 => {
                let range = text_of(headers, CONTENT_RANGE.as_str()).unwrap_or_default();
                let (begins, ends, size) = range_of(range).ok_or_else(|| {
                    invalid(format!("with the range `{}`, which is none", text::beginning(range)))
                })?;
                if begins != from {
                    return Err(invalid(format!(
                        "with a part from {begins} on, and was asked for one from {from} on"
                    )));
                }
                // What is behind the part nobody would ask for.
                if size.is_none_or(|size| ends.checked_add(1) != Some(size)) {
                    return Err(invalid(format!(
                        "with the part `{}`, which does not reach to the end of the file",
                        text::beginning(range)
                    )));
                }
                (begins, size)
            }
            status => return Err(invalid(format!("{status}, which is no whole file"))),
        };
        let etag = text_of(headers, ETAG.as_str()).map(str::to_owned);
        let modified = text_of(headers, LAST_MODIFIED.as_str());
        let modified = modified.and_then(|time| httpdate::parse_http_date(time).ok());
        refuse_changed(file, size, etag.as_deref(), modified)?;
        let generation = text_of(headers, "x-goog-generation");
        if file.version.as_deref().zip(generation).is_some_and(|(one, other)| one != other) {
            return Err(changed(&file.name));
        }
        let is_same = asked.pinned
            || etag.as_deref().is_some_and(is_strong) && (etag == file.etag || file.etag.is_none());
        let is_gzip = is_gzip(headers).map_err(|other| {
            invalid(format!("in the encoding {other}, which was not asked for"))
        })?;
        // A listing says what it is to be compared with by the next one.
        let is_listed = file.etag.is_some() || file.version.is_some();
        let file = match is_listed {
            true => file.clone(),
            false => Listed { name: file.name.clone(), size, modified, etag, version: None },
        };
        // What came is not what the server keeps: an offset within it is none of what can be asked for.
        let file = if is_gzip && !is_listed { weakened(file) } else { file };
        Ok(Self { file, from: begins, is_gzip, is_same })
    }
}

/// Refuses an answer of another file than was listed.
fn refuse_changed(
    file: &Listed,
    size: Option<u64>,
    etag: Option<&str>,
    modified: Option<SystemTime>,
) -> Result<(), SourceError> {
    let other_size = file.size.zip(size).is_some_and(|(one, other)| one != other);
    let other_etag = match (&file.etag, etag) {
        (Some(one), Some(other)) => opaque(one) != opaque(other),
        // It had one when it was listed.
        (Some(_), None) => false,
        // The version was asked for, and lists know finer times than headers.
        (None, _) if file.version.is_some() => false,
        (None, _) => {
            file.modified.zip(modified).is_some_and(|(one, other)| seconds(one) != seconds(other))
        }
    };
    match other_size || other_etag {
        true => Err(changed(&file.name)),
        false => Ok(()),
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The body of an answer.
async fn body(response: FileResponse, came: Came) -> Result<Body, SourceError> {
    let FileResponse { headers, end_is_told, bytes, told, .. } = response;
    let Came { file, from, is_gzip, is_same } = came;
    let mut incoming = Incoming::of(bytes);
    let beginning = incoming.beginning().await.map_err(&told)?;
    if from == 0 && is_web_page(beginning, &headers, &file.name) {
        let message = format!("{} answered with a web page, which is no file of rows", file.name);
        return Err(SourceError::new(SourceErrorKind::InvalidResponse, message).advise(
            "open the address in a browser: it may ask for a login, which is `files.http.auth`",
        ));
    }
    // Some say that they are packed for their way, and are not.
    let coded = match is_gzip {
        true if from > 0 || beginning.starts_with(&GZIP) => Coded::Gzip,
        true => Coded::SaidOnly,
        false => Coded::Not,
    };
    let bytes = Box::new(Shown { bytes: incoming, told });
    let charset = charset_of(&headers);
    Ok(Body { file, bytes, end_is_told, charset, from, coded, is_same })
}

/// A file of which no part can be asked for.
fn weakened(file: Listed) -> Listed {
    let etag = file.etag.map(|etag| if is_strong(&etag) { format!("W/{etag}") } else { etag });
    Listed { etag, ..file }
}

/// Bytes whose errors are told in other words.
struct Shown {
    bytes: Incoming,
    told: Told,
}

impl Read for Shown {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.bytes.read(buffer).map_err(|error| match error.downcast::<SourceError>() {
            Ok(error) => io::Error::other((self.told)(error)),
            Err(error) => error,
        })
    }
}

/// A file is not the one that was listed. Trying again cannot help.
pub(super) fn changed(name: &str) -> SourceError {
    let message = format!("{name} changed while it was being read");
    SourceError::new(SourceErrorKind::FileChanged, message)
        .advise("the next run reads what it is now")
}

/// Whether a body is packed for its way.
///
/// # Errors
/// What else it is encoded in.
fn is_gzip(headers: &HeaderMap) -> Result<bool, String> {
    let mut gzip = false;
    for value in headers.get_all(CONTENT_ENCODING) {
        let text = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
        for encoding in text.split(',').map(str::trim) {
            match encoding {
                // The second is how it was uploaded, and S3 keeps it.
                "" | "identity" | "aws-chunked" | "none" | "utf-8" => {}
                "gzip" | "x-gzip" => gzip = true,
                other => return Err(text::beginning(other)),
            }
        }
    }
    Ok(gzip)
}

/// The charset of `Content-Type`, if there is such a one.
fn charset_of(headers: &HeaderMap) -> Option<&'static Encoding> {
    let kind = text_of(headers, CONTENT_TYPE.as_str())?;
    let parameters = kind.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let mut charsets = parameters.filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset"));
    let (_, charset) = charsets.next()?;
    Encoding::for_label_no_replacement(charset.trim().trim_matches('"').as_bytes())
}

/// Where a part begins and where it ends, its last byte included, and how long the whole is, of `bytes 10-19/20`.
fn range_of(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, size) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (begins, ends) = range.split_once('-')?;
    Some((begins.trim().parse().ok()?, ends.trim().parse().ok()?, size.trim().parse().ok()))
}

/// Whether equal values of it mean equal bytes.
fn is_strong(etag: &str) -> bool {
    etag.starts_with('"')
}

/// The value itself, whether it is strong or weak.
fn opaque(etag: &str) -> &str {
    etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"')
}

fn text_of<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// Whether a page for people came in place of a file. Some servers say `text/html` of all that they send.
fn is_web_page(beginning: &[u8], headers: &HeaderMap, name: &str) -> bool {
    let is_named = text_of(headers, CONTENT_TYPE.as_str())
        .is_some_and(|kind| kind.to_ascii_lowercase().contains("html"));
    let is_meant =
        [".html", ".htm", ".xhtml"].iter().any(|end| name.to_ascii_lowercase().ends_with(end));
    let text = String::from_utf8_lossy(&beginning[..beginning.len().min(64)]);
    let text = text.trim_start_matches('\u{feff}').trim_start().to_ascii_lowercase();
    is_named && !is_meant && (text.starts_with("<!doctype html") || text.starts_with("<html"))
}
