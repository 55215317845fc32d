//! Owns the list of what rows are set aside for: what fails alike, and whether it grows. Every filter is in the address.

use std::collections::HashMap;

use askama::Template;
use askama::filters::Safe;
use chrono::{DateTime, Utc};
use poem::web::{Data, Query};
use poem::{Response, handler};
use serde::Deserialize;
use sqlx::PgConnection;

use crate::api::console::charts::day_bars;
use crate::api::console::escape::escaped;
use crate::api::console::html::{Html, ago, number, part};
use crate::api::console::query::{given, word};
use crate::api::console::shell::{Shell, page};
use crate::api::http::problem::{Kind, Problem};
use crate::api::resources::quarantine::{self, RowStatus, hex};
use crate::api::state::ApiState;
use crate::db::clock;
use crate::db::quarantine_totals::{self, GroupFilter, QuarantineGroup};
use crate::domain::reject::{Fingerprint, ReasonCode, what_to_do};
use crate::domain::text;

/// Groups of a page.
const GROUPS: usize = 200;
/// Days that have a bar.
const DAYS: i32 = 14;
/// The longest example in the table, in bytes.
const EXAMPLE: usize = 300;

/// What the address says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct QuarantineQuery {
    source: String,
    reason: String,
    field: String,
}

#[derive(Template)]
#[template(path = "quarantine.html")]
struct QuarantinePage {
    shell: Shell,
    source: String,
    field: String,
    names: Vec<String>,
    reasons: Vec<(&'static str, bool)>,
    is_filtered: bool,
    groups: Vec<GroupRow>,
    rows: String,
    more: bool,
    json: String,
}

struct GroupRow {
    address: String,
    source: String,
    field: String,
    reason: String,
    todo: Option<Html>,
    rows: String,
    last_rows: String,
    last_run: i64,
    first_seen: Html,
    last_seen: Html,
    bars: Html,
    example: String,
}

/// `GET /ui/quarantine`
#[handler]
pub(crate) async fn list(
    shell: Shell,
    state: Data<&ApiState>,
    Query(query): Query<QuarantineQuery>,
) -> poem::Result<Response> {
    let QuarantineQuery { source, reason, field } = &query;
    let reason: Option<ReasonCode> = word("reason", reason)?;
    let filter = GroupFilter {
        source: given("source", source)?,
        reason: reason.map(ReasonCode::as_str),
        field: given("field", field)?,
    };
    let mut connection = state.connection().await.map_err(Problem::from)?;
    let read = async {
        let limit = GROUPS as i64 + 1;
        let groups = quarantine_totals::groups(&mut *connection, filter, limit).await?;
        let now = clock::now(&mut *connection).await?;
        let bars = bars(&mut connection, &groups, now).await?;
        Ok::<_, sqlx::Error>((groups, bars, now))
    };
    let (mut groups, bars, now) = read.await.map_err(Problem::from)?;
    let more = groups.len() > GROUPS;
    groups.truncate(GROUPS);
    let mut json = "/quarantine?group_by=fingerprint".to_owned();
    for (name, value) in [("source", filter.source), ("reason", filter.reason)] {
        if let Some(value) = value {
            json.push_str(&format!("&{name}={}", part(value)));
        }
    }
    let reasons = ReasonCode::ALL.iter().map(|code| (code.as_str(), Some(*code) == reason));
    Ok(page(&QuarantinePage {
        shell: shell.following("quarantine"),
        names: state.jobs.names().unwrap_or_default(),
        reasons: reasons.collect(),
        is_filtered: filter.source.is_some() || filter.field.is_some() || reason.is_some(),
        rows: number(groups.iter().map(|group| group.rows).sum::<i64>()),
        groups: groups
            .iter()
            .zip(bars)
            .map(|(group, bars)| GroupRow::of(group, bars, now))
            .collect(),
        more,
        json,
        source: filter.source.unwrap_or_default().to_owned(),
        field: filter.field.unwrap_or_default().to_owned(),
    }))
}

impl GroupRow {
    fn of(group: &QuarantineGroup, bars: Html, now: DateTime<Utc>) -> Self {
        Self {
            address: format!("/ui/quarantine/{}", hex(&group.fingerprint)),
            source: group.source.clone(),
            field: group.field.clone(),
            reason: group.reason.clone(),
            todo: todo(group),
            rows: number(group.rows),
            last_rows: number(group.last_run_rows),
            last_run: group.last_run_id,
            first_seen: ago(group.first_seen_at, now),
            last_seen: ago(group.last_seen_at, now),
            bars,
            example: text::cut(&group.example, EXAMPLE).into_owned(),
        }
    }
}

/// What to do about rows of a group.
pub(crate) fn todo(group: &QuarantineGroup) -> Option<Html> {
    let reason: ReasonCode = group.reason.parse().ok()?;
    let text = what_to_do(std::iter::once(reason)).replace("SOURCE", &group.source);
    let part = |(at, part): (usize, &str)| match at % 2 {
        0 => escaped(part),
        _ => format!("<code>{}</code>", escaped(part)),
    };
    Some(Safe(text.split('`').enumerate().map(part).collect()))
}

/// The bars of each group: what was found on each of the last days.
///
/// # Errors
/// Database errors.
pub(crate) async fn bars(
    connection: &mut PgConnection,
    groups: &[QuarantineGroup],
    now: DateTime<Utc>,
) -> Result<Vec<Html>, sqlx::Error> {
    let today = now.date_naive();
    let mut days: HashMap<(String, Vec<u8>), Vec<i64>> = HashMap::new();
    for found in quarantine_totals::last_days(connection, groups, DAYS).await? {
        let ago = (today - found.day).num_days();
        let at = usize::try_from(i64::from(DAYS) - 1 - ago).unwrap_or(usize::MAX);
        let of_group = days.entry((found.source, found.fingerprint));
        let of_group = of_group.or_insert_with(|| vec![0; DAYS as usize]);
        if let Some(rows) = of_group.get_mut(at) {
            *rows += found.rows;
        }
    }
    let none = vec![0; DAYS as usize];
    let chart = |group: &QuarantineGroup| {
        let key = (group.source.clone(), group.fingerprint.clone());
        day_bars(days.get(&key).unwrap_or(&none), today)
    };
    Ok(groups.iter().map(chart).collect())
}

/// The group of a fingerprint in an address: one, unless two sources have it by chance; then the one with rows that are
/// there still.
///
/// # Errors
/// A problem when there is none.
pub(crate) async fn group(
    connection: &mut PgConnection,
    fingerprint: &str,
) -> Result<(Fingerprint, QuarantineGroup), Problem> {
    let unknown = || {
        let detail = format!("no row was set aside in the way that {fingerprint} stands for");
        Problem::new(Kind::UnknownPath, detail)
    };
    let hash = quarantine::fingerprint(fingerprint).map_err(|_| unknown())?;
    let groups = quarantine_totals::of_fingerprint(connection, &hash.to_bytes()).await?;
    let group = groups.into_iter().max_by_key(|group| group.rows);
    Ok((hash, group.ok_or_else(unknown)?))
}

/// A status that an address has; nothing is any.
///
/// # Errors
/// A problem when it is none.
pub(crate) fn status_of(text: &str) -> Result<Option<RowStatus>, Problem> {
    word("status", text)
}
