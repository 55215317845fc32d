//! Owns the rate limits that workers share: how much is left of each, and changing one while runs are under way.

use std::time::Duration;

use chrono::{DateTime, Utc};
use poem::web::Data;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use serde::Deserialize;

use crate::api::http::json_body::JsonBody;
use crate::api::http::problem::{Declares, Kind, Problem, Refusal};
use crate::api::openapi::tags::Tag;
use crate::api::state::ApiState;
use crate::db::rate_limits::{self, Bucket, Change, Limit};
use crate::domain::actor::Actor;

/// The most buckets that are listed: as many as job files have keys.
const MOST: i64 = 10_000;

/// How often the API of one or several sources may be asked.
#[derive(Debug, Object)]
pub(crate) struct RateLimit {
    /// `rate_limit.key` of the job files, or `source:NAME` of a source without one.
    pub(crate) key: String,
    /// Requests per period, as the job file that asked last says; null when it sets no limit.
    #[oai(nullable)]
    pub(crate) requests: Option<u32>,
    /// The period in seconds.
    #[oai(nullable)]
    pub(crate) per_seconds: Option<f64>,
    /// What is in force instead; null when the job file decides.
    #[oai(nullable)]
    pub(crate) changed: Option<RateLimitChange>,
    /// Requests that may be made now; null without a limit.
    #[oai(nullable)]
    pub(crate) tokens: Option<f64>,
    /// Until when nobody asks, because the API said so; null when it did not.
    #[oai(nullable)]
    pub(crate) blocked_until: Option<DateTime<Utc>>,
    /// How many requests are left, as the API said last; null when it says no such thing.
    #[oai(nullable)]
    pub(crate) remaining: Option<i64>,
    /// When there are more, as it said.
    #[oai(nullable)]
    pub(crate) reset_at: Option<DateTime<Utc>>,
    /// When it said so.
    #[oai(nullable)]
    pub(crate) told_at: Option<DateTime<Utc>>,
}

/// A limit that is in force instead of the job file's.
#[derive(Debug, Object)]
pub(crate) struct RateLimitChange {
    /// Requests per period.
    pub(crate) requests: u32,
    /// The period in seconds.
    pub(crate) per_seconds: f64,
    /// Until when; null until it is taken back.
    #[oai(nullable)]
    pub(crate) until: Option<DateTime<Utc>>,
    /// Who set it: `token:ID (NAME)`, `address:IP` or `cli:USER`.
    pub(crate) changed_by: String,
    /// When.
    pub(crate) changed_at: DateTime<Utc>,
}

/// Every rate limit.
#[derive(Debug, Object)]
struct RateLimits {
    /// In the order of keys.
    items: Vec<RateLimit>,
}

/// What to change; at least one thing.
#[derive(Debug, Default, Deserialize, Object)]
#[serde(default, deny_unknown_fields)]
#[oai(example)]
struct PatchRateLimit {
    /// Requests per period, together with `per_seconds`.
    #[oai(nullable, validator(minimum(value = "1")))]
    requests: Option<u32>,
    /// The period in seconds, from 0.001 to 31536000.
    #[oai(nullable, validator(minimum(value = "0.001"), maximum(value = "31536000")))]
    per_seconds: Option<f64>,
    /// Until when, with `requests`; without it until it is taken back.
    #[oai(nullable)]
    until: Option<DateTime<Utc>>,
    /// Whether the job file decides again.
    #[oai(nullable)]
    back_to_job_file: Option<bool>,
    /// Whether requests go out again although the API asked to wait.
    #[oai(nullable)]
    unblock: Option<bool>,
}

/// `GET /rate-limits`
struct ListRateLimits;
impl Declares for ListRateLimits {
    const KINDS: &'static [Kind] = &[];
}

/// `PATCH /rate-limits/{key}`
struct ChangeRateLimit;
impl Declares for ChangeRateLimit {
    const KINDS: &'static [Kind] = &[
        Kind::InvalidParameter,
        Kind::MalformedBody,
        Kind::UnknownRateLimit,
        Kind::BodyTooLarge,
        Kind::UnsupportedMediaType,
        Kind::InvalidRequest,
    ];
}

/// The operations on rate limits.
pub(crate) struct RateLimitsApi;

