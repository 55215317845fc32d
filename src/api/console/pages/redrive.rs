//! Owns the buttons that put rows through again which fail alike: only to see what would pass, or for good.

use poem::web::{Data, Path};
use poem::{Response, handler};

use super::quarantine::group;
use crate::api::console::done::Done;
use crate::api::console::shell::see;
use crate::api::http::problem::Problem;
use crate::api::resources::catalog::Catalog;
use crate::api::resources::redrive::started;
use crate::api::resources::start_runs::begun;
use crate::api::state::ApiState;
use crate::domain::run::Trigger;
use crate::tasks::redrive::RedriveRequest;

/// `POST /ui/quarantine/{fingerprint}/dry-run`
#[handler]
pub(crate) async fn dry_run(
    state: Data<&ApiState>,
    Path(fingerprint): Path<String>,
) -> poem::Result<Response> {
    let run = begin(&state, &fingerprint, true).await?;
    Ok(see(&Done::Started(run).at(&format!("/ui/quarantine/{fingerprint}?dry={run}"))))
}

/// `POST /ui/quarantine/{fingerprint}/redrive`
#[handler]
pub(crate) async fn redrive(
    state: Data<&ApiState>,
    Path(fingerprint): Path<String>,
) -> poem::Result<Response> {
    let run = begin(&state, &fingerprint, false).await?;
    Ok(see(&Done::Started(run).at(&format!("/ui/runs/{run}"))))
}

async fn begin(state: &ApiState, fingerprint: &str, is_dry: bool) -> Result<i64, Problem> {
    let (fingerprint, group) = {
        let mut connection = state.connection().await?;
        group(&mut connection, fingerprint).await?
    };
    let catalog = Catalog::load(&state.jobs).await?;
    let definition = catalog.require(&group.source)?;
    let request = RedriveRequest {
        fingerprint: Some(fingerprint),
        trigger: Trigger::Api,
        idempotency_key: None,
        dry_run: is_dry,
    };
    Ok(begun(&group.source, started(state, definition, request).await?)?.0)
}
