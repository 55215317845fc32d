//! A vendor's files in a bucket, on an SFTP server and behind a web server that leads on to another host; and a price
//! list that is a workbook on a web server.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use kasparro::db::runs::Run;
use kasparro::domain::run::{Mode, RunStatus};
use kasparro::sources::Access;
use kasparro::tasks::start_run::RunRequest;
use russh::keys::ssh_key::LineEnding;

use super::{Shared, example};
use crate::app::{TestApp, request};
use crate::bucket::{Bucket, KEY, SECRET, etag, respond};
use crate::file_formats::{archive, gzip};
use crate::raw_api::{Asked, RawApi, Reply};
use crate::sftp_server::{Server, key};

const RECORDS: &str =
    "select concat_ws(' ', external_id, name, price) from unified_records order by external_id";
/// `acme:vendor-pw`.
const BASIC: &str = "Basic YWNtZTp2ZW5kb3ItcHc=";

fn online() -> RunRequest<'static> {
    RunRequest { access: Access::Network, ..request(Mode::Incremental) }
}

/// A file of a web server, which tells by its ETag whether it has changed.
fn served(asked: &Asked, body: &[u8]) -> Reply {
    let etag = etag(body);
    let known = format!("ETag: {etag}");
    if asked.header("if-none-match") == etag {
        return respond("304 Not Modified", &[known], b"");
    }
    let when = "Last-Modified: Sun, 01 Dec 2024 10:00:00 GMT".to_owned();
    respond("200 OK", &[known, when], body)
}

/// Rows as the vendor writes them.
fn table(name: &str, rows: &[(&str, &str, &str)]) -> Vec<u8> {
    let rows: String =
        rows.iter().map(|(id, name, price)| format!("{id};{name};{price}\n")).collect();
    let text = format!("Artikelnummer;{name};Preis\n{rows}");
    encoding_rs::SHIFT_JIS.encode(&text).0.into_owned()
}

/// The vendor's three places, and the host that one of them leads to.
struct Vendor {
    app: TestApp,
    bucket: Shared<Bucket>,
    archive: Shared<Vec<u8>>,
    sftp: Server,
    web: RawApi,
    cdn: RawApi,
    _s3: RawApi,
}

impl Vendor {
    async fn start() -> Self {
        let mut objects = BTreeMap::new();
        for (name, rows) in [
            ("2026/a.csv.gz", &[("A1", "表示", "1,50"), ("A2", "能|力", "0,10")][..]),
            ("2026/b.csv.gz", &[("A3", "ソ", "3")]),
            ("c.csv.gz", &[("A4", "d", "4"), ("A5", "e", "5")]),
            ("c.csv.gz.tmp", &[("A8", "not yet", "8")]),
        ] {
            objects.insert(format!("products/{name}"), gzip(&table("Bezeichnung", rows)));
        }
        objects.insert("products/readme.txt".to_owned(), b"no table".to_vec());
        let bucket = Shared::new(Bucket { objects, ..Bucket::default() });
        let held = bucket.clone();
        let s3 = RawApi::serve(move |asked| held.with(|held| held.answer(asked))).await;
        let sftp = Server::start().await;
        sftp.does.keys.lock().unwrap().push(key(2).public_key().clone());
        sftp.write("out/e.csv", table("Titel", &[("A6", "f", "6")]));
        // Newer than the one in the bucket.
        sftp.write("out/f.csv", table("Titel", &[("A1", "表示", "9,90")]));
        sftp.write("out/f.csv.part", table("Titel", &[("A9", "not yet", "9")]));
        let archive = Shared::new(zipped("7"));
        let held = archive.clone();
        let cdn = RawApi::serve(move |asked| {
            assert_eq!(asked.header("authorization"), "", "the key is for the vendor alone");
            served(asked, &held.with(|held| held.clone()))
        })
        .await;
        let location = format!("Location: http://{}/latest.zip?sig=S1gnature", cdn.address);
        let web = RawApi::serve(move |asked| match asked.header("authorization") {
            BASIC => respond("302 Found", std::slice::from_ref(&location), b""),
            _ => {
                let header = "WWW-Authenticate: Basic realm=\"vendor\"".to_owned();
                respond("401 Unauthorized", &[header], b"no")
            }
        })
        .await;
        let app = TestApp::empty().await;
        let job = example("vendor_files", "")
            .replace("https://s3.eu-central-1.example", &format!("http://{}", s3.address))
            .replace("sftp://files.vendor.example", &sftp.entry(""))
            .replace("https://vendor.example", &format!("http://{}", web.address))
            .replace("cdn.vendor.example", &cdn.address.to_string())
            .replace("/run/secrets/sftp_key", "secrets/sftp_key")
            .replace("SHA256:Nn4cF3VzvJ0pO4gqPqG1o4mVY8v0k6JtZkq0d8e8m2I", &sftp.fingerprint);
        app.write("vendor_files.toml", job);
        let vendor = Self { app, bucket, archive, sftp, web, cdn, _s3: s3 };
        vendor.credentials();
        vendor
    }