#[OpenApi(tag = "Tag::Operations")]
impl RateLimitsApi {
    /// List rate limits
    ///
    /// Those that a request has drawn from, or of which an API said something.
    #[oai(path = "/rate-limits", method = "get", operation_id = "list_rate_limits")]
    async fn list(
        &self,
        state: Data<&ApiState>,
    ) -> Result<Json<RateLimits>, Refusal<ListRateLimits>> {
        let mut connection = state.connection().await?;
        let buckets = rate_limits::list(&mut *connection, None, None, MOST).await?;
        Ok(Json(RateLimits { items: buckets.into_iter().map(RateLimit::from).collect() }))
    }

    /// Change a rate limit
    ///
    /// For all workers, from their next request on; job files stay as they are. A limit of a source that has none
    /// is set the same way.
    #[oai(path = "/rate-limits/:key", method = "patch", operation_id = "change_rate_limit")]
    async fn change(
        &self,
        state: Data<&ApiState>,
        actor: Data<&Actor>,
        /// The limit's key, percent-encoded.
        key: Path<String>,
        body: JsonBody<PatchRateLimit>,
    ) -> Result<Json<RateLimit>, Refusal<ChangeRateLimit>> {
        let change = body.0.change()?;
        let unknown = || {
            let detail = format!("no request has drawn from a rate limit {:?}", *key);
            Problem::new(Kind::UnknownRateLimit, detail)
        };
        // PostgreSQL's text cannot hold U+0000, and would not even compare with it.
        if key.contains('\0') {
            return Err(unknown().into());
        }
        let mut transaction = state.begin().await?;
        let known = rate_limits::change(&mut *transaction, &key, &change, &actor).await?;
        let bucket = rate_limits::list(&mut *transaction, Some(&key), None, 1).await?;
        transaction.commit().await?;
        let bucket = bucket.into_iter().next().filter(|_| known).ok_or_else(unknown)?;
        Ok(Json(bucket.into()))
    }
}

impl PatchRateLimit {
    fn change(self) -> Result<Change, Problem> {
        let refused = |text: &str| Err(Problem::new(Kind::InvalidRequest, text.to_owned()));
        let limit = match (self.requests, self.per_seconds) {
            (Some(requests), Some(per)) => {
                let per = Duration::try_from_secs_f64(per).unwrap_or_default();
                let range = Duration::from_millis(1)..=Duration::from_secs(31_536_000);
                if requests == 0 || i32::try_from(requests).is_err() {
                    return refused("requests: expected a number from 1 to 2147483647");
                }
                if !range.contains(&per) {
                    return refused("per_seconds: expected a number from 0.001 to 31536000");
                }
                Some(Limit { requests, per })
            }
            (None, None) => None,
            _ => return refused("`requests` and `per_seconds` go together"),
        };
        let unblock = self.unblock.unwrap_or(false);
        let overridden = match (limit, self.until, self.back_to_job_file.unwrap_or(false)) {
            (Some(_), _, true) => {
                return refused("`back_to_job_file` takes a limit back, and `requests` sets one");
            }
            (Some(limit), until, false) => Some(Some((limit, until))),
            (None, Some(_), _) => return refused("`until` needs `requests` and `per_seconds`"),
            (None, None, true) => Some(None),
            (None, None, false) => None,
        };
        if overridden.is_none() && !unblock {
            return refused(
                "nothing to change: send `requests` and `per_seconds`, `back_to_job_file` or `unblock`",
            );
        }
        Ok(Change { overridden, unblock })
    }
}

impl From<Bucket> for RateLimit {
    fn from(bucket: Bucket) -> Self {
        let Bucket { key, declared, overridden, tokens, blocked_until, .. } = bucket;
        Self {
            key,
            requests: declared.map(|limit| limit.requests),
            per_seconds: declared.map(|limit| limit.per.as_secs_f64()),
            changed: overridden.map(|changed| RateLimitChange {
                requests: changed.limit.requests,
                per_seconds: changed.limit.per.as_secs_f64(),
                until: changed.until,
                changed_by: changed.by,
                changed_at: changed.at,
            }),
            tokens,
            blocked_until,
            remaining: bucket.remaining,
            reset_at: bucket.reset_at,
            told_at: bucket.told_at,
        }
    }
}

impl Example for PatchRateLimit {
    fn example() -> Self {
        Self { requests: Some(10), per_seconds: Some(60.0), ..Self::default() }
    }
}
