//! What is remembered of a run that has read everything it asked an API for, in
//! `ingestion_checkpoints.state`: `{"rest": {"request": FINGERPRINT, "watermark": "…", "mapping": FINGERPRINT,
//! "since": "…", "cursor": …, "again": RUN}}`.

use serde_json::{Map, Value, json};

use crate::domain::remark::Remark;
use crate::sources::PlanRequest;

/// What is remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct State {
    /// Fingerprint of what the job file asks for: the address of the first page, without secrets, the
    /// selector, and what an incremental run asks for. Checkpoints of earlier versions may have none.
    pub request: Option<String>,
    /// The watermark of an incremental source, in the words of its kind.
    pub watermark: Option<String>,
    /// Fingerprint of how rows became records. Of a source that reads everything in each run it does not
    /// matter.
    pub mapping: Option<String>,
    /// The lowest start from which any run has read, in the words of the watermark; `None` where one has read
    /// from the beginning, or nobody knows.
    pub since: Option<String>,
    /// The last run that began to read anew what was read before: unless it has ended well, older values may stand where
    /// newer ones were.
    pub again: Option<i64>,
    /// The cursor at which the last chain ended, where the next run goes on at it.
    pub cursor: Option<Value>,
}

impl State {
    /// Reads a checkpoint.
    pub fn of(state: &Value) -> Self {
        let text = |key: &str| state.pointer(&format!("/rest/{key}")).and_then(Value::as_str);
        Self {
            request: text("request").map(str::to_owned),
            watermark: text("watermark").map(str::to_owned),
            mapping: text("mapping").map(str::to_owned),
            since: text("since").map(str::to_owned),
            again: state.pointer("/rest/again").and_then(Value::as_i64),
            cursor: state.pointer("/rest/cursor").filter(|cursor| !cursor.is_null()).cloned(),
        }
    }

    /// The form in the checkpoint.
    pub fn to_json(&self) -> Value {
        let fields = [
            ("request", &self.request),
            ("watermark", &self.watermark),
            ("mapping", &self.mapping),
            ("since", &self.since),
        ];
        let fields = fields
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), Value::from(value.clone()?))));
        let cursor = self.cursor.clone().map(|cursor| ("cursor".to_owned(), cursor));
        let again = self.again.map(|run| ("again".to_owned(), run.into()));
        json!({ "rest": fields.chain(cursor).chain(again).collect::<Map<_, _>>() })
    }

    /// What there is to say when the last good run asked for something else: what only that had brought
    /// stays in the table, and nobody would be told. Checkpoints of earlier versions say nothing.
    pub fn change_since(&self, request: &PlanRequest) -> Option<Remark> {
        let before = Self::of(&request.state).request?;
        let run = request.state_of?;
        (Some(before) != self.request).then(|| {
            Remark::note(format!(
                "the job file asks the API for something else than run {run} did: records that only the \
                 earlier requests brought stay in the table"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::run::{Mode, RunId};
    use crate::sources::Access;

    fn request(state: Value) -> PlanRequest {
        let (mode, state_of) = (Mode::Incremental, Some(RunId(7)));
        let (run, now) = (RunId(8), chrono::Utc::now());
        PlanRequest {
            run,
            now,
            mode,
            access: Access::Network,
            state,
            state_of,
            files: BTreeMap::new(),
            broken_off: None,
            unreadable: BTreeMap::new(),
        }
    }

    #[test]
    fn another_request_than_the_last_good_run_made_is_told() {
        let [one, other] = ["a", "b"].map(|text| State {
            request: Some(text.to_owned()),
            watermark: Some("w".to_owned()),
            ..State::default()
        });
        assert_eq!(State::of(&one.to_json()), one);
        assert_eq!(one.change_since(&request(one.to_json())), None);
        let told = other.change_since(&request(one.to_json())).unwrap();
        assert!(!told.degrades && told.text.contains("run 7"), "{told:?}");
        // An earlier version of kasparro wrote these.
        for state in [Value::Null, json!({ "files": [] })] {
            assert_eq!(one.change_since(&request(state)), None);
        }
    }
}
