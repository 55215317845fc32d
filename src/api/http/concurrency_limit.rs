//! Owns when a request may be worked on: after its body has arrived, in time and within its size,
//! and when not too many others are worked on. So a slow client waits alone, and a crowd is served in
//! its order.

use std::time::Duration;

use poem::http::header::CONTENT_LENGTH;
use poem::{Endpoint, IntoResponse, Request, Response};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::json_body::{MAX_BYTES, too_large, unread};
use super::problem::{Kind, Problem};
use super::required_scope;

/// How long a body may be on its way.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests worked on at once; each needs a connection to the database sooner or later.
const AT_WORK: usize = 64;
/// How long a complete request waits for others to be done with. Connections bound how many wait.
const PERMIT_TIMEOUT: Duration = Duration::from_secs(10);

/// Lets requests to `inner` when they are complete and there is a permit.
pub(crate) struct ConcurrencyLimit<E> {
    inner: E,
    permits: Semaphore,
    body_timeout: Duration,
}

impl<E: Endpoint> ConcurrencyLimit<E> {
    /// Before `inner`.
    pub(crate) fn new(inner: E) -> Self {
        Self { inner, permits: Semaphore::new(AT_WORK), body_timeout: BODY_TIMEOUT }
    }

    async fn complete(&self, request: &mut Request) -> Result<(), Problem> {
        let declared = request.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok());
        if declared.and_then(|v| v.parse::<u64>().ok()).is_some_and(|v| v > MAX_BYTES as u64) {
            return Err(too_large());
        }
        let body = request.take_body();
        if body.is_empty() {
            return Ok(());
        }
        let bytes = timeout(self.body_timeout, body.into_bytes_limit(MAX_BYTES)).await;
        let bytes = bytes.map_err(|_elapsed| self.too_slow())?.map_err(unread)?;
        request.set_body(bytes);
        Ok(())
    }

    fn too_slow(&self) -> Problem {
        let seconds = self.body_timeout.as_secs();
        Problem::new(Kind::SlowRequest, format!("the body must arrive within {seconds} s"))
    }
}

/// The problem that others are worked on.
pub(crate) fn busy() -> Problem {
    Problem::new(Kind::Busy, "too many requests are being worked on; try again")
}

impl<E: Endpoint> Endpoint for ConcurrencyLimit<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> poem::Result<Response> {
        // Probes are answered however busy the others are: a busy process is not restarted. What
        // comes with them is not waited for.
        if required_scope::is_probe(request.uri().path()) {
            drop(request.take_body());
            return Ok(self.inner.call(request).await?.into_response());
        }
        // Files are taken as they come; how many at once is decided where they are.
        if required_scope::is_upload(request.method(), request.uri().path()) {
            return Ok(self.inner.call(request).await?.into_response());
        }
        self.complete(&mut request).await?;
        let Ok(_permit) = timeout(PERMIT_TIMEOUT, self.permits.acquire()).await else {
            return Ok(busy().into_response());
        };
        Ok(self.inner.call(request).await?.into_response())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use poem::endpoint::make;
    use poem::http::StatusCode;
    use tokio::sync::Notify;

    use super::*;

    fn request(path: &str) -> Request {
        Request::builder().uri(path.parse().unwrap()).finish()
    }

    /// Time passes as soon as everybody waits for it.
    #[tokio::test(start_paused = true)]
    async fn requests_beyond_the_room_wait_or_are_told_to_come_again_and_probes_are_answered() {
        let go = Arc::new(Notify::new());
        let waits = go.clone();
        let inner = make(move |request: Request| {
            let waits = waits.clone();
            async move {
                if request.uri().path() == "/runs" {
                    waits.notified().await;
                }
                Ok::<_, poem::Error>("done")
            }
        });
        let limit = ConcurrencyLimit { permits: Semaphore::new(1), ..ConcurrencyLimit::new(inner) };
        let mut first = Box::pin(limit.call(request("/runs")));
        assert!(futures::poll!(&mut first).is_pending());
        let second = limit.call(request("/runs")).await.unwrap();
        assert_eq!(second.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(second.header("retry-after"), Some("1"));
        assert_eq!(limit.call(request("/health")).await.unwrap().status(), StatusCode::OK);
        let mut third = Box::pin(limit.call(request("/runs")));
        assert!(futures::poll!(&mut third).is_pending());
        go.notify_one();
        assert_eq!(first.await.unwrap().status(), StatusCode::OK);
        go.notify_one();
        assert_eq!(third.await.unwrap().status(), StatusCode::OK);
    }
}
