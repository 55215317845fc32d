//! What is remembered of a run that has read everything an API has, in `ingestion_checkpoints.state`:
//! `{"rest": {"request": FINGERPRINT}}`.

use serde_json::{Value, json};

use crate::domain::hash::ContentHash;
use crate::domain::remark::Remark;
use crate::sources::PlanRequest;

/// What is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    /// Fingerprint of what the job file asks for: the address of the first page, without secrets, and the
    /// selector.
    pub request: ContentHash,
}

impl State {
    /// The form in the checkpoint.
    pub fn to_json(&self) -> Value {
        json!({ "rest": { "request": self.request.to_string() } })
    }

    /// What there is to say when the last good run asked for something else: what only that had brought
    /// stays in the table, and nobody would be told. Checkpoints of earlier versions say nothing.
    pub fn change_since(&self, request: &PlanRequest) -> Option<Remark> {
        let before = request.state.pointer("/rest/request")?.as_str()?;
        let run = request.state_of?;
        (before != self.request.to_string()).then(|| {
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

    fn request(state: Value) -> PlanRequest {
        let (mode, state_of) = (Mode::Incremental, Some(RunId(7)));
        let (run, now) = (RunId(8), chrono::Utc::now());
        PlanRequest { run, now, mode, state, state_of, files: BTreeMap::new(), broken_off: None }
    }

    #[test]
    fn another_request_than_the_last_good_run_made_is_told() {
        let [one, other] =
            ["a", "b"].map(|text| State { request: ContentHash::of(text.as_bytes()) });
        assert_eq!(one.change_since(&request(one.to_json())), None);
        let told = other.change_since(&request(one.to_json())).unwrap();
        assert!(!told.degrades && told.text.contains("run 7"), "{told:?}");
        // An earlier version of kasparro wrote these.
        for state in [Value::Null, json!({ "files": [] })] {
            assert_eq!(one.change_since(&request(state)), None);
        }
    }
}
