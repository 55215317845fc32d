//! Owns whether the service lives and whether it can work. Answers within seconds, always.

use std::time::Duration;

use poem::web::Data;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use sqlx::{ConnectOptions, Connection, PgPool};
use tokio::time::timeout;

use crate::api::openapi::tags::Tag;
use crate::api::state::ApiState;
use crate::db;

/// How long the pool, and after it a connection of its own, may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// How the service is.
#[derive(Debug, Object)]
struct Health {
    status: Status,
    database: Database,
}

/// How the service is as a whole.
#[derive(Debug, Enum)]
#[oai(rename_all = "snake_case")]
enum Status {
    Ok,
    Degraded,
}

/// How the database is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
enum Database {
    Ok,
    Unreachable,
    /// It answers, but its schema is not the one this version needs.
    WrongSchema,
}

#[derive(ApiResponse)]
enum HealthAnswer {
    /// All is well.
    #[oai(status = 200)]
    Ok(Json<Health>),
    /// The service runs, but cannot work; `database` says why.
    #[oai(status = 503)]
    Degraded(Json<Health>),
}

/// The operations on health.
pub(crate) struct HealthApi;

#[OpenApi(tag = "Tag::Operations")]
impl HealthApi {
    /// Health
    ///
    /// Whether the service lives and the database answers.
    #[oai(path = "/health", method = "get", operation_id = "health")]
    async fn health(&self, state: Data<&ApiState>) -> HealthAnswer {
        answer(match reaches(&state.pool).await {
            true => Database::Ok,
            false => Database::Unreachable,
        })
    }

    /// Readiness
    ///
    /// Whether the service can take requests: the database answers and has the right schema.
    #[oai(path = "/health/ready", method = "get", operation_id = "ready")]
    async fn ready(&self, state: Data<&ApiState>) -> HealthAnswer {
        answer(match timeout(2 * REQUEST_TIMEOUT, db::check_version(&state.pool)).await {
            Ok(Ok(())) => Database::Ok,
            Ok(Err(db::OpenError::Older | db::OpenError::Newer { .. })) => Database::WrongSchema,
            _ => Database::Unreachable,
        })
    }
}

fn answer(database: Database) -> HealthAnswer {
    match database {
        Database::Ok => HealthAnswer::Ok(Json(Health { status: Status::Ok, database })),
        _ => HealthAnswer::Degraded(Json(Health { status: Status::Degraded, database })),
    }
}

/// A pool whose connections are all at work is not a database that is away: so a connection of its
/// own has the last word.
async fn reaches(pool: &PgPool) -> bool {
    let from_pool = async { pool.acquire().await?.ping().await };
    if matches!(timeout(REQUEST_TIMEOUT, from_pool).await, Ok(Ok(()))) {
        return true;
    }
    let options = pool.connect_options();
    let of_its_own = async { options.connect().await?.close().await };
    matches!(timeout(REQUEST_TIMEOUT, of_its_own).await, Ok(Ok(())))
}

#[cfg(test)]
mod tests {
    use sqlx::postgres::PgPoolOptions;

    use super::*;

    #[tokio::test]
    async fn a_database_that_is_away_or_silent_is_noticed() {
        // Connections to it are made, and never answered.
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        for port in [1, silent.local_addr().unwrap().port()] {
            let url = format!("postgresql://nobody@127.0.0.1:{port}/none");
            let pool = PgPoolOptions::new().connect_lazy(&url).unwrap();
            let answer = timeout(std::time::Duration::from_secs(60), reaches(&pool)).await;
            assert_eq!(answer, Ok(false), "{port}");
        }
    }
}
