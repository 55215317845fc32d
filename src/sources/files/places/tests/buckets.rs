//! Buckets, of servers that answer as the services do.

use std::io::Write;
use std::path::Path;

use sha2::Digest;

use super::server::{Server, Step, answer};
use super::{body, opened_places, places, read, told};
use crate::domain::upload::UploadOutcome;
use crate::sources::files::places::Listed;
use crate::sources::{SourceErrorKind, Upload};

const SECRET: &str = "s3cr3t-canary-0123456789";

/// A table of S3 whose keys stand in a folder.
pub(super) fn s3(folder: &Path, address: &str, more: &str) -> String {
    let [id, secret] = ["id", "secret"].map(|name| folder.join(name));
    std::fs::write(&id, "AKIAEXAMPLE").unwrap();
    std::fs::write(&secret, SECRET).unwrap();
    format!(
        "s3 = {{ endpoint = {address:?}, access_key_id = {{ file = {id:?} }}, secret_access_key = {{ file = {secret:?} }}\
         {more} }}"
    )
}

fn objects(keys: &[&str], next: Option<&str>) -> Vec<Step> {
    let of = |key: &&str| {
        let key = key.replace('&', "&amp;").replace('<', "&lt;");
        format!(
            "<Contents><Key>{key}</Key><LastModified>2026-11-28T10:00:00.000Z</LastModified><ETag>&quot;e1&quot;</ETag>\
             <Size>4</Size></Contents>"
        )
    };
    let contents: String = keys.iter().map(of).collect();
    let next = next.map_or_else(
        || "<IsTruncated>false</IsTruncated>".to_owned(),
        |next| format!("<IsTruncated>true</IsTruncated><NextContinuationToken>{next}</NextContinuationToken>"),
    );
    answer(
        "200 OK",
        &[],
        format!("<?xml version=\"1.0\"?>\n<ListBucketResult>{next}{contents}</ListBucketResult>"),
    )
}

fn failure(status: &str, code: &str) -> Vec<Step> {
    let body = format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>No. {SECRET}</Message></Error>"
    );
    answer(status, &[], body)
}

async fn list(keys: &str, entry: &str) -> Result<Vec<Listed>, crate::sources::SourceError> {
    let places = places(keys, entry);
    places.of(entry).list(entry).await
}

fn names(listed: &[Listed]) -> Vec<&str> {
    listed.iter().map(|file| file.name.as_str()).collect()
}

#[tokio::test]
async fn a_list_is_read_page_by_page_and_keys_stay_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|head| match head.contains("continuation-token=n%2B1%3D") {
        true => {
            objects(&["in/z.csv", "in/sub/", "in/sub_$folder$", "in/w.csv.part", "in/x.txt"], None)
        }
        false => {
            objects(&["in/a b+c.csv", "in//ä&<.csv", "in/sub/y.csv", "in/.h.csv"], Some("n+1="))
        }
    })
    .await;
    let keys = s3(folder.path(), &server.address, "");
    let listed = list(&keys, "s3://acme/in/**/*.csv").await.unwrap();
    let expected = [
        "s3://acme/in//ä&<.csv",
        "s3://acme/in/a b+c.csv",
        "s3://acme/in/sub/y.csv",
        "s3://acme/in/z.csv",
    ];
    assert_eq!(names(&listed), expected);
    assert_eq!((listed[0].size, listed[0].etag.as_deref()), (Some(4), Some("\"e1\"")));
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    assert!(
        requests[0].starts_with("GET /acme?list-type=2&prefix=in%2F HTTP/1.1\n"),
        "{requests:?}"
    );
    assert!(
        requests[0].contains("authorization: aws4-hmac-sha256 credential=akiaexample/"),
        "{requests:?}"
    );
    // What is excluded by the job file takes the place of what is left out otherwise.
    let keys = format!("exclude = [\"in/sub/**\"]\n{keys}");
    let listed = list(&keys, "s3://acme/in/**").await.unwrap();
    assert_eq!(listed.len(), 6, "{listed:?}");
}

