//! Owns the rows of a batch in the order of their keys.

use crate::domain::record::RecordBatch;

/// Row indexes by key, equal keys in row order.
pub(super) fn sorted(batch: &RecordBatch) -> Vec<usize> {
    let mut order: Vec<usize> = (0..batch.len()).collect();
    order.sort_by(|a, b| batch.get(*a).external_id().cmp(batch.get(*b).external_id()));
    order
}

/// Groups of equal keys in `order`.
pub(super) fn groups<'a>(
    batch: &'a RecordBatch,
    order: &'a [usize],
) -> impl Iterator<Item = &'a [usize]> {
    order.chunk_by(|a, b| batch.get(*a).external_id() == batch.get(*b).external_id())
}
