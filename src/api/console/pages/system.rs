//! Owns the page of the machinery: who works, what waits, how often APIs may be asked, tokens, the database.

use askama::Template;
use chrono::{DateTime, Utc};
use poem::web::{Data, Path};
use poem::{Response, handler};

use crate::api::console::done::Done;
use crate::api::console::html::{Html, Tone, ago, badge, bytes, length, number};
use crate::api::console::shell::{Shell, page, see};
use crate::api::http::problem::{Kind, Problem};
use crate::api::state::ApiState;
use crate::db::api_tokens::{self, ApiToken};
use crate::db::clock;
use crate::db::rate_limits::{self, Bucket};
use crate::db::storage::{self, TableSize};
use crate::domain::actor::Actor;
use crate::domain::token::{Scope, TokenId};
use crate::queue::{self, Depth, Worker};

const WORKERS: i64 = 200;
/// More than there are.
const TABLES: i64 = 100;
const LIMITS: i64 = 200;

#[derive(Template)]
#[template(path = "system.html")]
struct System {
    shell: Shell,
    nobody: Html,
    workers: Vec<WorkerRow>,
    queues: Vec<QueueRow>,
    limits: Vec<LimitRow>,
    tokens: Vec<TokenRow>,
    oldest: String,
    tables: Vec<TableRow>,
}

struct WorkerRow {
    name: String,
    queue: String,
    busy: String,
    seen: Html,
}

struct QueueRow {
    name: String,
    due: String,
    delayed: String,
    running: String,
    oldest: Option<Html>,
}

struct LimitRow {
    key: String,
    limit: String,
    tokens: String,
    closed: Option<Html>,
}

struct TokenRow {
    id: String,
    name: String,
    scope: String,
    state: Html,
    is_good: bool,
    used: Option<Html>,
}

struct TableRow {
    name: String,
    size: String,
    dead: String,
}

/// `GET /ui/system`
#[handler]
pub(crate) async fn show(shell: Shell, state: Data<&ApiState>) -> poem::Result<Response> {
    let mut connection = state.connection().await.map_err(Problem::from)?;
    let read = async {
        let now = clock::now(&mut *connection).await?;
        let workers = queue::workers(&mut *connection, WORKERS).await?;
        let queues = queue::depths(&mut *connection).await?;
        let limits = rate_limits::list(&mut *connection, None, None, LIMITS).await?;
        let tokens = api_tokens::list(&mut *connection).await?;
        let oldest = storage::oldest_transaction(&mut *connection).await?;
        let tables = storage::largest_tables(&mut *connection, queue::SCHEMA, TABLES).await?;
        Ok::<_, sqlx::Error>((now, workers, queues, limits, tokens, oldest, tables))
    };
    let (now, workers, queues, limits, tokens, oldest, tables) =
        read.await.map_err(Problem::from)?;
    Ok(page(&System {
        shell: shell.following("system"),
        nobody: badge(Tone::Bad, "no worker lives"),
        workers: workers.into_iter().map(|worker| WorkerRow::of(worker, now)).collect(),
        queues: queues.into_iter().map(|queue| QueueRow::of(queue, now)).collect(),
        limits: limits.into_iter().map(|bucket| LimitRow::of(bucket, now)).collect(),
        tokens: tokens.into_iter().map(|token| TokenRow::of(token, now)).collect(),
        oldest: match oldest {
            Some(since) => format!("The oldest transaction is open for {}.", length(now - since)),
            None => "No transaction is open.".to_owned(),
        },
        tables: tables.into_iter().map(TableRow::of).collect(),
    }))
}

/// `POST /ui/tokens/{id}/revoke`
#[handler]
pub(crate) async fn revoke(
    state: Data<&ApiState>,
    actor: Data<&Actor>,
    Path(id): Path<String>,
) -> poem::Result<Response> {
    let unknown = || Problem::new(Kind::InvalidParameter, format!("there is no token {id}"));
    let token: TokenId = id.parse().map_err(|_| unknown())?;
    let mut connection = state.connection().await.map_err(Problem::from)?;
    match api_tokens::revoke(&mut *connection, &token).await.map_err(Problem::from)? {
        true => {
            tracing::info!(token = %token, actor = %*actor, "a token was revoked in the console");
            Ok(see(&Done::Revoked.at("/ui/system")))
        }
        false => Err(unknown().into()),
    }
}

impl WorkerRow {
    fn of(worker: Worker, now: DateTime<Utc>) -> Self {
        Self {
            name: worker.name,
            queue: worker.queue,
            busy: number(worker.busy),
            seen: ago(worker.last_seen, now),
        }
    }
}

impl QueueRow {
    fn of(queue: Depth, now: DateTime<Utc>) -> Self {
        Self {
            name: queue.queue,
            due: number(queue.due),
            delayed: number(queue.delayed),
            running: number(queue.running),
            oldest: queue.oldest_due.map(|at| ago(at, now)),
        }
    }
}

impl LimitRow {
    fn of(bucket: Bucket, now: DateTime<Utc>) -> Self {
        let limit =
            bucket.overridden.as_ref().map(|overridden| overridden.limit).or(bucket.declared);
        let limit = match limit {
            Some(limit) => format!("{} per {} s", limit.requests, limit.per.as_secs_f64()),
            None => "none declared".to_owned(),
        };
        let limit = match &bucket.overridden {
            Some(overridden) => format!("{limit}, set by {}", overridden.by),
            None => limit,
        };
        Self {
            key: bucket.key,
            limit,
            tokens: bucket.tokens.map(|tokens| format!("{tokens:.1}")).unwrap_or_default(),
            closed: bucket.blocked_until.filter(|until| *until > now).map(|until| ago(until, now)),
        }
    }
}

impl TokenRow {
    fn of(token: ApiToken, now: DateTime<Utc>) -> Self {
        let is_expired = token.expires_at.is_some_and(|at| at <= now);
        let state = match (token.revoked_at, token.expires_at) {
            (Some(_), _) => badge(Tone::Calm, "revoked"),
            (None, Some(_)) if is_expired => badge(Tone::Warn, "expired"),
            (None, Some(at)) => badge(Tone::Good, &format!("good, ends in {}", length(at - now))),
            (None, None) => badge(Tone::Good, "good"),
        };
        Self {
            id: token.id,
            name: token.name.unwrap_or_default(),
            scope: token.scope,
            state,
            is_good: token.revoked_at.is_none(),
            used: token.last_used_at.map(|at| ago(at, now)),
        }
    }
}

impl TableRow {
    fn of(table: TableSize) -> Self {
        Self { name: table.name, size: bytes(table.bytes), dead: number(table.dead_rows) }
    }
}
