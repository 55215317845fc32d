//! Owns serving the API on a listener, until told to stop, and what a connection may cost.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use poem::http::header::{CONNECTION, HeaderValue};
use poem::http::uri::Scheme;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Endpoint, Response};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::Connection;
use super::{Admission, ApiState, endpoint};

/// How long the head of a request may take, the wait for it on an open connection included.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);
/// How long a client may take nothing of an answer.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);
/// The largest head of a request in bytes, its first line included.
const MAX_HEAD: usize = 16 << 10;
/// The most header fields.
const MAX_FIELDS: usize = 64;
/// What is kept of a connection in memory.
const BUFFER: usize = 64 << 10;
/// Connections at once; the next ones wait outside. While some wait, a connection ends with its
/// answer, for one that stays open would keep its place for nothing.
const CONNECTIONS: usize = 512;
/// How many may wait outside, if the system allows so many (`net.core.somaxconn`). Of those beyond,
/// the system forgets some that believe themselves connected, and resets them when they speak.
const OUTSIDE: u32 = 4096;

/// The pause after a connection could not be accepted. Out of file descriptors that fails until a
/// connection ends, and asking again at once would take a whole core meanwhile.
const PAUSE: Duration = Duration::from_millis(100);

/// Takes an address for the API.
///
/// # Errors
/// When it cannot be had.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // The next process gets it although connections of the former one have not quite ended.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(OUTSIDE)
}

/// Serves the API until `stop` resolves, then lets running requests end for `grace` at most.
///
/// HTTP/1.1 only: clients of this API have no use for more, and nothing else can be abused.
///
/// # Errors
/// When the listener cannot be used.
pub async fn serve(
    state: ApiState,
    admission: Admission,
    listener: TcpListener,
    grace: Duration,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let local = listener.local_addr()?;
    let (stopping, killed) = (CancellationToken::new(), CancellationToken::new());
    let endpoint = Arc::new(endpoint(state, admission, stopping.clone()));
    let connections = TaskTracker::new();
    let mut stop = pin!(stop);
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let (stream, remote, place) = tokio::select! {
            () = &mut stop => break,
            accepted = accept(&listener, &room) => accepted,
        };
        let (endpoint, stopping, killed) = (endpoint.clone(), stopping.clone(), killed.clone());
        let room = room.clone();
        connections.spawn(async move {
            let _place = place;
            tokio::select! {
                () = converse(endpoint, stream, local, remote, &room, stopping) => {}
                () = killed.cancelled() => {}
            }
        });
    }
    drop(listener);
    stopping.cancel();
    connections.close();
    if timeout(grace, connections.wait()).await.is_err() {
        killed.cancel();
        connections.wait().await;
    }
    Ok(())
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
    // The semaphore is never closed, so there is always a permit.
    let room = room.clone().acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => return (stream, remote, room),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a connection was not accepted"
                );
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Answers what comes over one connection, one request after the other.
async fn converse<E: Endpoint<Output = Response> + 'static>(
    endpoint: Arc<E>,
    stream: TcpStream,
    local: SocketAddr,
    remote: SocketAddr,
    room: &Semaphore,
    stopping: CancellationToken,
) {
    // Answers are small and whole: nothing is won by waiting for more. Without it they are slower.
    let _ = stream.set_nodelay(true);
    let answer = service_fn(move |request: hyper::Request<Incoming>| {
        let endpoint = endpoint.clone();
        let (local, remote) = (Addr::SocketAddr(local), Addr::SocketAddr(remote));
        let request = (request, LocalAddr(local), RemoteAddr(remote), Scheme::HTTP);
        async move {
            let mut response = endpoint.get_response(request.into()).await;
            if room.available_permits() == 0 {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(hyper::Response::from(response))
        }
    });
    let stream = TokioIo::new(Connection::new(stream, WRITE_PATIENCE));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_header_size(MAX_HEAD)
        .max_headers(MAX_FIELDS)
        .max_buf_size(BUFFER)
        .serve_connection(stream, answer);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = %error, %remote, "a connection ended early");
    }
}
