//! Owns noticing that an answer says itself that something is wrong with it, though its status is 200:
//! `{"data": [], "error": "quota exceeded"}`. It would look like an empty day, or like all there is.
//!
//! It looks at what surrounds the records, never into them: a record may well have a field `error`.
//! Many an API has places for errors that are filled on bad days only: null, nothing, zero, `false`, "ok"
//! and their kin are no complaints.

use serde_json::Value;

use super::around::{self, Looks, RecordsPlace, join, plain};
use super::error_words;
use crate::domain::text;

/// How deep values around the records are looked into, as in `meta.status.error_code`.
const MOST_LEVELS: usize = 3;

/// What an answer says is wrong with it, as `` `error`: quota exceeded ``.
pub(super) fn complaint(body: &str, place: &RecordsPlace) -> Option<String> {
    let mut complaints = Complaints::default();
    around::look(body, place, &mut complaints);
    complaints.told()
}

/// What was found around the records.
#[derive(Debug, Default)]
struct Complaints {
    /// Where it says so in its own words, and the words.
    in_words: Option<(String, String)>,
    /// Where it says so by a yes, a no, a state or a number.
    by_sign: Option<(String, String)>,
    /// A number that may be a status, which only a message makes one.
    by_code: Option<(String, String)>,
    /// What a message beside says.
    message: Option<String>,
}

impl Looks for Complaints {
    fn look(&mut self, at: &str, key: &str, value: &Value) {
        self.see(at, key, value, 1);
    }

    /// What is too long to be looked at is no small thing.
    fn skip(&mut self, at: &str, key: &str, json: &str) {
        if is_error_place(&plain(key)) {
            self.in_words.get_or_insert_with(|| (join(at, key), text::beginning(json)));
        }
    }
}

impl Complaints {
    fn told(self) -> Option<String> {
        let message = self.message.map(|message| error_words::shown(&message));
        if let Some((place, words)) = self.in_words {
            return Some(format!(
                "`{}`: {}",
                error_words::shown(&place),
                error_words::shown(&words)
            ));
        }
        let (place, sign) = self.by_sign.or(self.by_code.filter(|_| message.is_some()))?;
        let (place, sign) = (error_words::shown(&place), error_words::shown(&sign));
        Some(match message.filter(|message| *message != sign) {
            Some(message) => format!("`{place}`: {sign}, {message}"),
            None => format!("`{place}`: {sign}"),
        })
    }

    fn see(&mut self, at: &str, key: &str, value: &Value, level: usize) {
        let place = join(at, key);
        let plain = plain(key);
        if is_error_place(&plain) {
            if is_wrong(value) {
                match error_words::words_in(value) {
                    Some(words) => self.in_words.get_or_insert((place, words)),
                    None => self.by_sign.get_or_insert((place, value.to_string())),
                };
            }
            return;
        }
        let sign = || (place.clone(), error_words::text_of(value));
        match plain.as_str() {
            "success" | "ok" | "succeeded" | "successful" | "issuccess" | "issuccessful"
            | "isok"
                if says(value, false) =>
            {
                self.by_sign.get_or_insert_with(sign);
            }
            "failed" | "failure" | "haserror" | "haserrors" | "iserror" | "timedout"
            | "incompleteresults"
                if value.as_bool() == Some(true) || value.as_str() == Some("true") =>
            {
                self.by_sign.get_or_insert_with(sign);
            }
            "status" | "result" | "responsestatus" | "outcome" | "statustext" | "statusmessage"
                if is_bad_state(value) || plain == "status" && is_bad_status(value) =>
            {
                self.by_sign.get_or_insert_with(sign);
            }
            "statuscode" | "httpstatus" | "httpcode" | "httpstatuscode" | "responsecode"
                if is_bad_status(value) =>
            {
                self.by_sign.get_or_insert_with(sign);
            }
            "code" if value.is_number() && is_bad_status(value) => {
                self.by_code.get_or_insert_with(sign);
            }
            // World Bank.
            "message" if value.as_array().is_some_and(|list| list.iter().any(Value::is_object)) => {
                if let Some(words) = error_words::words_in(value) {
                    self.in_words.get_or_insert((place, words));
                }
            }
            "message" | "msg" | "detail" | "reason" | "messages" if is_wrong(value) => {
                self.message = self.message.take().or_else(|| error_words::words_in(value));
            }
            // Elasticsearch: a part of the index was not searched.
            "shards" if value.get("failed").and_then(Value::as_u64).is_some_and(|n| n > 0) => {
                let words = value.get("failures").and_then(error_words::words_in);
                let words = words.unwrap_or_else(|| value["failed"].to_string());
                self.in_words.get_or_insert((join(&place, "failed"), words));
            }
            "status" | "meta" | "metadata" | "header" | "responseheader" | "responsestatus"
            | "responsemetadata" | "info"
                if level < MOST_LEVELS =>
            {
                for (name, value) in value.as_object().into_iter().flatten() {
                    self.see(&place, name, value, level + 1);
                }
            }
            _ => {}
        }
    }
}

