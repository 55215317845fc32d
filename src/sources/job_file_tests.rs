//! Tests of how bad job files are refused, whatever their kind: each problem with its line and its key.

use std::path::Path;

use proptest::prelude::*;

use super::{AllowedRoots, KINDS, look};
use crate::job_file::{Definition, DefinitionError, load_all};

const CSV: &str = "kind = \"csv\"\nprimary_key = [\"sku\"]\n\n[csv]\npaths = [\"data/*.csv\"]\n\n\
                   [fields]\nname = { column = \"Item\" }\nprice = { type = \"decimal\" }\n";
const API: &str = "kind = \"rest_api\"\nprimary_key = [\"id\"]\n\n[rest_api]\n\
                   base_url = \"https://api.example.com/v1/\"\ndata_selector = \"$.data[*]\"\n\n\
                   [fields]\nname = { from = \"$.name\" }\n";

fn parse(text: &str) -> Result<Definition, DefinitionError> {
    Definition::parse("x".parse().unwrap(), Path::new("x.toml"), text.to_owned(), KINDS)
}

/// The problems of a text: its lines without the name of the file.
fn said(text: &str) -> Vec<String> {
    let error = match parse(text) {
        Ok(definition) => panic!("accepted: {definition:?}"),
        Err(error) => error.to_string(),
    };
    let line = |line: &str| match line.strip_prefix("x.toml:") {
        Some(rest) => rest.to_owned(),
        None => panic!("{line:?} names no file: {error}"),
    };
    error.lines().map(line).collect()
}

/// The same of a good job file with a text in place of another.
fn refused(good: &str, old: &str, new: &str) -> Vec<String> {
    assert!(good.contains(old), "{old}");
    parse(good).expect("the good one is good");
    said(&good.replacen(old, new, 1))
}

#[test]
fn a_key_that_is_there_is_not_said_to_be_missing_when_its_value_or_its_name_is_refused() {
    let of = |address: &str, keys: &str| {
        said(&format!(
            "kind = \"csv\"\nprimary_key = [\"sku\"]\n[files]\npaths = [\"{address}\"]\n{keys}\n[csv]\n[fields]\nname = {{}}\n"
        ))
    };
    const ENV: &str = "{ env = \"KASPARRO_TEST_KEY\" }";
    const HOST: &str = "host_key = \"SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"";
    for (address, keys, key) in [
        (
            "s3://b/a.csv",
            format!("s3 = {{ access_key_id = \"AKIA\", secret_access_key = {ENV} }}"),
            "access_key_id",
        ),
        (
            "s3://b/a.csv",
            format!("s3 = {{ access_key_id = {ENV}, secret_access_key = \"x\" }}"),
            "secret_access_key",
        ),
        (
            "s3://b/a.csv",
            format!("s3 = {{ acces_key_id = {ENV}, secret_access_key = {ENV} }}"),
            "acces_key_id",
        ),
        (
            "sftp://h/a.csv",
            format!("sftp = {{ user = \"me\", password = \"x\", {HOST} }}"),
            "password",
        ),
        (
            "sftp://h/a.csv",
            format!("sftp = {{ user = \"me\", password = {ENV}, host_key = 3 }}"),
            "host_key",
        ),
    ] {
        let said = of(address, &keys);
        assert!(matches!(&said[..], [one] if one.contains(&format!(".{key}: "))), "{said:?}");
    }
    let said = of("s3://b/a.csv", &format!("s3 = {{ secret_access_key = {ENV} }}"));
    assert!(
        said[0].ends_with("files.s3.secret_access_key: has no id: add `access_key_id`"),
        "{said:?}"
    );
}