#[tokio::test]
async fn an_object_is_opened_as_it_was_listed_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|head| match () {
        () if !head.contains("if-match: \"e1\"") => {
            failure("412 Precondition Failed", "PreconditionFailed")
        }
        () if head.contains("range: bytes=2-") => {
            answer("206 Partial Content", &["etag: \"e1\"", "content-range: bytes 2-3/4"], "1\n")
        }
        () => answer("200 OK", &["etag: \"e1\""], "a\n1\n"),
    })
    .await;
    let entry = "s3://acme/in/a b+c.csv";
    let places = places(&s3(folder.path(), &server.address, ""), entry);
    let file = Listed {
        name: entry.into(),
        size: Some(4),
        etag: Some("\"e1\"".into()),
        ..Listed::default()
    };
    let whole = body(&places, &file, 0).await.unwrap();
    assert_eq!(whole.file, file);
    assert_eq!(read(whole).await.unwrap(), "a\n1\n");
    let rest = body(&places, &file, 2).await.unwrap();
    assert_eq!((rest.from, read(rest).await.unwrap().as_str()), (2, "1\n"));
    assert!(server.requests()[0].starts_with("GET /acme/in/a%20b%2Bc.csv HTTP/1.1\n"));
    let other = Listed { etag: Some("\"e0\"".into()), ..file.clone() };
    assert_eq!(told(body(&places, &other, 0).await, &[SECRET]).kind, SourceErrorKind::FileChanged);
    let now = chrono::Utc::now();
    assert!(places.of(entry).proves_unchanged(&file, &file, now));
    assert!(!places.of(entry).proves_unchanged(&other, &file, now));
    let longer = Listed { size: Some(5), ..file.clone() };
    assert!(!places.of(entry).proves_unchanged(&longer, &file, now));
    let without = Listed { etag: None, ..file.clone() };
    assert!(!places.of(entry).proves_unchanged(&without, &without, now));
}

#[tokio::test]
async fn a_service_that_ignores_conditions_gives_no_other_object_either() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|_| answer("200 OK", &["etag: \"e2\""], "b\n2\n")).await;
    let places = places(&s3(folder.path(), &server.address, ""), "s3://acme/a.csv");
    let file = Listed {
        name: "s3://acme/a.csv".into(),
        size: Some(4),
        etag: Some("\"e1\"".into()),
        ..Listed::default()
    };
    assert_eq!(told(body(&places, &file, 0).await, &[]).kind, SourceErrorKind::FileChanged);
    let server = Server::start(|_| answer("200 OK", &["x-goog-generation: 8"], "b\n2\n")).await;
    let places =
        super::places(&format!("gs = {{ endpoint = {:?} }}", server.address), "gs://acme/a.csv");
    let file = Listed {
        name: "gs://acme/a.csv".into(),
        size: Some(4),
        version: Some("7".into()),
        ..Listed::default()
    };
    assert_eq!(told(body(&places, &file, 0).await, &[]).kind, SourceErrorKind::FileChanged);
    let same = Listed { version: Some("8".into()), ..file };
    assert_eq!(read(body(&places, &same, 0).await.unwrap()).await.unwrap(), "b\n2\n");
    assert!(
        server.requests()[1]
            .starts_with("GET /storage/v1/b/acme/o/a.csv?alt=media&ifGenerationMatch=8 ")
    );
}

#[tokio::test]
async fn an_object_that_is_stored_packed_is_read_from_its_start() {
    let folder = tempfile::tempdir().unwrap();
    let packed = {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(b"a\n1\n").unwrap();
        encoder.finish().unwrap()
    };
    let length = packed.len();
    let server = Server::start(move |head| match head.contains("range: bytes=2-") {
        true => {
            let range = format!("content-range: bytes 2-{}/{length}", length - 1);
            answer(
                "206 Partial Content",
                &["etag: \"e1\"", "content-encoding: gzip", &range],
                &packed[2..],
            )
        }
        false => answer("200 OK", &["etag: \"e1\"", "content-encoding: gzip"], &packed),
    })
    .await;
    let places = places(&s3(folder.path(), &server.address, ""), "s3://acme/a.csv");
    let name = "s3://acme/a.csv".to_owned();
    let file = Listed {
        name,
        size: Some(length as u64),
        etag: Some("\"e1\"".into()),
        ..Listed::default()
    };
    let body = body(&places, &file, 2).await.unwrap();
    assert_eq!((body.from, &body.file), (0, &file));
    assert_eq!(read(body).await.unwrap(), "a\n1\n");
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_list_is_complete_or_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for (respond, says) in [
        ((|_: &str| objects(&["a.csv"], Some("same"))) as fn(&str) -> Vec<Step>, "in a circle"),
        (
            |head| match head.contains("continuation-token=a") {
                true => objects(&["a.csv"], Some("b")),
                false => objects(&["a.csv"], Some("a")),
            },
            "in a circle",
        ),
        (|_| answer("200 OK", &[], "<ListBucketResult><Contents>"), "ends before its end"),
        (|_| answer("200 OK", &[], "<html></html>"), "cannot be read: it is an element `html`"),
        (
            |_| {
                answer(
                    "200 OK",
                    &[],
                    "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
                )
            },
            "there is more",
        ),
    ] {
        let server = Server::start(respond).await;
        let error =
            told(list(&s3(folder.path(), &server.address, ""), "s3://acme/*.csv").await, &[SECRET]);
        assert_eq!(error.kind, SourceErrorKind::InvalidResponse);
        assert!(error.text().contains(says), "{error}");
    }
}