/// Whether a key holds errors and nothing else.
fn is_error_place(plain: &str) -> bool {
    matches!(
        plain,
        "error"
            | "errors"
            | "errormessage"
            | "errormessages"
            | "errormsg"
            | "errmsg"
            | "errordescription"
            | "errordetail"
            | "errordetails"
            | "errorcode"
            | "errcode"
            | "errno"
            | "fault"
            | "faultstring"
            | "exception"
    )
}

/// Whether the value in a place for errors is one.
fn is_wrong(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(said) => *said,
        // A margin of error is a fraction.
        Value::Number(number) => {
            number.as_i64().is_some_and(|n| n != 0 && !(200..300).contains(&n))
        }
        Value::String(text) => !is_good(text),
        Value::Array(errors) => errors.iter().any(is_wrong),
        Value::Object(fields) => {
            let all_is_well = |(key, value): (&String, &Value)| {
                let is_code = matches!(plain(key).as_str(), "code" | "errorcode" | "status");
                is_code && (number(value) == Some(0) || number(value) == Some(200))
            };
            !fields.iter().any(all_is_well) && fields.values().any(is_wrong)
        }
    }
}

/// Words for "all is well" in places for errors.
fn is_good(text: &str) -> bool {
    let text = text.trim();
    text.is_empty()
        || matches!(
            plain(text).as_str(),
            "none"
                | "null"
                | "nil"
                | "undefined"
                | "na"
                | "no"
                | "false"
                | "0"
                | "00"
                | "000"
                | "0000"
                | "200"
                | "ok"
                | "okay"
                | "success"
                | "successful"
                | "succeeded"
                | "noerror"
                | "noerrors"
                | "nothing"
        )
}

fn is_bad_state(value: &Value) -> bool {
    match value {
        Value::Bool(said) => !said,
        Value::String(text) => matches!(
            plain(text).as_str(),
            "error"
                | "errors"
                | "err"
                | "fail"
                | "failed"
                | "failure"
                | "failing"
                | "fatal"
                | "ko"
                | "notok"
                | "nok"
                | "partial"
                | "partially"
                | "partialsuccess"
                | "partialfailure"
                | "partialcontent"
                | "partialresults"
                | "incomplete"
                | "timeout"
                | "timedout"
                | "unavailable"
                | "denied"
                | "unauthorized"
                | "forbidden"
                | "ratelimited"
                | "throttled"
                | "quotaexceeded"
                | "overquerylimit"
                | "overdailylimit"
                | "requestdenied"
                | "invalidrequest"
                | "unknownerror"
                | "maxelementsexceeded"
        ),
        _ => false,
    }
}

/// Whether a number is an HTTP status that is an error.
fn is_bad_status(value: &Value) -> bool {
    number(value).is_some_and(|status| (400..600).contains(&status))
}

fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
}