#[test]
fn each_problem_of_what_is_asked_for_has_its_line_and_its_key() {
    let path = "data_selector = \"$.data[*]\"";
    for (lines, expected) in [
        ("method = \"PUT\"", "6: rest_api.method: unknown word \"PUT\"; known words: GET, POST"),
        (
            "method = \"GET\"\njson = {}",
            "6: rest_api.method: is GET, and a request with `json` is sent by POST: write method = \"POST\"",
        ),
        (
            "json = {}\nform = {}",
            "7: rest_api.form: stands beside `json`, and a request has one body: remove one of them",
        ),
        ("json = 7", "6: rest_api.json: expected a table or a list"),
        (
            "json = { a = [{ day = 2026-11-28 }] }",
            "6: rest_api.json.a[0].day: is a date of TOML, and JSON has none: write it in quotes",
        ),
        (
            "graphql = {}",
            "6: rest_api.graphql: needs `query`, or `query_file` with the name of a file with it",
        ),
        (
            "graphql = { query = \"# x\\nmutation { a }\" }",
            "6: rest_api.graphql.query: begins with `mutation`: only queries are sent, since they are \
             repeated when they fail",
        ),
        (
            "graphql = { query = \"query($x: Int!, $y: Int) { a }\" }",
            "6: rest_api.graphql: needs the variable `x`: give it a value in `variables`",
        ),
        (
            "graphql = { query = \"query($after: ID!) { a }\" }\n\
             paginator = { type = \"cursor\", cursor_path = \"$.c\", variable = \"after\" }",
            "6: rest_api.graphql: needs `after` for the first page already, which has no cursor: write its type \
             without the `!`",
        ),
        (
            "graphql = { query = \"query($after: ID) { a }\" }\n\
             paginator = { type = \"cursor\", cursor_path = \"$.c\", variable = \"cursor\" }",
            "7: rest_api.paginator.variable: is `cursor`, no variable of the query: it declares `$after`",
        ),
        (
            "headers = { Content-Length = \"3\" }",
            "6: rest_api.headers.Content-Length: is written when the request is sent, and one of your own would \
             break it: remove it",
        ),
        (
            "responses = [{ status = 200, action = \"wait\" }]",
            "6: rest_api.responses[0].status: fits every good page: add `header`, `contains` or `where`, which say \
             which of them is meant",
        ),
        (
            "responses = [{ status = 401, action = \"renew\" }]\n\
             auth = { type = \"bearer\", token = { env = \"X\" } }",
            "6: rest_api.responses[0].action: is \"renew\", and there is no token that could be had anew: `auth` \
             needs a table of the type \"oauth2\" or \"login\"",
        ),
        (
            "params = { a = { b = 1 } }",
            "6: rest_api.params.a: expected a text, a number, true/false, or a list of those",
        ),
        (
            "json = { a = [\"${run.di}\"] }",
            "6: rest_api.json.a[0]: names `${run.di}`, which has no value here; did you mean `run.id`?",
        ),
        (
            "headers = { x = \"${run.id\" }",
            "6: rest_api.headers.x: has a `${` without its `}`; for the text `${` write `$${`",
        ),
        (
            "path = \"x/${run.date:%!}\"",
            "6: rest_api.path: has the format `%!`, which is none; it is that of strftime, such as \
             `%Y-%m-%d`, with `%s` and `%Q` for seconds and milliseconds since 1970",
        ),
    ] {
        let lines = format!("{lines}\n{path}");
        assert_eq!(refused(API, path, &lines), [expected], "{lines}");
    }
}

#[test]
fn each_problem_of_incremental_has_its_line_and_its_key() {
    let path = "data_selector = \"$.data[*]\"";
    let key = |key: &str, says: &str| format!("6: rest_api.incremental{key}: {says}");
    for (keys, expected) in [
        (
            "start_param = \"a\"",
            key(
                "",
                "needs `cursor_path`, the value of a record by which the API filters, such as \"$.updated_at\"",
            ),
        ),
        (
            "cursor_path = \"$.at\"",
            key(
                "",
                "asks for nothing: name the query parameter in `start_param`, or write \
                     `${incremental.start}` where the request takes it",
            ),
        ),
        (
            "cursor_path = \"at\", start_param = \"a\"",
            key(".cursor_path", "`at` is no JSONPath: write `$.at`"),
        ),
        (
            "cursor_path = \"$.at\", start_param = \"a\", type = \"moment\"",
            key(
                ".type",
                "unknown word \"moment\"; known words: timestamp, epoch, epoch_ms, integer, date, text",
            ),
        ),
        (
            "cursor_path = \"$.at\", start_param = \"a\", lookback = 10",
            key(".lookback", "expected a duration such as \"10m\", since the cursor is a time"),
        ),
        (
            "cursor_path = \"$.at\", start_param = \"a\", type = \"integer\", settle = \"1m\"",
            key(".settle", "is for times, and the cursor is `type = \"integer\"`"),
        ),
        (
            "cursor_path = \"$.at\", start_param = \"a\", settle = \"99999999d\"",
            key(".settle", "expected 100 years (\"36525d\") at most, found 273785years 27days 18h"),
        ),
        (
            "cursor_path = \"$.at\", start_param = \"a\", type = \"text\", inclusive = false",
            key(".inclusive", "a text has nothing that is one unit less"),
        ),
        (
            "cursor_path = \"$.at\", start_param = \"a\", time_zone = \"Berlin\"",
            key(".time_zone", "`Berlin` is no time zone; expected a name such as `Europe/Berlin`"),
        ),
        (
            "cursor_path = \"$.at\", start_param = \"a\", initial_value = \"soon\"",
            key(".initial_value", "`soon` is no cursor of `type = \"timestamp\"`"),
        ),
    ] {
        let lines = format!("incremental = {{ {keys} }}\n{path}");
        assert_eq!(refused(API, path, &lines), [expected], "{keys}");
    }
    let twice = "params = { a = 1 }\nincremental = { cursor_path = \"$.at\", start_param = \"a\" }";
    assert_eq!(
        refused(API, path, &format!("{twice}\n{path}")),
        ["7: rest_api.incremental.start_param: `a` stands among `params` already: remove it there"]
    );
    let never =
        "params = { a = \"${incremental.start}\" }\nincremental = { cursor_path = \"$.at\" }";
    assert_eq!(
        refused(API, path, &format!("{never}\n{path}")),
        [
            "7: rest_api.incremental: needs `initial_value`, since `${incremental.start}` must have a value in \
          the first run"
        ]
    );
    assert_eq!(
        refused(API, path, &format!("params = {{ a = \"${{incremental.start}}\" }}\n{path}")),
        [
            "6: rest_api.params.a: names `${incremental.start}`, which has no value here; known names: run.id, \
          run.date"
        ]
    );
}

