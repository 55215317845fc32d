//! Owns the download of rows that fail alike, as they came.

use std::io;

use bytes::Bytes;
use futures::{StreamExt, stream};
use poem::web::{Data, Path, Query};
use poem::{Body, Response, handler};
use serde::Deserialize;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::quarantine::{group, status_of};
use crate::api::http::problem::{Kind, Problem};
use crate::api::state::ApiState;
use crate::db::quarantine_pages::{self, AfterAlike, Alike};

/// Downloads at once.
const MOST: usize = 4;
static ROOM: Semaphore = Semaphore::const_new(MOST);
/// The most rows that are read at once, …
const ROWS: i64 = 1_000;
/// … and about the most bytes of them.
const BYTES: i64 = 4 << 20;

/// What the address says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawQuery {
    status: String,
}

/// `GET /ui/quarantine/{fingerprint}/raw`
#[handler]
pub(crate) async fn download(
    state: Data<&ApiState>,
    Path(fingerprint): Path<String>,
    Query(query): Query<RawQuery>,
) -> poem::Result<Response> {
    let status = status_of(&query.status)?;
    let room = ROOM.try_acquire().map_err(|_| {
        Problem::new(Kind::Busy, format!("{MOST} downloads are under way; try again"))
    })?;
    let mut connection = state.connection().await.map_err(Problem::from)?;
    let (hash, group) = group(&mut connection, &fingerprint).await?;
    drop(connection);
    let rows = Rows {
        state: state.clone(),
        source: group.source,
        fingerprint: hash.to_bytes(),
        status: status.map(|status| status.as_str()),
        after: AfterAlike::default(),
        _room: room,
    };
    let name = format!("attachment; filename=\"{hash}.raw\"");
    let response = Response::builder()
        .content_type("application/octet-stream")
        .header("content-disposition", name)
        .header("cache-control", "no-store");
    Ok(response.body(Body::from_bytes_stream(rows.parts().boxed())))
}

/// Rows that are being sent.
struct Rows {
    state: ApiState,
    source: String,
    fingerprint: [u8; 16],
    status: Option<&'static str>,
    after: AfterAlike,
    _room: SemaphorePermit<'static>,
}

impl Rows {
    /// Each row and a line end. The response breaks off if they cannot be read to their end.
    fn parts(self) -> impl futures::Stream<Item = Result<Bytes, io::Error>> + Send + 'static {
        stream::unfold(Some(self), |rows| async move {
            let mut rows = rows?;
            match rows.next().await {
                Ok(part) => part.map(|part| (Ok(part), Some(rows))),
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "a download broke off"
                    );
                    Some((Err(io::Error::other(error)), None))
                }
            }
        })
    }

    async fn next(&mut self) -> Result<Option<Bytes>, sqlx::Error> {
        let mut connection = self.state.connection().await?;
        let alike =
            Alike { source: &self.source, fingerprint: &self.fingerprint, status: self.status };
        let found =
            quarantine_pages::raws(&mut *connection, alike, &self.after, (ROWS, BYTES)).await?;
        let Some(last) = found.last() else { return Ok(None) };
        self.after = last.place.clone();
        let mut part = Vec::new();
        for row in &found {
            part.extend_from_slice(&row.raw);
            part.push(b'\n');
        }
        Ok(Some(part.into()))
    }
}