#[tokio::test]
async fn a_refusal_names_the_file_and_what_to_set_and_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    for (status, code, kind, says) in [
        (
            "403 Forbidden",
            "AccessDenied",
            SourceErrorKind::Forbidden,
            "may s3:ListBucket and s3:GetObject",
        ),
        (
            "403 Forbidden",
            "RequestTimeTooSkewed",
            SourceErrorKind::Forbidden,
            "clock of this machine",
        ),
        (
            "301 Moved Permanently",
            "PermanentRedirect",
            SourceErrorKind::BadRedirect,
            "set `files.s3.region`",
        ),
        (
            "400 Bad Request",
            "AuthorizationHeaderMalformed",
            SourceErrorKind::Rejected,
            "set `files.s3.region`",
        ),
        ("404 Not Found", "NoSuchBucket", SourceErrorKind::NotFound, "NoSuchBucket"),
        ("503 Slow Down", "SlowDown", SourceErrorKind::ServerError, "SlowDown"),
    ] {
        let server = Server::start(move |_| failure(status, code)).await;
        let error = told(
            list(&s3(folder.path(), &server.address, ""), "s3://acme/in/*.csv").await,
            &[SECRET],
        );
        assert_eq!(error.kind, kind, "{code}");
        assert!(error.text().starts_with("the list of s3://acme/in/*.csv answered"), "{error}");
        assert!(error.text().contains(says), "{code}: {error}");
    }
    // Who may read an object may not always list its bucket.
    let server = Server::start(|head| match head.contains("list-type") {
        true => failure("403 Forbidden", "AccessDenied"),
        false => answer("200 OK", &["etag: \"e1\""], "a\n1\n"),
    })
    .await;
    let keys = s3(folder.path(), &server.address, "");
    let listed = list(&keys, "s3://acme/a.csv").await.unwrap();
    assert_eq!(listed, [Listed { name: "s3://acme/a.csv".into(), ..Listed::default() }]);
    let opened = body(&places(&keys, "s3://acme/a.csv"), &listed[0], 0).await.unwrap();
    assert_eq!(opened.file.etag.as_deref(), Some("\"e1\""));
    let error = told(opened_places("s3 = { access_key_id = { env = \"KASPARRO_TEST_NEVER_SET\" }, secret_access_key = { env = \"KASPARRO_TEST_NEVER_SET\" } }", "s3://a/b.csv").map(drop), &[]);
    assert!(error.text().contains("`files.s3.access_key_id` needs"), "{error}");
}