    /// The right ones.
    fn credentials(&self) {
        self.app.write("secrets/S3_KEY", KEY);
        self.app.write("secrets/S3_SECRET", SECRET);
        self.app.write("secrets/VENDOR_PW", "vendor-pw");
        self.app.write("secrets/sftp_key", &*key(2).to_openssh(LineEnding::LF).unwrap());
    }

    async fn run(&self) -> Run {
        self.app.run_as("vendor_files", &online()).await
    }
}

fn zipped(price: &str) -> Vec<u8> {
    let rows = table("Bezeichnung", &[("A7", "g", price)]);
    archive(&[("x/h.csv", &rows), ("read me.txt", b"no table")])
}

#[tokio::test]
async fn the_files_of_three_places_are_one_table_and_only_what_has_changed_is_read_again() {
    let vendor = Vendor::start().await;
    let run = vendor.run().await;
    assert_eq!((run.counters.rows_read, run.counters.quarantined), (8, 0), "{run:?}");
    assert!(run.status.is_success(), "{run:?}");
    let all = ["A1 表示 9.90", "A2 能|力 0.10", "A3 ソ 3", "A4 d 4", "A5 e 5", "A6 f 6", "A7 g 7"];
    assert_eq!(vendor.app.texts(RECORDS).await, all);
    let asked = |bucket: &mut Bucket| (bucket.lists, bucket.gets);
    assert_eq!(vendor.bucket.with(asked), (3, 3), "five keys, two a page");

    // Nothing has changed: lists and conditions say so, and no file is opened.
    let opened = vendor.sftp.does.opened.load(Ordering::SeqCst);
    let run = vendor.run().await;
    assert_eq!((run.status, run.counters.rows_read), (RunStatus::Success, 0), "{run:?}");
    assert_eq!(vendor.bucket.with(asked), (6, 3));
    assert_eq!(vendor.sftp.does.opened.load(Ordering::SeqCst), opened);
    let last = vendor.cdn.asked().pop().expect("a request");
    assert_eq!(last.header("if-none-match"), etag(&zipped("7")));

    // One file of each place is another one now.
    let changed = gzip(&table("Bezeichnung", &[("A3", "ソ", "3,30")]));
    vendor.bucket.with(|held| held.objects.insert("products/2026/b.csv.gz".to_owned(), changed));
    vendor.archive.with(|held| *held = zipped("7,70"));
    vendor.sftp.write("out/e.csv", table("Titel", &[("A6", "f", "6,60"), ("A8", "h", "8")]));
    let run = vendor.run().await;
    assert!(run.status.is_success(), "{run:?}");
    assert_eq!((run.counters.updated, run.counters.inserted), (3, 1), "{run:?}");
    let now = vendor.app.texts(RECORDS).await;
    let changed = ["A3 ソ 3.30", "A6 f 6.60", "A7 g 7.70", "A8 h 8"];
    assert!(changed.iter().all(|record| now.contains(&(*record).to_owned())), "{now:?}");
    assert_eq!(vendor.bucket.with(asked), (9, 4));
    let kept = "select string_agg(url || coalesce(listed::text, ''), ' ') from source_files";
    assert!(!vendor.app.texts(kept).await.concat().contains("S1gnature"));
    vendor.app.database.close().await;
}

#[tokio::test]
async fn who_is_not_let_in_by_one_place_is_told_which_and_nothing_is_taken_for_gone() {
    let vendor = Vendor::start().await;
    vendor.run().await;
    let before = vendor.app.texts(RECORDS).await;
    let other = key(3).to_openssh(LineEnding::LF).unwrap();
    for (name, wrong, says) in [
        ("S3_KEY", "AKIAOTHER", "403"),
        ("S3_SECRET", "0ther-secret-canary", "403"),
        ("VENDOR_PW", "0ther-secret-canary", "401"),
        ("sftp_key", &other, "does not let `acme` in"),
    ] {
        vendor.credentials();
        vendor.app.write(&format!("secrets/{name}"), wrong);
        let run = vendor.run().await;
        assert!(!run.status.is_success(), "{name}: {run:?}");
        let said = format!("{:?} {:?}", run.error, run.stop_reason);
        assert!(said.contains(says), "{name}: {said}");
        assert!(![SECRET, wrong, "vendor-pw"].iter().any(|secret| said.contains(secret)), "{said}");
        assert_eq!(vendor.app.texts(RECORDS).await, before, "{name}");
    }
    vendor.credentials();
    assert!(vendor.run().await.status.is_success());
    assert!(vendor.web.count("/export/latest.zip") > 2);
    vendor.app.database.close().await;
}

