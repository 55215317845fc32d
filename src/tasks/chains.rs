//! Owns what a run says of how its chains of requests ended.

use sqlx::PgConnection;

use crate::db::run_chains;
use crate::domain::chain_end::ChainEnd;
use crate::domain::number::grouped;
use crate::domain::remark::{Remark, few};
use crate::domain::run::RunId;

/// The most chains that are looked at for what the note says of them.
const MOST: i64 = 100;

/// What there is to say of the chains of a run, of which `incomplete` may lack something.
pub(super) async fn remark(
    transaction: &mut PgConnection,
    run: RunId,
    incomplete: u64,
) -> Result<Option<Remark>, sqlx::Error> {
    let chains = run_chains::list(&mut *transaction, run, MOST).await?;
    Ok(of(chains.into_iter().map(|chain| chain.end), incomplete))
}

/// The same of chains that are at hand.
pub(super) fn of_all(ends: Vec<ChainEnd>) -> Option<Remark> {
    let incomplete = ends.iter().filter(|end| !end.complete).count();
    of(ends, incomplete as u64)
}

fn of(ends: impl IntoIterator<Item = ChainEnd>, incomplete: u64) -> Option<Remark> {
    let told = ends.into_iter().filter(|end| incomplete == 0 || !end.complete);
    let mut notes: Vec<_> = told.filter_map(|end| end.note).collect();
    notes.dedup();
    match incomplete {
        0 if notes.is_empty() => None,
        0 => Some(Remark::note(few(notes))),
        1 => Some(Remark::degrading(few(notes))),
        count => {
            let notes = few(notes);
            Some(Remark::degrading(format!("{} chains of pages: {notes}", grouped(count))))
        }
    }
}