#[test]
fn each_problem_of_a_csv_source_has_its_line_and_its_key() {
    let paths = "paths = [\"data/*.csv\"]";
    for (old, new, expected) in [
        (paths, "paths = []", "5: csv.paths: is empty: name at least one file"),
        (
            paths,
            "paths = [\"a.csv\", \"ftp://example.com/b.csv\"]",
            "5: csv.paths[1]: begins with `ftp://`, and files are read from folders of this machine and \
             from http://, https://, s3://, gs://, az://, sftp://; did you mean sftp://?",
        ),
        (
            paths,
            "paths = [\"~/a.csv\"]",
            "5: csv.paths[0]: `~` is not the home folder here: write the whole path",
        ),
        (paths, "paths = \"a.csv\"", "5: csv.paths: expected a list, found the text \"a.csv\""),
        (paths, "paths = [1]", "5: csv.paths[0]: expected a text, found the number 1"),
        (paths, "path = [\"a\"]", "5: csv.path: unknown key; did you mean `paths`?"),
        (paths, "", "4: csv.paths: missing: write [files] and below it paths = [\"data/*.csv\"]"),
        (
            "[csv]",
            "[files]\npath = [1]\n[csv]",
            "5: files.path: unknown key; did you mean `paths`?",
        ),
        ("[csv]", "[flies]\nx = 1\n[csv]", "4: flies: unknown key; did you mean `files`?"),
        ("[csv]", "[xyz]", "1: csv: missing table with the parameters of kind = \"csv\""),
        (
            paths,
            "paths = [\"a\"]\ndelimiter = \"comma\"",
            "6: csv.delimiter: \"comma\" is a word: write delimiter = \",\"",
        ),
        (
            paths,
            "paths = [\"a\"]\ndelimiter = \"Semicolon\"",
            "6: csv.delimiter: \"Semicolon\" is a word: write delimiter = \";\"",
        ),
        (
            paths,
            "paths = [\"a\"]\ndelimiter = \"pipe\"",
            "6: csv.delimiter: \"pipe\" is a word: write delimiter = \"|\"",
        ),
        (
            paths,
            "paths = [\"a\"]\ndelimiter = \"space\"",
            "6: csv.delimiter: \"space\" is a word: write delimiter = \" \"",
        ),
        (
            paths,
            "paths = [\"a\"]\nquote = \"double\"",
            "6: csv.quote: \"double\" is not usable: give \"auto\", \"none\" or one ASCII character",
        ),
        (
            paths,
            "paths = [\"a\"]\nencoding = \"windows1252\"",
            "6: csv.encoding: \"windows1252\" is unknown; did you mean \"windows-1252\"?",
        ),
        (
            paths,
            "paths = [\"a\"]\nencoding = \"utf-32\"",
            "6: csv.encoding: \"utf-32\" cannot be read: convert the files to UTF-8 first, for \
             example with `iconv -f UTF-32 -t UTF-8`",
        ),
        (
            paths,
            "paths = [\"a\"]\nencoding = \"cp437\"",
            "6: csv.encoding: \"cp437\" is unknown: use \"auto\" (UTF-8), \"windows-1252\", \
             \"latin1\" or another WHATWG label, or convert the files to UTF-8 first with `iconv`",
        ),
        (
            paths,
            "paths = [\"a\"]\nheader = \"yes\"",
            "6: csv.header: expected true, false, \"auto\", or the list of the columns' names",
        ),
        (
            paths,
            "paths = [\"a\"]\nheader = [\"id\", \"name\"]\nheader_rows = 2",
            "7: csv.header_rows: says how many rows the header takes, and csv.header names the columns of files without \
             one: leave it out, and pass over rows above the table with skip_rows",
        ),
        (
            paths,
            "paths = [\"a\"]\nheader_rows = -1",
            "6: csv.header_rows: expected a whole number from 0 to 4294967295, found the number -1",
        ),
        (
            paths,
            "paths = [\"a\"]\nragged_rows = \"fill\"",
            "6: csv.ragged_rows: unknown word \"fill\"; known words: quarantine, pad",
        ),
        (
            "{ column = \"Item\" }",
            "{ from = \"$.item.name\" }",
            "8: fields.name.from: looks into JSON, and this source reads columns: write column = \
             \"name\" instead",
        ),
        (
            "[\"sku\"]",
            "[\"$.sku\"]",
            "2: primary_key[0]: \"$.sku\" looks into JSON, and this source reads columns: write \
             \"sku\"",
        ),
        (
            "[csv]",
            "[rest_api]\nbase_url = \"https://example.com\"\n[csv]",
            "4: rest_api: unknown key; kind = \"csv\" takes its parameters from [csv]",
        ),
        ("\"decimal\"", "3", "9: fields.price.type: expected a word in quotes"),
        (
            "{ type = \"decimal\" }",
            "\"decimal\"",
            "9: fields.price: expected a table, found a text",
        ),
        (
            "column = \"Item\"",
            "colunm = \"Item\"",
            "8: fields.name.colunm: unknown key; did you mean `column`?",
        ),
        (
            "column = \"Item\"",
            "required = \"yes\"",
            "8: fields.name.required: expected true or false, found the text \"yes\"",
        ),
        (
            "type = \"decimal\"",
            "type = \"decimal\", min = [1]",
            "9: fields.price.min: expected text, a number, true or false, found a list",
        ),
    ] {
        assert_eq!(refused(CSV, old, new).first().map(String::as_str), Some(expected), "{new}");
    }
}

