//! Owns which rows a batch has evaluated that an earlier run had evaluated as well: those that were set
//! aside then and pass now are resolved, and so are reasons that no longer hold.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use sqlx::PgConnection;

use crate::db::quarantined_rows::{self, DefectKey, NewStatus, RowSpan};
use crate::domain::field_name;
use crate::domain::file::ChosenRows;
use crate::domain::forecast::Forecast;
use crate::domain::raw::RawRef;
use crate::domain::reject::{Defect, Reject};
use crate::domain::rejects::Rejects;

/// The rows of kept payloads that were evaluated once more.
#[derive(Debug, Default)]
pub(super) struct EvaluatedRows {
    spans: Vec<(RowSpan, Arc<ChosenRows>)>,
}

impl EvaluatedRows {
    /// Notes that the chosen ones of these rows, both ends included, were evaluated.
    pub fn add(&mut self, raw: RawRef, first: i64, last: i64, chosen: Arc<ChosenRows>) {
        self.spans.push((RowSpan { raw_ref: raw.to_string(), first, last }, chosen));
    }

    /// Updates the status of what was set aside of these rows, but for what `rejects` sets aside again.
    pub async fn update_status(
        &self,
        transaction: &mut PgConnection,
        source: &str,
        rejects: &Rejects,
    ) -> Result<(), sqlx::Error> {
        if self.spans.is_empty() {
            return Ok(());
        }
        let spans: Vec<_> = self.spans.iter().map(|(span, _)| span).collect();
        let known = quarantined_rows::unresolved(&mut *transaction, source, &spans).await?;
        let known = known.into_iter().filter(|defect| self.evaluated(defect));
        let mut resolved: HashSet<DefectKey> = known.collect();
        let redriven: Vec<_> =
            rejects.iter().flat_map(defects).filter_map(|key| resolved.take(&key)).collect();
        let resolved: Vec<_> = resolved.into_iter().collect();
        quarantined_rows::set_status(transaction, source, &redriven, NewStatus::Redriven).await?;
        quarantined_rows::set_status(transaction, source, &resolved, NewStatus::Resolved).await
    }

    /// Counts what would become of what was set aside of these rows. `seen` are the pages that were counted before: one
    /// that came several times is evaluated several times.
    pub async fn forecast(
        &self,
        connection: &mut PgConnection,
        source: &str,
        rejects: impl Iterator<Item = (RawRef, Reject)>,
        (seen, forecast): (&mut HashSet<String>, &mut Forecast),
    ) -> Result<(), sqlx::Error> {
        let again = |span: &RowSpan| seen.contains(&span.raw_ref);
        let spans: Vec<_> =
            self.spans.iter().map(|(span, _)| span).filter(|span| !again(span)).collect();
        if spans.is_empty() {
            return Ok(());
        }
        let known = quarantined_rows::unresolved(&mut *connection, source, &spans).await?;
        let mut known: Vec<DefectKey> =
            known.into_iter().filter(|defect| self.evaluated(defect)).collect();
        let pages = spans.iter().filter(|span| span.last == i64::MAX);
        seen.extend(pages.map(|span| span.raw_ref.clone()));
        if known.is_empty() {
            return Ok(());
        }
        known.sort_by_cached_key(|key| (key.raw_ref.clone(), key.raw_row));
        let wanted: HashSet<&DefectKey> = known.iter().collect();
        let mut messages: HashMap<DefectKey, String> = HashMap::new();
        for (raw, reject) in rejects {
            let said: Vec<_> = reject.kinds().map(|defect| defect.message.clone()).collect();
            let keyed = defects((raw, reject)).into_iter().zip(said);
            messages.extend(keyed.filter(|(key, _)| wanted.contains(key)));
        }
        for key in &known {
            let message = messages.get(key).map(String::as_str);
            forecast.count((&key.field, &key.reason), (&key.raw_ref, key.raw_row), message);
        }
        Ok(())
    }

    fn evaluated(&self, defect: &DefectKey) -> bool {
        self.spans.iter().any(|(span, chosen)| {
            span.raw_ref == defect.raw_ref
                && (span.first..=span.last).contains(&defect.raw_row)
                && chosen.contains(defect.raw_row)
        })
    }
}

/// As they are stored.
fn defects((raw, reject): (RawRef, Reject)) -> Vec<DefectKey> {
    let kept = |field: Option<&str>| field.map(|field| field_name::kept(field).into_owned());
    let key = |defect: &Defect| DefectKey {
        raw_ref: raw.to_string(),
        raw_row: reject.raw_row,
        field: kept(defect.field.as_deref()).unwrap_or_default(),
        reason: defect.reason.as_str().to_owned(),
    };
    reject.kinds().map(key).collect()
}