/// Whether a truth value says this, also as APIs without a type for it spell it.
fn says(value: &Value, said: bool) -> bool {
    match value {
        Value::Bool(found) => *found == said,
        Value::Number(found) => found.as_u64() == Some(u64::from(said)),
        Value::String(text) => {
            let words = if said { ["true", "yes", "1"] } else { ["false", "no", "0"] };
            words.iter().any(|word| text.trim().eq_ignore_ascii_case(word))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::data_selector::DataSelector;
    use super::*;

    fn said(selector: &str, body: &str) -> Option<String> {
        complaint(body, &DataSelector::new(selector).unwrap().place)
    }

    /// The answers of real APIs, cut to what matters: what is wrong, and the same API on a good day.
    #[test]
    fn real_apis_say_that_something_is_wrong_and_that_nothing_is() {
        #[rustfmt::skip]
        let answers = [
            ("a quota", "$.data[*]", r#"{"data":[],"error":"quota exceeded","status":"error"}"#,
                "`error`: quota exceeded", r#"{"data":[],"error":null,"status":"ok"}"#),
            ("a part", "$.data[*]", r#"{"data":[{},{},{}],"errors":[{"message":"timeout"}],"status":"partial"}"#,
                "`errors`: timeout", r#"{"data":[{}],"errors":[],"status":"success"}"#),
            ("GraphQL", "$.data.products.nodes[*]", r#"{"data":{"products":{"nodes":[{}]}},"errors":[{"message":"Timeout on `price`","path":["products"],"extensions":{"code":"TIMEOUT"}},{"message":"x"}]}"#,
                "`errors`: Timeout on `price`", r#"{"data":{"products":{"nodes":[{}]}},"extensions":{"cost":{}}}"#),
            ("JSON:API", "$.data[*]", r#"{"data":[],"errors":[{"status":"422","title":"Invalid","detail":"no such filter"}]}"#,
                "`errors`: no such filter", r#"{"data":[{}],"meta":{"status":"200"}}"#),
            ("Slack", "$.members[*]", r#"{"ok":false,"error":"invalid_auth","members":[]}"#,
                "`error`: invalid_auth", r#"{"ok":true,"members":[{}],"error":""}"#),
            ("CoinMarketCap", "$.data[*]", r#"{"status":{"error_code":1008,"error_message":"rate limit"},"data":[]}"#,
                "`status.error_message`: rate limit", r#"{"status":{"error_code":0,"error_message":null,"notice":null},"data":[{}]}"#),
            ("Google Maps", "$.results[*]", r#"{"results":[],"status":"OVER_QUERY_LIMIT"}"#,
                "`status`: OVER_QUERY_LIMIT", r#"{"results":[],"status":"ZERO_RESULTS"}"#),
            ("Google", "$.items[*]", r#"{"items":[],"error":{"code":403,"message":"Daily Limit","errors":[{"reason":"x"}]}}"#,
                "`error`: Daily Limit", r#"{"items":[{}],"error":{"code":0,"message":"fine"}}"#),
            ("a no", "$.result[*]", r#"{"success":false,"result":[],"message":"bad key"}"#,
                "`success`: false, bad key", r#"{"success":true,"result":[],"message":"OK"}"#),
            ("Cloudflare", "$.result[*]", r#"{"success":false,"errors":[{"code":7003,"message":"Could not route"}],"result":[]}"#,
                "`errors`: Could not route", r#"{"success":true,"errors":[],"messages":[],"result":[]}"#),
            ("truth as text", "$.data[*]", r#"{"success":"false","data":[]}"#,
                "`success`: false", r#"{"success":"true","error":"none","data":[]}"#),
            ("a status in the body", "$.data[*]", r#"{"status":500,"data":[]}"#,
                "`status`: 500", r#"{"status":200,"code":200,"data":[]}"#),
            ("a code with a message", "$.data[*]", r#"{"code":429,"msg":"slow down","data":[]}"#,
                "`code`: 429, slow down", r#"{"code":441,"data":[]}"#),
            ("a code without words", "$.data[*]", r#"{"error_code":17,"data":[]}"#,
                "`error_code`: 17", r#"{"error_code":"0","data":[]}"#),
            ("World Bank", "$[1][*]", r#"[{"message":[{"id":"120","key":"Invalid value","value":"not valid"}]}]"#,
                "`[0].message`: not valid", r#"[{"page":1,"pages":1},[{}]]"#),
            ("Elasticsearch", "$.hits.hits[*]", r#"{"timed_out":false,"_shards":{"total":5,"failed":1,"failures":[{"reason":{"reason":"shard is away"}}]},"hits":{"hits":[]}}"#,
                "`_shards.failed`: shard is away", r#"{"timed_out":false,"_shards":{"total":5,"failed":0},"hits":{"hits":[]}}"#),
            ("Elasticsearch that ran out of time", "$.hits.hits[*]", r#"{"timed_out":true,"hits":{"hits":[{}]}}"#,
                "`timed_out`: true", r#"{"timed_out":false,"hits":{"hits":[{}]}}"#),
            ("GitHub's search", "$.items[*]", r#"{"incomplete_results":true,"items":[{}]}"#,
                "`incomplete_results`: true", r#"{"incomplete_results":false,"items":[{}]}"#),
            ("PHP", "$.data[*]", r#"{"status":false,"message":"no credit","data":[]}"#,
                "`status`: false, no credit", r#"{"status":true,"message":"no credit","data":[]}"#),
            ("Jira", "$.issues[*]", r#"{"errorMessages":["The value is gone"],"issues":[]}"#,
                "`errorMessages`: The value is gone", r#"{"errorMessages":[],"errors":{},"issues":[]}"#),
            ("further in", "$.response.docs[*]", r#"{"response":{"docs":[],"error":true}}"#,
                "`response.error`: true", r#"{"response":{"docs":[],"error":false}}"#),
        ];
        for (name, selector, bad, says, good) in answers {
            assert_eq!(said(selector, bad).as_deref(), Some(says), "{name}");
            assert_eq!(said(selector, good), None, "{name}, on a good day");
        }
    }

    #[test]
    fn places_for_errors_without_any_are_no_complaints() {
        for nothing in [
            "null",
            "[]",
            "{}",
            "0",
            "false",
            r#""""#,
            r#"" ""#,
            r#""none""#,
            r#""OK""#,
            "0.05",
            "[null]",
        ] {
            for key in ["error", "errors", "error_message"] {
                let body =
                    format!(r#"{{"{key}":{nothing},"items":[{{"error":"mine","ok":false}}]}}"#);
                assert_eq!(said("$.items[*]", &body), None, "{body}");
            }
        }
        for status in
            [r#""ok""#, r#""success""#, "200", r#""active""#, r#""OK""#, "0", "true", "null"]
        {
            let body = format!(r#"{{"status":{status},"items":[]}}"#);
            assert_eq!(said("$.items[*]", &body), None, "{body}");
        }
    }

    #[test]
    fn what_an_answer_that_is_the_record_says_is_a_value() {
        let one = r#"{"id":7,"status":"failed","error":"card declined"}"#;
        assert_eq!(said("$", one), None);
        assert_eq!(said("$[*]", &format!("[{one}]")), None);
        assert_eq!(said("$.data", &format!(r#"{{"data":{one},"status":"ok"}}"#)), None);
    }

    #[test]
    fn words_of_an_api_are_cut_and_escaped() {
        let long = "x\\u001b[31m\\n".repeat(9_000);
        for errors in [format!("\"{long}\""), format!(r#"[{{"message":"{long}"}}]"#)] {
            let told = said("$.data[*]", &format!(r#"{{"errors":{errors},"data":[]}}"#)).unwrap();
            assert!(told.len() < 1_500 && told.starts_with("`errors`: "), "{}", told.len());
            assert!(!told.contains(['\u{1b}', '\n']), "{told}");
        }
    }
}