#[tokio::test]
async fn the_list_of_azure_has_no_folders_and_its_signature_is_never_told() {
    let folder = tempfile::tempdir().unwrap();
    let sas = folder.path().join("sas");
    std::fs::write(&sas, format!("?sv=2023-11-03&sr=c&sp=rl&sig={SECRET}")).unwrap();
    let list_of = |next: &str, names: &str| {
        format!(
            "<EnumerationResults><Blobs>{names}</Blobs><NextMarker>{next}</NextMarker></EnumerationResults>"
        )
    };
    let blob = |name: &str, more: &str| {
        format!(
            "<Blob><Name>{name}</Name><Properties><Last-Modified>Sat, 28 Nov 2026 10:00:00 GMT</Last-Modified>\
             <Etag>0x1</Etag><Content-Length>4</Content-Length>{more}</Properties></Blob>"
        )
    };
    let first = list_of("m", &blob("in/a.csv", ""));
    let directory = blob("in/d.csv", "<ResourceType>directory</ResourceType>");
    let second = list_of("", &format!("{directory}{}", blob("in/b.csv", "")));
    let server = Server::start(move |head| match () {
        () if !head.contains(&format!("sig={SECRET}")) => {
            failure("403 Forbidden", "AuthenticationFailed")
        }
        () if head.contains("marker=m") => answer("200 OK", &[], &second),
        () if head.contains("comp=list") => answer("200 OK", &[], &first),
        () => failure("403 Forbidden", "AuthorizationPermissionMismatch"),
    })
    .await;
    let az = |more: &str| {
        format!("az = {{ account = \"acme\", endpoint = \"{}/acme\"{more} }}", server.address)
    };
    let keys = az(&format!(", sas = {{ file = {sas:?} }}"));
    let listed = list(&keys, "az://in/in/*.csv").await.unwrap();
    assert_eq!(names(&listed), ["az://in/in/a.csv", "az://in/in/b.csv"]);
    assert_eq!(listed[0].etag.as_deref(), Some("\"0x1\""));
    assert!(listed[0].modified.is_some());
    assert!(
        server.requests()[0]
            .starts_with("GET /acme/in?restype=container&comp=list&prefix=in%2F&delimiter=%2F&sv=")
    );
    let error = told(body(&places(&keys, "az://in/in/*.csv"), &listed[0], 0).await, &[SECRET]);
    assert!(error.text().starts_with("az://in/in/a.csv answered 403"), "{error}");
    let error = told(list(&az(""), "az://in/in/*.csv").await, &[]);
    assert!(error.text().contains("write `key` or `sas`"), "{error}");
}

#[tokio::test]
async fn the_list_of_google_names_the_generation_of_each_object() {
    let server = Server::start(|head| match head.contains("pageToken=n") {
        true => answer("200 OK", &[], "{}"),
        false => answer(
            "200 OK",
            &[],
            "{\"nextPageToken\": \"n\", \"items\": [{\"name\": \"in/a.csv\", \"size\": \"4\", \"generation\": \"7\", \
             \"updated\": \"2026-11-28T10:00:00.123Z\"}]}",
        ),
    })
    .await;
    let keys = format!("gs = {{ endpoint = {:?} }}", server.address);
    let listed = list(&keys, "gs://acme/**/*.csv").await.unwrap();
    assert_eq!(names(&listed), ["gs://acme/in/a.csv"]);
    assert_eq!((listed[0].version.as_deref(), listed[0].size), (Some("7"), Some(4)));
    let place = places(&keys, "gs://acme/**/*.csv");
    let other = Listed { version: Some("8".into()), ..listed[0].clone() };
    let now = chrono::Utc::now();
    assert!(place.of("gs://acme/x").proves_unchanged(&listed[0], &listed[0], now));
    assert!(!place.of("gs://acme/x").proves_unchanged(&listed[0], &other, now));
}

#[test]
fn what_cannot_be_the_address_of_an_object_is_refused() {
    use crate::sources::files::places::problems::problem;
    for (entry, says) in [
        ("s3://acme", "names no file of the bucket"),
        ("s3:///a.csv", "names no bucket"),
        ("s3://a*/b.csv", "no name"),
        ("gs://key:secret@acme/b.csv", "no name"),
        ("az://acme/[b.csv", "no pattern"),
        ("s3a://acme/b.csv", "write s3://"),
        ("ftp://acme/b.csv", "files are read from"),
        ("file:///a.csv", "write its path alone"),
        ("sftp://me:secret@acme/b.csv", "user name"),
        ("sftp://acme", "names no file"),
        ("ssh://acme/b.csv", "write sftp://"),
        ("https://x.example/*.csv", "no list of its files"),
        ("https://", "no address"),
    ] {
        let problem = problem(entry).unwrap_or_else(|| panic!("{entry} was accepted"));
        assert!(problem.contains(says) && !problem.contains("secret"), "{entry}: {problem}");
    }
    for entry in
        ["data/*.csv", "s3://acme/**", "HTTPS://x.example/a.csv?x=*", "gs://a.b/c d+{e,f}.csv"]
    {
        assert_eq!(problem(entry), None, "{entry}");
    }
}