#[test]
fn each_problem_of_a_source_of_json_lines_has_its_line_and_its_key() {
    let good = "kind = \"jsonl\"\nprimary_key = [\"id\"]\n[files]\npaths = [\"*.jsonl\"]\n[jsonl]\n\
                max_row_bytes = 9\n[fields]\nname = { from = \"$.n\" }\n";
    for (old, new, expected) in [
        ("= 9", "= 0", "6: jsonl.max_row_bytes: must be 1 to 536870912"),
        ("max_row_bytes", "max_rows_bytes", "6: jsonl.max_rows_bytes: unknown key; did you mean"),
        (
            "paths = [\"*.jsonl\"]",
            "",
            "3: files.paths: missing: write [files] and below it paths = ",
        ),
        (
            "[files]\n",
            "[jsonl.x]\n",
            "1: files.paths: missing: write [files] and below it paths = ",
        ),
        ("[jsonl]", "[csv]", "5: csv: unknown key; kind = \"jsonl\" takes its parameters from"),
        ("from", "column", "8: fields.name.column: is for CSV, and this source reads JSON: write"),
        ("$.n", "$.n[", "8: fields.name.from: "),
        ("\"id\"", "\"a.id\"", "2: primary_key[0]: `a.id` is one key with a dot in its name"),
    ] {
        let said = refused(good, old, new);
        assert!(said.iter().any(|line| line.starts_with(expected)), "{new}: {said:?}");
    }
}

/// What is said of a text in place of the table of a good CSV source.
fn said_of_tables(tables: &str) -> Vec<String> {
    said(&CSV.replacen("[csv]\npaths = [\"data/*.csv\"]\n", tables, 1))
}

#[test]
fn where_files_are_is_said_in_one_table() {
    let missing = "missing: write [files] and below it paths = [\"data/*.csv\"]";
    let twice = "`files.paths` and `csv.paths` both say where the files are: remove one of them";
    for (tables, expected) in [
        ("[files]\n", vec![format!("4: files.paths: {missing}")]),
        ("[csv]\n", vec![format!("4: csv.paths: {missing}")]),
        ("[files]\n[csv]\n", vec![format!("4: files.paths: {missing}")]),
        (
            "[files]\npaths = ['a']\n[csv]\npaths = ['a']\n",
            vec![format!("5: files.paths: {twice}"), format!("7: csv.paths: {twice}")],
        ),
        (
            "[files]\npaths = ['~/a']\n",
            vec![
                "5: files.paths[0]: `~` is not the home folder here: write the whole path"
                    .to_owned(),
            ],
        ),
        (
            "[files]\npaths = 1\n",
            vec!["5: files.paths: expected a list, found the number 1".to_owned()],
        ),
    ] {
        assert_eq!(said_of_tables(tables), expected, "{tables}");
    }
    let api = said(&format!("{API}[files]\npaths = ['a']\n"));
    assert_eq!(api, ["10: files: unknown key; kind = \"rest_api\" reads no files"]);
    let tables = "[files]\npaths = ['a.csv']\n";
    let whole = CSV.replacen("[csv]\npaths = [\"data/*.csv\"]\n", tables, 1);
    parse(&whole).expect("each parameter of CSV may be left out");
    // The definition of a run under way was inspected when it began.
    let kinds = super::kind_names(KINDS);
    Definition::parse("x".parse().unwrap(), Path::new("x.toml"), whole, &kinds).unwrap();
}

