//! Owns doing blocking work beside the async threads, so that heartbeats go on.

/// Does blocking work. A panic of it goes on here.
pub(in crate::sources) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
