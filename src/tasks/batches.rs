//! Owns which slices are read and normalized together.

use std::ops::RangeInclusive;

use sqlx::PgConnection;

use crate::db::run_tasks;
use crate::domain::bloom_filter::SliceOrder;
use crate::domain::run::RunId;
use crate::domain::task::{Rows, TaskPayload};
use crate::sources::{Profile, Source};

/// Chunks whose few rows with repeated keys are normalized in one transaction …
const REPEATS_PER_BATCH: i64 = 128;
/// … and the fewest: such a batch costs about as much as a whole chunk, whose slot it takes.
const FEWEST_REPEATS: i64 = 16;
/// Bytes of several such chunks: 32 of the default size.
const REPEATS_BYTES: i64 = 144 << 20;

/// Slices that follow each other without a gap, as many together as these limits allow: given are their numbers, in
/// order, and their bytes.
pub(super) fn together(
    slices: impl IntoIterator<Item = (i64, i64)>,
    most: i64,
    most_bytes: i64,
) -> Vec<RangeInclusive<i64>> {
    let mut groups: Vec<RangeInclusive<i64>> = Vec::new();
    let mut so_far = 0_i64;
    for (slice, bytes) in slices {
        so_far = so_far.saturating_add(bytes);
        match groups.last_mut() {
            Some(open)
                if slice == open.end() + 1
                    && slice - open.start() < most
                    && so_far <= most_bytes =>
            {
                *open = *open.start()..=slice;
            }
            _ => {
                groups.push(slice..=slice);
                so_far = bytes;
            }
        }
    }
    groups
}

/// The batches of slices whose order is free, now that these are read: their numbers, in order, and their bytes.
pub(super) fn in_any_order(
    slices: impl IntoIterator<Item = (i64, i64)>,
    order: SliceOrder,
    profile: Option<&Profile>,
) -> Vec<TaskPayload> {
    let rows = match order {
        SliceOrder::Distinct => Rows::All,
        SliceOrder::Split => Rows::Single,
        SliceOrder::Ordered => return Vec::new(),
    };
    let (most, bytes) = limits(profile);
    let batch = |slices: RangeInclusive<i64>| batch(*slices.start(), *slices.end(), rows);
    together(slices, most, bytes).into_iter().map(batch).collect()
}

/// The next batch of those that follow each other in order, if its slices are there and no other is
/// under way.
pub(super) async fn next_in_order(
    transaction: &mut PgConnection,
    run: RunId,
    order: SliceOrder,
    source: Option<&dyn Source>,
) -> Result<Option<TaskPayload>, sqlx::Error> {
    let (most, fewest, bytes, rows) = match order {
        SliceOrder::Distinct => return Ok(None),
        SliceOrder::Split => (REPEATS_PER_BATCH, FEWEST_REPEATS, REPEATS_BYTES, Rows::Repeated),
        SliceOrder::Ordered => {
            let (most, bytes) = limits(source.map(Source::profile).as_ref());
            (most, 1, bytes, Rows::All)
        }
    };
    let next = run_tasks::next_batch(transaction, run, most, fewest, bytes).await?;
    Ok(next.map(|(first, last)| batch(first, last, rows)))
}

/// The most slices of a batch, and the most bytes of several.
fn limits(profile: Option<&Profile>) -> (i64, i64) {
    profile.map_or((1, 0), |profile| (profile.slices_per_batch, profile.bytes_per_batch))
}

fn batch(first_slice: i64, last_slice: i64, rows: Rows) -> TaskPayload {
    TaskPayload::NormalizeBatch { first_slice, last_slice, rows }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn slices_are_together_as_far_as_the_limits_go_and_none_is_left_out(
            slices in prop::collection::btree_map(0..60_i64, 0..50_i64, 0..40),
            most in 1..6_i64,
            most_bytes in 0..120_i64,
        ) {
            let groups = together(slices.clone(), most, most_bytes);
            let bytes = |group: &RangeInclusive<i64>| -> i64 {
                slices.range(group.clone()).map(|(_, bytes)| *bytes).sum()
            };
            let all: Vec<_> = groups.iter().cloned().flatten().collect();
            prop_assert_eq!(all, slices.keys().copied().collect::<Vec<_>>());
            for group in &groups {
                let single = group.start() == group.end();
                prop_assert!(single || bytes(group) <= most_bytes, "{groups:?}");
                prop_assert!(group.end() - group.start() < most, "{groups:?}");
            }
            for pair in groups.windows(2) {
                let next = *pair[1].start();
                let apart = next > pair[0].end() + 1 || next - pair[0].start() >= most;
                prop_assert!(apart || bytes(&pair[0]) + slices[&next] > most_bytes, "{groups:?}");
            }
        }
    }
}
