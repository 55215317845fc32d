//! Owns sending a file: its bytes go as they are read, and may take as long as they go on.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::{Stream, stream};
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, HeaderMap};
use reqwest::{Body, Method};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::client::{Clients, no_answer, too_long};
use super::redirects::Target;
use crate::sources::SourceError;
use crate::sources::rest_api::params::RestApiParams;
use crate::sources::rest_api::request::RequestParts;

/// Bytes that are read at once.
const PIECE: usize = 256 << 10;

/// Sends a file by this method, with these headers besides those of the request, which say how long it is. No redirect
/// is followed: the file would have to be sent again.
///
/// # Errors
/// When there is no answer, or nothing goes for as long as one may take.
pub(in crate::sources::rest_api) async fn put(
    clients: &Clients,
    (request, method): (&RequestParts, &Method),
    params: &RestApiParams,
    more: &HeaderMap,
    file: &Arc<File>,
) -> Result<reqwest::Response, SourceError> {
    let target = Target::home(request.secret_url());
    let sent = Arc::new(AtomicU64::new(0));
    let sending = clients
        .for_target(&target, params)?
        .request(method.clone(), target.url.clone())
        .header(ACCEPT, "*/*")
        .header(ACCEPT_ENCODING, "identity")
        .headers(more.clone())
        .headers(request.headers.clone())
        .body(Body::wrap_stream(pieces(Arc::clone(file), Arc::clone(&sent))));
    let mut sending = pin!(sending.send());
    let mut before = 0;
    loop {
        match timeout(params.timeout, &mut sending).await {
            Ok(sent) => {
                return sent.map_err(|error| no_answer(&error, &target.url, request, params));
            }
            Err(_elapsed) if sent.load(Ordering::Relaxed) == before => {
                return Err(too_long(request, params));
            }
            Err(_elapsed) => before = sent.load(Ordering::Relaxed),
        }
    }
}

/// The bytes of a file. `sent` counts those that were asked for.
fn pieces(file: Arc<File>, sent: Arc<AtomicU64>) -> impl Stream<Item = io::Result<Bytes>> {
    stream::try_unfold(0, move |at| {
        let (file, sent) = (Arc::clone(&file), Arc::clone(&sent));
        async move {
            let reading = spawn_blocking(move || {
                let mut piece = vec![0; PIECE];
                let read = file.read_at(&mut piece, at)?;
                piece.truncate(read);
                Ok::<_, io::Error>(piece)
            });
            let piece = reading.await.map_err(io::Error::other)??;
            let end = at + piece.len() as u64;
            sent.store(end, Ordering::Relaxed);
            Ok((!piece.is_empty()).then(|| (Bytes::from(piece), end)))
        }
    })
}