#[test]
fn each_problem_of_an_api_has_its_line_and_its_key() {
    let url = "base_url = \"https://api.example.com/v1/\"";
    for (old, new, expected) in [
        (
            url,
            "base_url = \"api.example.com/v1\"",
            "5: rest_api.base_url: is no address: it does not begin with https:// or \
             http://; expected one such as https://api.example.com/v1/",
        ),
        (
            url,
            "base_url = \"ftp://example.com\"",
            "5: rest_api.base_url: begins with `ftp:`; it must be an http or https address, such \
             as https://api.example.com/v1/",
        ),
        (
            url,
            "base_url = \"https://me:c4nary@example.com\"",
            "5: rest_api.base_url: has a user name, a query or a fragment in it; put a key in \
             `rest_api.auth` and query parameters in `rest_api.params`",
        ),
        (
            url,
            "base_url = 3",
            "5: rest_api.base_url: expected a text or { env = \"X\", default = \"…\" }, found the \
             number 3",
        ),
        (
            url,
            "base_url = \"https://example.com\"\npath = \"https://example.com/v1\"",
            "6: rest_api.path: the address belongs into `base_url`; this is what follows it",
        ),
        ("\"$.data[*]\"", "\"$.data[\"", "6: rest_api.data_selector: `$.data[` is no JSONPath:"),
        (
            "{ from = \"$.name\" }",
            "{ column = \"Name\" }",
            "9: fields.name.column: is for CSV, and this source reads JSON: write from = \"Name\" \
             for a key of its records, or a JSONPath such as \"$.name\"",
        ),
        (
            url,
            "base_url = \"https://example.com\"\nauth = \"c4nary\"",
            "6: rest_api.auth: expected a table such as { type = \"bearer\", token = { env = \
             \"NAME_OF_VARIABLE\" } }, or a list of such tables; a secret is never written into a job file",
        ),
        (
            url,
            "base_url = \"https://example.com\"\nauth = { type = \"bearer\", token = \"c4nary\" }",
            "6: rest_api.auth: a secret is never written into a job file: say where it is \
             kept, { env = \"NAME_OF_VARIABLE\" } or { file = \"/run/secrets/name\" }",
        ),
        (
            url,
            "base_url = \"https://example.com\"\nauth = { token = { env = \"X\" } }",
            "6: rest_api.auth.type: missing",
        ),
        (
            url,
            "base_url = \"https://example.com\"\nauth = { type = \"digest\" }",
            "6: rest_api.auth.type: unknown word \"digest\"; known words: api_key, bearer, basic, oauth2, login, hmac",
        ),
        (
            url,
            "base_url = \"https://example.com\"\nheaders = { authorization = \"Bearer c4nary\" }",
            "6: rest_api.headers.authorization: a secret is never written into a job file, where it \
             would be stored and shown: write auth = { type = \"bearer\", token = { env = \
             \"NAME_OF_VARIABLE\" } } instead",
        ),
        (
            url,
            "base_url = \"https://example.com\"\nheaders = { X-Key = \"Basic c4nary\" }",
            "6: rest_api.headers.X-Key: a secret is never written into a job file, where it would be \
             stored and shown: write { env = \"NAME_OF_VARIABLE\" } or { file = \
             \"/run/secrets/name\" } instead",
        ),
        (
            url,
            "base_url = \"https://example.com\"\nheaders = { \"a b\" = \"x\" }",
            "6: rest_api.headers.\"a b\": `a b` cannot be the name of a header",
        ),
        (
            url,
            "base_url = \"https://example.com\"\nparams = { limit = [[1]] }",
            "6: rest_api.params.limit: expected a text, a number, true/false, or a list of those",
        ),
        (
            url,
            "base_url = \"https://example.com\"\npaginator = { type = \"page\" }",
            "6: rest_api.paginator.type: unknown word \"page\"; did you mean `page_number`?",
        ),
        (
            url,
            "base_url = \"https://example.com\"\npaginator = { type = \"page_number\", sise = 3 }",
            "6: rest_api.paginator.sise: unknown key; did you mean `size`?",
        ),
        (
            url,
            "base_url = \"https://example.com\"\npaginator = { type = \"page_number\", \
             size_param = \"n\" }",
            "6: rest_api.paginator: has a `size_param` but no `size`",
        ),
        (
            url,
            "base_url = \"https://example.com\"\npaginator = { type = \"page_number\", size = 0 }",
            "6: rest_api.paginator.size: expected a whole number from 1 on, found 0",
        ),
        (
            url,
            "base_url = \"https://example.com\"\npaginator = { type = \"offset\", size = 0 }",
            "6: rest_api.paginator.size: expected a whole number from 1 on, found 0",
        ),
        (
            "[fields]",
            "[rest_api.paginator]\ntype = \"offset\"\ntotal_pth = \"$.total\"\n\n[fields]",
            "10: rest_api.paginator.total_pth: unknown key; did you mean `total_path`?",
        ),
        (
            "[fields]",
            "[rest_api.paginator]\ntype = \"offset\"\ntotal_path = \"$.total\"\nsize = 0\n\n[fields]",
            "11: rest_api.paginator.size: expected a whole number from 1 on, found 0",
        ),
        (
            "[fields]",
            "[rest_api.paginator]\ntype = \"offset\"\ntotal_path = \"total\"\n\n[fields]",
            "10: rest_api.paginator.total_path: `total` is no JSONPath: parser error; write `$.total`",
        ),
        (
            url,
            "base_url = \"https://example.com\"\npaginator = { type = \"ofset\" }",
            "6: rest_api.paginator.type: unknown word \"ofset\"; did you mean `offset`?",
        ),
        (
            url,
            "base_url = \"https://example.com\"\nauth = { type = \"api_key\", name = \"a b\", \
             value = { env = \"X\" } }",
            "6: rest_api.auth.name: `a b` cannot be the name of a header",
        ),
        (
            url,
            "base_url = \"https://example.com\"\ntimeout = 30",
            "6: rest_api.timeout: expected a time such as \"30s\", \"5m\" or \"90d\", found the \
             number 30",
        ),
        (
            url,
            "base_url = \"https://example.com\"\ntimeout = \"soon\"",
            "6: rest_api.timeout: expected a time such as \"30s\", \"5m\" or \"90d\", found the text \
             \"soon\"",
        ),
        (
            url,
            "base_url = \"https://example.com\"\ntimeout = \"0s\"",
            "6: rest_api.timeout: is no time at all",
        ),
        (
            url,
            "base_url = \"https://example.com\"\nretry = { max_attempts = 0 }",
            "6: rest_api.retry.max_attempts: expected a whole number from 1 to 4294967295, found the \
             number 0",
        ),
    ] {
        let found = refused(API, old, new);
        assert!(found[0].starts_with(expected), "{new}:\n{}\n{expected}", found[0]);
        assert!(!found.iter().any(|line| line.contains("c4nary")), "{found:?}");
    }
}

