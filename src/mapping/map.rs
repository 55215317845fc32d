//! Owns mapping one row: it becomes a record or a reject, and is counted as one of them.

use super::compiled::Mapping;
use super::mapped::{Frozen, Mapped, UniqueValue};
use super::row_mapper::{MAX_KEY, RowMapper};
use crate::domain::bloom_filter;
use crate::domain::raw::RawRef;
use crate::domain::reject::{Defect, ReasonCode, Reject};
use crate::values::row::{Row, RowPlace};

impl Mapping {
    /// A hash of the row's `external_id`; `None` when the row has none that could be stored, or one that is its
    /// place, which no other row has. `scratch` is only memory.
    pub fn key_hash(&self, row: &dyn Row, scratch: &mut String) -> Option<u64> {
        scratch.clear();
        self.key.write(Some(row), None, scratch).then(|| bloom_filter::key_hash(scratch))
    }

    /// Whether the key of a row is its place, so that it is known of a row that cannot be read, too.
    pub fn keys_are_places(&self) -> bool {
        self.key.external_id.is_row_number()
    }

    /// Sets a row aside of which no more can be read than perhaps its key.
    pub fn set_aside(
        &self,
        key: Option<&dyn Row>,
        raw: RawRef,
        number: i64,
        out: &mut Mapped,
        reject: Reject,
    ) {
        let place = RowPlace { file: &out.file, number };
        let key = self.key_of(key, place);
        if let (Some(keys), Some(key)) = (&mut out.rejected_keys, &key) {
            keys.push(bloom_filter::key_hash(key));
        }
        out.rejects.push(raw, Reject { key, ..reject });
    }

    /// The key of a row that stands there, if it can be told and stored.
    fn key_of(&self, row: Option<&dyn Row>, place: RowPlace<'_>) -> Option<String> {
        let mut key = String::new();
        let is_told = self.key.write(row, Some(place), &mut key);
        (is_told && key.len() <= MAX_KEY).then_some(key)
    }

    /// The part of the row's key that holds this text, as messages name it.
    pub fn key_part_with<'a>(&'a self, row: &dyn Row, text: &str) -> Option<&'a str> {
        self.key.part_with(row, text)
    }

    /// Maps one row and adds it to `out`, as a record or as the reject that `reject` makes of its
    /// defects (called only when there are any). The caller has called `out.records.enter_raw(raw)`.
    ///
    /// # Errors
    /// When the contract freezes the schema and the row does not fit it.
    pub fn map<R: Row>(
        &self,
        row: &R,
        raw: RawRef,
        raw_row: i64,
        out: &mut Mapped,
        reject: impl FnOnce(Vec<Defect>) -> Reject,
    ) -> Result<(), Frozen> {
        let at = out.records.len() + out.rejects.len();
        out.records.begin();
        let place = RowPlace { file: &out.file, number: raw_row };
        let mut row_mapper = RowMapper::new(self, row, place, &mut out.records, &mut out.gaps);
        let filled = row_mapper.fill();
        let (is_kept_out, is_deleted) = (row_mapper.is_kept_out, row_mapper.is_deleted);
        let (mut defects, unique) = (row_mapper.defects, row_mapper.unique);
        if !self.not_unique.is_empty() {
            defects.extend(self.not_unique.get(&at).into_iter().flatten().cloned());
        }
        if defects.is_empty() && !out.records.has_room() {
            let message = "the records that are written together have more than 1 GiB of text with \
                           this one; make max_response_bytes, the page or chunk_size smaller";
            defects.push(Defect::without_value(None, ReasonCode::TooLong, message));
        }
        if filled.is_ok() && defects.is_empty() {
            let record = out.records.len();
            out.records.commit(raw_row);
            match is_deleted {
                // What is deleted has no values that others could not have.
                true => out.gaps.close_deleted(),
                false => {
                    let of_row = |value| UniqueValue { record, row: at, ..value };
                    out.unique.extend(unique.into_iter().map(of_row));
                    out.gaps.close();
                }
            }
            return Ok(());
        }
        out.records.abandon();
        out.gaps.abandon();
        filled.map_err(|message| Frozen { raw, raw_row, message })?;
        out.kept_out += u64::from(is_kept_out);
        let key = self.key_of(Some(row), place);
        if let (Some(keys), Some(key)) = (&mut out.rejected_keys, &key) {
            keys.push(bloom_filter::key_hash(key));
        }
        out.rejects.push(raw, Reject { key, ..reject(defects) });
        Ok(())
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
