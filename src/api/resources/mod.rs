//! One file a resource: its operations, the views of its objects and the problems it declares. The
//! views are shared with `--json` of the command line.

pub(crate) mod attention;
pub(crate) mod catalog;
mod definitions;
pub(crate) mod drift;
pub(crate) mod export;
pub(crate) mod health;
mod landing;
pub(crate) mod lineage;
#[cfg(feature = "parquet")]
mod parquet_file;
pub(crate) mod pauses;
pub(crate) mod previews;
pub(crate) mod quarantine;
pub(crate) mod rate_limits;
pub(crate) mod records;
pub(crate) mod redrive;
pub(crate) mod run;
pub(crate) mod run_controls;
pub(crate) mod run_events;
pub(crate) mod runs;
pub(crate) mod samples;
pub(crate) mod schemas;
pub(crate) mod sources;
pub(crate) mod start_runs;
pub(crate) mod stats;
pub(crate) mod task;
mod uploads;

use attention::AttentionApi;
use definitions::DefinitionsApi;
use drift::DriftApi;
use export::ExportApi;
use health::HealthApi;
use landing::LandingApi;
use lineage::LineageApi;
use pauses::PausesApi;
use previews::PreviewsApi;
use quarantine::QuarantineApi;
use rate_limits::RateLimitsApi;
use records::RecordsApi;
use redrive::RedriveApi;
use run_controls::RunControlsApi;
use run_events::RunEventsApi;
use runs::RunsApi;
use samples::SamplesApi;
use schemas::SchemasApi;
use sources::SourcesApi;
use stats::StatsApi;
use uploads::UploadsApi;

/// Every resource, in the order of the document. A tuple of poem-openapi holds 16 at most, so they stand
/// in groups.
pub(crate) type Resources = (
    (RunsApi, RunEventsApi, RunControlsApi, SamplesApi),
    (SourcesApi, PausesApi, PreviewsApi, UploadsApi, DefinitionsApi),
    (RecordsApi, LineageApi, ExportApi, QuarantineApi, RedriveApi, SchemasApi, DriftApi),
    (HealthApi, StatsApi, AttentionApi, RateLimitsApi, LandingApi),
);

/// One of each.
pub(crate) const RESOURCES: Resources = (
    (RunsApi, RunEventsApi, RunControlsApi, SamplesApi),
    (SourcesApi, PausesApi, PreviewsApi, UploadsApi, DefinitionsApi),
    (RecordsApi, LineageApi, ExportApi, QuarantineApi, RedriveApi, SchemasApi, DriftApi),
    (HealthApi, StatsApi, AttentionApi, RateLimitsApi, LandingApi),
);