#[test]
fn what_is_no_toml_is_refused_with_its_line_and_what_was_probably_meant() {
    for (line, expected) in [
        ("description = Products", "not TOML: string values must be quoted"),
        ("description = Products", "put the text in quotes: \"…\""),
        ("description: \"x\"", "write `=` between a key and its value, not `:`"),
        ("description = “Products”", "typographic quotes: write \" or '"),
        ("description = \"Products", "with the quote that it begins with"),
        ("description = 'Products", "with the quote that it begins with"),
        ("description = \"a\\b\\c\"", "a backslash begins an escape"),
        ("- description", "this looks like YAML"),
        ("description = \u{a0}\"x\"", "an invisible character"),
        ("description =", "not TOML: "),
    ] {
        let found = said(&format!("# A job file\n{line}\n{CSV}"));
        assert!(found[0].starts_with("2: "), "{line}: {found:?}");
        assert!(found[0].contains(expected), "{line}: {found:?}");
    }
    assert_eq!(
        said(&format!("{CSV}[csv]\ndelimiter = ','\n"))[0].split(": ").nth(1),
        Some("csv"),
        "a table that stands there twice"
    );
    let twice = said(&CSV.replacen("[csv]", "kind = 'csv'\n[csv]", 1));
    assert_eq!(twice, ["4: kind: is in the file twice: remove one, or put both into one table"]);
    let json = said("{ \"kind\": \"csv\" }");
    assert!(json[0].starts_with("1: not TOML") && json[0].contains("JSON"), "{json:?}");
    let several = said("kind = csv\ndescription = x y\nprimary_key = [id]\n");
    assert_eq!(several.len(), 3, "{several:?}");
}

#[test]
fn an_empty_job_file_is_told_what_the_least_is() {
    for text in ["", "\n\n", "# nothing yet\n"] {
        let found = said(text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("kind") && found[0].contains("job-schema"), "{found:?}");
    }
    assert_eq!(
        said("description = 'x'\n"),
        [
            "1: kind: missing",
            "1: primary_key: missing: the source fields that tell rows apart, for example \
             primary_key = [\"id\"]",
        ]
    );
}

#[test]
fn everything_that_is_wrong_is_said_at_once_whatever_part_of_the_file_it_is_in() {
    let found = said(
        "kind = 'csv'\ndescripton = 'x'\nschedule = 'daily'\nprimary_key = ['$.id']\n[csv]\n\
         paths = ['ftps://example.com/a.csv']\ndelimiter = 'comma'\nencodng = 'x'\n\
         [fields]\nname = { from = '$.n' }\nprice = { typ = 'text', min = 'x' }\n\
         [contract]\nnew_field = 'stop'\n",
    );
    let places: Vec<_> = found
        .iter()
        .map(|line| line.splitn(3, ": ").take(2).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        places,
        [
            "2 descripton",
            "3 schedule",
            "4 primary_key[0]",
            "6 csv.paths[0]",
            "7 csv.delimiter",
            "8 csv.encodng",
            "10 fields.name.from",
            "11 fields.price.typ",
            "13 contract.new_field",
        ],
        "{found:#?}"
    );
}