#[tokio::test]
async fn an_uploaded_file_is_sent_to_each_service_as_that_wants_it() {
    let folder = tempfile::tempdir().unwrap();
    let of = |address: &str| {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"a\n1\n").unwrap();
        Upload {
            address: address.to_owned(),
            file: std::sync::Arc::new(file),
            bytes: 4,
            sha256: sha2::Sha256::digest(b"a\n1\n").into(),
            replace: false,
        }
    };
    let nothing = |body: &'static str| {
        move |head: &str| match head.starts_with("GET") {
            true => answer("200 OK", &[], body),
            false => answer("201 Created", &[], ""),
        }
    };
    let server = Server::start(nothing("<ListBucketResult/>")).await;
    let places_of = places(&s3(folder.path(), &server.address, ""), "s3://acme/in/*");
    let address = "s3://acme/in/a b.csv";
    assert!(places_of.of(address).leads_to("s3://acme/in/*", address).unwrap());
    for other in ["s3://acme/in/x/a.csv", "s3://bcme/in/a.csv", "s3://acme/in/a.csv.part"] {
        assert!(!places_of.of(address).leads_to("s3://acme/in/*", other).unwrap(), "{other}");
    }
    let kept = places_of.of(address).keep(&of(address)).await.unwrap();
    assert_eq!(kept, Some(UploadOutcome::New));
    let put = server.requests()[1].clone();
    // `printf 'a\n1\n' | sha256sum`
    let sent =
        "x-amz-content-sha256: 309b0e45a73d3fc5325e2b6ed0a01ef8b9cde6b05a5633c1f893f970d52bfddc";
    for part in ["content-length: 4", "if-none-match: *", "if-none-match;x-amz", sent] {
        assert!(put.contains(part), "{part}: {put}");
    }
    assert!(put.starts_with("PUT /acme/in/a%20b.csv HTTP/1.1\n"), "{put}");

    let server = Server::start(nothing("{}")).await;
    let gs = format!("gs = {{ endpoint = {:?} }}", server.address);
    let address = "gs://acme/in/a b.csv";
    places(&gs, address).of(address).keep(&of(address)).await.unwrap();
    let put = server.requests()[1].clone();
    let line = "POST /upload/storage/v1/b/acme/o?uploadType=media&name=in%2Fa%20b.csv&ifGenerationMatch=0 HTTP/1.1\n";
    assert!(put.starts_with(line) && put.contains("content-length: 4"), "{put}");

    let list = "<EnumerationResults><Blobs/></EnumerationResults>";
    let server = Server::start(nothing(list)).await;
    let key = folder.path().join("key");
    std::fs::write(&key, "c2VjcmV0").unwrap();
    let az = format!(
        "az = {{ account = \"acme\", endpoint = {:?}, key = {{ file = {key:?} }} }}",
        server.address
    );
    let address = "az://in/a b.csv";
    places(&az, address).of(address).keep(&of(address)).await.unwrap();
    let put = server.requests()[1].clone();
    assert!(put.starts_with("PUT /in/a%20b.csv HTTP/1.1\n"), "{put}");
    for part in
        ["content-length: 4", "if-none-match: *", "x-ms-blob-type: blockblob", "sharedkey acme:"]
    {
        assert!(put.contains(part), "{part}: {put}");
    }
}

#[tokio::test]
async fn a_bucket_that_stops_taking_a_file_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|head| match head.starts_with("GET") {
        true => answer("200 OK", &[], "<ListBucketResult/>"),
        false => vec![Step::Stall],
    })
    .await;
    let keys = s3(folder.path(), &server.address, ", timeout = \"1s\"");
    let address = "s3://acme/a.csv";
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"a\n1\n").unwrap();
    let upload = Upload {
        address: address.to_owned(),
        file: std::sync::Arc::new(file),
        bytes: 4,
        sha256: sha2::Sha256::digest(b"a\n1\n").into(),
        replace: false,
    };
    let kept = places(&keys, address).of(address).keep(&upload).await;
    assert_eq!(told(kept, &[SECRET]).kind, SourceErrorKind::TimedOut);
}