/// SKU, product, net price, and a day as a number.
type Price = (&'static str, &'static str, &'static str, u32);

/// A workbook with a title above the table, of these sheets.
fn workbook(sheets: &[(&str, &[Price])]) -> Vec<u8> {
    let text = |at: String, text: &str| {
        format!("<c r=\"{at}\" t=\"inlineStr\"><is><t>{text}</t></is></c>")
    };
    let (mut names, mut relations) = (String::new(), String::new());
    let mut members = vec![
        ("[Content_Types].xml".to_owned(), "<Types/>".to_owned()),
        (
            "xl/styles.xml".to_owned(),
            "<styleSheet><cellXfs><xf numFmtId=\"0\"/><xf numFmtId=\"14\"/></cellXfs></styleSheet>"
                .to_owned(),
        ),
    ];
    let of = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
    for (number, (name, rows)) in sheets.iter().enumerate() {
        names.push_str(&format!("<sheet name=\"{name}\" r:id=\"s{number}\"/>"));
        relations.push_str(&format!(
            "<Relationship Id=\"s{number}\" Type=\"{of}/worksheet\" Target=\"s{number}.xml\"/>"
        ));
        let head = ["sku", "Product", "Net", "From"];
        let head: String = "BCDE"
            .chars()
            .zip(head)
            .map(|(column, name)| text(format!("{column}3"), name))
            .collect();
        let mut xml =
            format!("<row r=\"1\">{}</row><row r=\"3\">{head}</row>", text("B1".into(), "Prices"));
        for (row, (sku, product, net, from)) in (4..).zip(*rows) {
            let cells = [text(format!("B{row}"), sku), text(format!("C{row}"), product)].concat();
            xml.push_str(&format!(
                "<row r=\"{row}\">{cells}<c r=\"D{row}\"><v>{net}</v></c><c r=\"E{row}\" s=\"1\"><v>{from}</v></c></row>"
            ));
        }
        let sheet = format!("<worksheet><sheetData>{xml}</sheetData></worksheet>");
        members.push((format!("xl/s{number}.xml"), sheet));
    }
    relations
        .push_str(&format!("<Relationship Id=\"y\" Type=\"{of}/styles\" Target=\"styles.xml\"/>"));
    members
        .push(("xl/workbook.xml".into(), format!("<workbook><sheets>{names}</sheets></workbook>")));
    members.push((
        "xl/_rels/workbook.xml.rels".into(),
        format!("<Relationships>{relations}</Relationships>"),
    ));
    let members: Vec<_> =
        members.iter().map(|(name, text)| (name.as_str(), text.as_bytes())).collect();
    archive(&members)
}

#[tokio::test]
async fn a_price_list_on_a_web_server_is_read_when_it_is_another_one_and_only_then() {
    let north = |net| [("p-1", "Nut", net, 46_023), ("p-2", "Bolt", "0.1", 46_054)];
    let list = |net| {
        let north = north(net);
        workbook(&[
            ("Prices north", &north),
            ("Prices south", &[("p-3", "Ring", "2", 46_023)]),
            ("Notes", &[("x", "y", "1", 1)]),
        ])
    };
    let file = Shared::new(list("1.50"));
    let held = file.clone();
    let web = RawApi::serve(move |asked| served(asked, &held.with(|held| held.clone()))).await;
    let app = TestApp::empty().await;
    let job = example("price_list", "");
    assert!(job.contains("https://vendor.example/prices.xlsx"), "{job}");
    let address = format!("http://{}", web.address);
    app.write("price_list.toml", job.replace("https://vendor.example", &address));
    let run = app.run_as("price_list", &online()).await;
    assert_eq!((run.status, run.counters.inserted), (RunStatus::Success, 3), "{run:?}");
    let records = "select concat_ws(' ', external_id, name, price, attributes ->> 'valid_from', attributes ->> 'sheet') \
                   from unified_records order by 1";
    assert_eq!(
        app.texts(records).await,
        [
            "p-1 Nut 1.50 2026-01-01 Prices north",
            "p-2 Bolt 0.1 2026-02-01 Prices north",
            "p-3 Ring 2 2026-01-01 Prices south"
        ]
    );
    let run = app.run_as("price_list", &online()).await;
    assert_eq!((run.status, run.counters.rows_read), (RunStatus::Success, 0), "{run:?}");
    assert_eq!(web.asked().last().unwrap().header("if-none-match"), etag(&list("1.50")));
    file.with(|held| *held = list("1.60"));
    let run = app.run_as("price_list", &online()).await;
    assert!(run.status.is_success() && run.counters.updated == 1, "{run:?}");
    app.database.close().await;
}