/// Without the words of the libraries beneath.
#[test]
fn no_message_speaks_of_types_of_the_program() {
    for (good, old) in [(CSV, "paths = [\"data/*.csv\"]"), (API, "data_selector = \"$.data[*]\"")] {
        let table = if good == CSV { "csv" } else { "rest_api" };
        for key in [
            "paths",
            "delimiter",
            "header",
            "header_rows",
            "null_values",
            "ragged_rows",
            "chunk_size",
            "base_url",
            "path",
            "params",
            "headers",
            "auth",
            "paginator",
            "rate_limit",
            "responses",
            "retry",
            "timeout",
            "max_response_bytes",
            "allowed_hosts",
            "recording",
            "data_selector",
        ] {
            for value in ["true", "-1", "1.5", "'x'", "[[]]", "{ x = 1 }", "1979-05-27", "''"] {
                let text = good.replacen(old, &format!("{key} = {value}"), 1);
                let Err(error) = parse(&text) else { continue };
                let shown = error.to_string();
                for word in
                    ["struct ", "enum ", "variant", "invalid type", "sequence", " u32", "a map"]
                {
                    assert!(!shown.contains(word), "[{table}] {key} = {value}: {shown}");
                }
            }
        }
    }
}

#[test]
fn what_is_not_there_on_this_machine_is_a_warning_and_what_may_not_be_read_a_problem() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    std::fs::create_dir_all(folder.path().join("jobs/rec")).unwrap();
    write("outside.csv", "sku\n1\n");
    write("jobs/rec/page-0001.json", "{\"data\": [\"a\", \"b\"]}");
    write(
        "jobs/files.toml",
        &CSV.replacen("\"data/*.csv\"", "\"data/*.csv\", \"rec\", \"../outside.csv\"", 1),
    );
    let more = "data_selector = \"$.data[*]\"\nrecording = \"rec\"\nparams = { api_key = \"x\" }\n\
                headers = { X-Api-Token = \"x\" }\n\
                auth = { type = \"bearer\", token = { env = \"KASPARRO_TEST_NEVER_SET\" } }";
    write("jobs/one.toml", &API.replacen("data_selector = \"$.data[*]\"", more, 1));
    write(
        "jobs/two.toml",
        &API.replacen(
            "data_selector = \"$.data[*]\"",
            "recording = \"none\"\nauth = { type = \"bearer\", token = { file = \"no-key\" } }",
            1,
        ),
    );
    let jobs = folder.path().join("jobs");
    let mut said = Vec::new();
    for definition in load_all(&jobs, KINDS).unwrap() {
        let definition = definition.unwrap();
        let (problems, warnings) = look(&definition, &AllowedRoots::default()).unwrap();
        let all = definition.warnings.iter().chain(&warnings).map(|found| ("warning", found));
        for (what, found) in problems.iter().map(|found| ("problem", found)).chain(all) {
            let text = found.to_string().replace(&folder.path().display().to_string(), "…");
            said.push(format!("{} {what} {}: {text}", definition.source, found.line));
        }
    }
    for (said, expected) in said.iter().zip([
        "files problem 5: csv.paths[2]: …/jobs/../outside.csv, which leads to …/outside.csv, is ou",
        "files warning 5: csv.paths[0]: there is no file …/jobs/data/*.csv; paths are relative t",
        "files warning 5: csv.paths[1]: is a folder; its files are \"rec/*.csv\"",
        "one warning 9: rest_api.headers.X-Api-Token: looks like a secret, and what stands here",
        "one warning 8: rest_api.params.api_key: looks like a secret, and what stands here is s",
        "one warning 10: rest_api.auth.token: the environment variable KASPARRO_TEST_NEVER_SET is",
        "one warning 6: rest_api.data_selector: finds values that are no objects in the recorded",
        "two warning 7: rest_api.auth.token: the file …/jobs/no-key does not exist: create it wi",
        "two warning 6: rest_api.recording: there is no recording in …/jobs/none, so `--offline`",
    ]) {
        assert!(said.starts_with(expected), "{said}");
    }
    assert_eq!(said.len(), 9, "{said:#?}");
}

#[test]
fn a_job_file_without_fields_is_warned_of() {
    let (without, _) = CSV.split_once("[fields]").unwrap();
    let warnings = parse(without).unwrap().warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].to_string().contains("records get a key and no values"), "{warnings:?}");
    assert!(parse(CSV).unwrap().warnings.is_empty());
}

#[test]
fn a_field_that_is_called_almost_like_a_column_is_asked_about() {
    let warned = |name: &str| {
        let text = CSV.replacen("name = {", &format!("{name} = {{"), 1);
        let warnings = parse(&text).unwrap().warnings;
        warnings.iter().map(|found| format!("{}: {found}", found.line)).collect::<Vec<_>>()
    };
    for (name, column) in [
        ("Name", "name"),
        ("prize", "price"),
        ("quantiy", "quantity"),
        ("Source-Updated_At", "source_updated_at"),
    ] {
        let [warning] = &warned(name)[..] else { panic!("{name}: {:?}", warned(name)) };
        assert!(warning.contains(&format!("fields.{name}: is no column")), "{warning}");
        assert!(warning.contains(&format!("did you mean the column `{column}`?")), "{warning}");
        assert!(warning.starts_with("8: "), "{warning}");
    }
    for name in ["name", "names", "brand", "unit_price", "updated_at", "link"] {
        assert!(warned(name).is_empty(), "{:?}", warned(name));
    }
}

