//! A bucket of S3 that looks at signatures.

use std::collections::BTreeMap;

use ring::{digest, hmac};

use crate::raw_api::{Asked, Reply};

pub const KEY: &str = "AKIAEXAMPLE";
pub const SECRET: &str = "s3cr3t/of+the-bucket";

pub fn respond(status: &str, headers: &[String], body: &[u8]) -> Reply {
    let mut head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n");
    for header in headers {
        head.push_str(&format!("{header}\r\n"));
    }
    if !status.starts_with("304") {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    Reply::Whole([head.as_bytes(), b"\r\n", body].concat())
}

pub fn etag(body: &[u8]) -> String {
    format!("\"{}\"", hex(&digest::digest(&digest::SHA256, body).as_ref()[..16]))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A bucket of S3 whose lists have two keys a page.
pub struct Bucket {
    pub objects: BTreeMap<String, Vec<u8>>,
    pub lists: usize,
    pub gets: usize,
    pub puts: usize,
    /// What somebody else sends in front of the next object.
    pub quicker: Option<Vec<u8>>,
    /// Whether it knows `If-None-Match`, which older services do not.
    pub knows_conditions: bool,
}

impl Default for Bucket {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            lists: 0,
            gets: 0,
            puts: 0,
            quicker: None,
            knows_conditions: true,
        }
    }
}

impl Bucket {
    pub fn answer(&mut self, asked: &Asked) -> Reply {
        if let Some(refusal) = refused(asked) {
            return refusal;
        }
        let key = |path: &str| {
            let key = path.strip_prefix("/acme-in/").expect("the bucket");
            percent_encoding::percent_decode_str(key).decode_utf8_lossy().into_owned()
        };
        match (asked.method.as_str(), asked.path()) {
            ("GET", "/acme-in" | "/acme-in/") => self.list(asked),
            ("GET", path) => self.get(asked, &key(path)),
            ("PUT", path) => self.put(asked, key(path)),
            (other, _) => panic!("{other} was not expected"),
        }
    }

    fn list(&mut self, asked: &Asked) -> Reply {
        self.lists += 1;
        let query = asked.target.split_once('?').map_or("", |(_, query)| query);
        let value = |name: &str| {
            let value = query.split('&').find_map(|pair| pair.strip_prefix(name))?;
            let value = percent_encoding::percent_decode_str(value);
            Some(value.decode_utf8_lossy().into_owned())
        };
        assert_eq!(value("list-type=").as_deref(), Some("2"));
        let (prefix, after) = (value("prefix=").unwrap_or_default(), value("continuation-token="));
        let is_behind = |key: &String| after.as_ref().is_none_or(|after| key > after);
        let mut keys = self.objects.iter().filter(|(key, _)| key.starts_with(&prefix));
        let mut rest = keys.by_ref().filter(|(key, _)| is_behind(key)).peekable();
        let mut contents = String::new();
        let mut last = "";
        for (key, body) in rest.by_ref().take(2) {
            let (etag, size) = (etag(body).replace('"', "&quot;"), body.len());
            last = key;
            contents.push_str(&format!(
                "<Contents><Key>{key}</Key><LastModified>2024-11-01T10:00:00.000Z</LastModified><ETag>{etag}</ETag>\
                 <Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            ));
        }
        let more = match rest.peek() {
            Some(_) => format!(
                "<IsTruncated>true</IsTruncated><NextContinuationToken>{last}</NextContinuationToken>"
            ),
            None => "<IsTruncated>false</IsTruncated>".to_owned(),
        };
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult \
             xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>acme-in</Name>{more}{contents}</ListBucketResult>"
        );
        respond("200 OK", &["Content-Type: application/xml".to_owned()], body.as_bytes())
    }

    fn get(&mut self, asked: &Asked, key: &str) -> Reply {
        self.gets += 1;
        let Some(body) = self.objects.get(key) else { return error("404 Not Found", "NoSuchKey") };
        let etag = etag(body);
        if !["", etag.as_str()].contains(&asked.header("if-match")) {
            return error("412 Precondition Failed", "PreconditionFailed");
        }
        respond("200 OK", &[format!("ETag: {etag}")], body)
    }

    fn put(&mut self, asked: &Asked, key: String) -> Reply {
        if let Some(quicker) = self.quicker.take() {
            self.objects.insert(key.clone(), quicker);
        }
        let only_new = asked.header("if-none-match") == "*";
        if only_new && !self.knows_conditions {
            return error("501 Not Implemented", "NotImplemented");
        }
        if only_new && self.objects.contains_key(&key) {
            return error("412 Precondition Failed", "PreconditionFailed");
        }
        let body = asked.body.clone().into_bytes();
        let sha256 = hex(digest::digest(&digest::SHA256, &body).as_ref());
        if asked.header("x-amz-content-sha256") != sha256 {
            return error("400 Bad Request", "XAmzContentSHA256Mismatch");
        }
        self.puts += 1;
        let etag = etag(&body);
        self.objects.insert(key, body);
        respond("200 OK", &[format!("ETag: {etag}")], b"")
    }
}

fn error(status: &str, code: &str) -> Reply {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>No</Message></Error>"
    );
    respond(status, &["Content-Type: application/xml".to_owned()], body.as_bytes())
}

/// What S3 answers to a signature (version 4) of another key than ours.
fn refused(asked: &Asked) -> Option<Reply> {
    let part = |name: &str| {
        let (_, rest) = asked.header("authorization").split_once(name)?;
        rest.split(',').next().map(str::to_owned)
    };
    let scope = part("Credential=").expect("a signed request");
    let Some(scope) = scope.strip_prefix(&format!("{KEY}/")) else {
        return Some(error("403 Forbidden", "InvalidAccessKeyId"));
    };
    let names = part("SignedHeaders=").expect("signed headers");
    let headers = names.split(';').map(|name| format!("{name}:{}\n", asked.header(name)));
    let mut query: Vec<_> =
        asked.target.split_once('?').map_or("", |(_, query)| query).split('&').collect();
    query.sort_unstable();
    let canonical = format!(
        "{}\n{}\n{}\n{}\n{names}\n{}",
        asked.method,
        asked.path(),
        query.join("&"),
        headers.collect::<String>(),
        asked.header("x-amz-content-sha256")
    );
    let hash = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
    let date = asked.header("x-amz-date");
    let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{hash}");
    let sign = |key: &[u8], text: &str| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
    };
    let first = format!("AWS4{SECRET}").into_bytes();
    let key = scope.split('/').fold(first, |key, part| sign(&key, part));
    let is_ours = part("Signature=") == Some(hex(&sign(&key, &to_sign)));
    (!is_ours).then(|| error("403 Forbidden", "SignatureDoesNotMatch"))
}