#[test]
fn a_key_in_place_of_a_selector_is_answered_with_the_selector() {
    let said = refused(API, "\"$.data[*]\"", "\"items\"");
    assert!(said[0].starts_with("6: rest_api.data_selector: `items` is no JSONPath: "), "{said:?}");
    assert!(said[0].ends_with("; write `$.items[*]` for the list under that key"), "{said:?}");
}

#[test]
fn what_a_pattern_leads_to_and_a_run_leaves_out_is_a_warning() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir_all(data.join("x.csv")).unwrap();
    std::fs::write(data.join("a.csv"), "sku,Item,price\n1,a,1\n").unwrap();
    let latin = std::ffi::OsStr::from_bytes(b"M\xe4rz.csv");
    std::fs::write(data.join(latin), "sku,Item,price\n2,a,1\n").unwrap();
    std::os::unix::fs::symlink("/proc/kmsg", data.join("k.csv")).unwrap();
    std::os::unix::fs::symlink(".", data.join("up0")).unwrap();
    std::os::unix::fs::symlink(".", data.join("up1")).unwrap();
    let said = |pattern: &str| {
        let text = CSV.replacen("data/*.csv", pattern, 1);
        std::fs::write(folder.path().join("files.toml"), text).unwrap();
        let definition = load_all(folder.path(), KINDS).unwrap().remove(0).unwrap();
        let (problems, warnings) = look(&definition, &AllowedRoots::default()).unwrap();
        assert!(problems.is_empty(), "{problems:?}");
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let expected = [
        "csv.paths[0]: data/M\\xe4rz.csv: its name is not UTF-8",
        "csv.paths[0]: data/k.csv leads to /proc/kmsg, which is outside the folders",
        "csv.paths[0]: data/x.csv is a folder; its files are not read unless csv.paths leads",
    ];
    let warnings = said("data/*.csv");
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    assert!(warnings.iter().zip(expected).all(|(said, start)| said.starts_with(start)));
    assert_eq!(said("data/**/*.csv").len(), 2);
}

proptest! {
    /// Whatever is broken, the message names the file, a line of it, and a key or that it is no TOML.
    #[test]
    fn any_slip_of_the_pen_is_refused_with_a_line_and_a_key(
        api: bool,
        at in 0..200_usize,
        length in 0..12_usize,
        new in "[ \\[\\]{}=.\"'$a-z0-9\\n]{0,4}",
    ) {
        let good = if api { API } else { CSV };
        let (at, end) = (at.min(good.len()), (at + length).min(good.len()));
        let text = format!("{}{new}{}", &good[..at], &good[end..]);
        if let Err(error) = parse(&text) {
            let DefinitionError::Invalid { problems, .. } = &error else { panic!("{error}") };
            prop_assert!(!problems.is_empty());
            let lines = text.matches('\n').count() + 1;
            for problem in problems {
                prop_assert!((1..=lines).contains(&problem.line), "{problem:?}");
                let says = &problem.message;
                prop_assert!(
                    !problem.keys.is_empty()
                        || says.starts_with("not TOML")
                        || says.starts_with("the job file is empty"),
                    "{problem:?}"
                );
            }
        }
    }
}

#[test]
#[rustfmt::skip]
fn a_rule_for_responses_that_cannot_be_meant_is_refused_with_its_line_and_key() {
    let selector = "data_selector = \"$.data[*]\"";
    for (rule, expected) in [
        (r#"action = "end""#,
            r#"8: rest_api.responses[0]: fits every answer: add `status`, `header`, `contains` or `where`"#),
        (r#"status = 404, action = "stop""#,
            r#"8: rest_api.responses[0].action: unknown word "stop"; known words: fail, retry, wait, end, ignore, skip_parent, renew"#),
        (r#"status = 99, action = "end""#,
            r#"8: rest_api.responses[0].status: `99` is no HTTP status from 200 to 599; expected for example 404, "4xx" or "500-599""#),
        (r#"status = [404, "4x"], action = "end""#,
            r#"8: rest_api.responses[0].status: `4x` is no HTTP status from 200 to 599; expected for example 404, "4xx" or "500-599""#),
        (r#"status = true, action = "end""#,
            r#"8: rest_api.responses[0].status: expected a status such as 404, "4xx" or "500-599", or a list of them, found true"#),
        (r#"where = "error", action = "end""#,
            r#"8: rest_api.responses[0].where: `error` is no JSONPath: parser error"#),
        (r#"status = 404, action = "end", wait = "2s""#,
            r#"8: rest_api.responses[0].wait: says how long, which goes with `action = "wait"` only"#),
        (r#"status = 404, action = "wait", wait = 2"#,
            r#"8: rest_api.responses[0].wait: expected a time such as "30s", "5m" or "90d", found the number 2"#),
        (r#"status = 404, acton = "wait""#,
            r#"8: rest_api.responses[0].acton: unknown key; did you mean `action`?"#),
    ] {
        let text = format!("{selector}\nresponses = [\n{{ {rule} }}]");
        assert_eq!(refused(API, selector, &text)[0], expected, "{rule}");
    }
}
