//! Owns serving the API on a listener, until stopped, and what a connection may cost.

use std::convert::Infallible;
use std::future::Future;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use poem::http::header::{CONNECTION, HeaderValue};
use poem::http::uri::Scheme;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Endpoint, IntoResponse, Response};
use poem_openapi::types::ToJSON;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::auth::AuthConfig;
use super::concurrency_limit;
use super::connection_limit::{Admitted, ConnectionLimit, Crowd, Place};
use super::endpoint::endpoint;
use super::peek::{self, Peeked};
use super::problem::{Kind, Problem};
use super::rate_limit::Client;
use super::required_scope;
use super::write_timeout::WriteTimeout;
use crate::api::state::ApiState;

/// How long the head of a request may take, the wait for it on an open connection included.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take nothing of an answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest head of a request in bytes, its first line included.
const MAX_HEAD: usize = 16 << 10;
/// The most header fields.
const MAX_FIELDS: usize = 64;
/// What is kept of a connection in memory.
const BUFFER: usize = 64 << 10;
/// How many may wait outside, if the system allows so many (`net.core.somaxconn`). Of those beyond,
/// the system forgets some that believe themselves connected, and resets them when they speak.
const LISTEN_BACKLOG: u32 = 4096;
/// The longest that one who is outside waits until it is looked again whether somebody is silent.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How long a client that is turned away may take to read why.
const FAREWELL: Duration = Duration::from_secs(1);
/// Those who are given that time at once; to more it is said without waiting for them to read it.
const FAREWELLS: usize = 32;

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
    socket.listen(LISTEN_BACKLOG)
}

/// Serves the API until `stop` resolves, then lets running requests end for `grace` at most.
///
/// HTTP/1.1 only: clients of this API have no use for more, and nothing else can be abused.
///
/// # Errors
/// When the listener cannot be used.
pub async fn serve(
    state: ApiState,
    auth_config: AuthConfig,
    listener: TcpListener,
    grace: Duration,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let local = listener.local_addr()?;
    let (stopping, killed) = (CancellationToken::new(), CancellationToken::new());
    let per_client = auth_config.connections;
    let endpoint = Arc::new(endpoint(state, auth_config, stopping.clone()));
    let connections = TaskTracker::new();
    let mut stop = pin!(stop);
    let places = ConnectionLimit::new(per_client);
    let farewells = Arc::new(Semaphore::new(FAREWELLS));
    loop {
        let (stream, remote, admitted) = tokio::select! {
            () = &mut stop => break,
            accepted = admit(&listener, &places) => accepted,
        };
        let place = match admitted {
            Ok(place) => place,
            Err(crowd) => {
                turn_away(stream, crowd, &farewells, &connections);
                continue;
            }
        };
        let (endpoint, stopping, killed) = (endpoint.clone(), stopping.clone(), killed.clone());
        let (farewells, others) = (farewells.clone(), connections.clone());
        connections.spawn(async move {
            let place = Arc::new(place);
            if let Some(crowd) = place.is_in_lobby() {
                let speaks = tokio::select! {
                    speaks = speaks(&stream, &place) => speaks,
                    () = stopping.cancelled() => return,
                };
                if !speaks {
                    return turn_away(stream, crowd, &farewells, &others);
                }
            }
            tokio::select! {
                () = serve_connection(endpoint, stream, local, remote, &place, stopping) => {}
                () = place.lost() => {}
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

/// Whether a guest of the lobby says something before the next takes its place. Whoever is let go
/// without having been listened to is told why.
async fn speaks(stream: &TcpStream, place: &Place) -> bool {
    tokio::select! {
        biased;
        heard = timeout(HEAD_TIMEOUT, peek::first_words(stream)) => match heard {
            Ok(Ok(Peeked::Probe | Peeked::Request)) => place.keep(),
            Ok(_) => true,
            Err(_) => false,
        },
        () = place.lost() => false,
    }
}

/// The next connection, with its place if its client may have one, or who has all of them.
async fn admit(
    listener: &TcpListener,
    places: &Arc<ConnectionLimit>,
) -> (TcpStream, SocketAddr, Result<Place, Crowd>) {
    loop {
        let (mut stream, remote) = accept(listener).await;
        let client = Client::at(Some(remote.ip()));
        let mut admitted = places.admit(&client);
        loop {
            match admitted {
                Admitted::Place(place) => return (stream, remote, Ok(place)),
                Admitted::TooMany => return (stream, remote, Err(Crowd::ItsClient)),
                Admitted::Crowded(crowd) => {
                    let heard;
                    // One that the system does not give back is gone.
                    (stream, heard) = match peek::so_far(stream) {
                        Ok(peeked) => peeked,
                        Err(_) => break,
                    };
                    if heard == Peeked::Request {
                        return (stream, remote, Err(crowd));
                    }
                    admitted = places.admit_to_lobby(&client, heard == Peeked::Probe);
                }
                Admitted::Wait => {
                    let _ = timeout(LOOK_AGAIN, places.left()).await;
                    admitted = places.admit(&client);
                }
            }
        }
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
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

/// The problem that the client has all the connections it may have.
fn too_many() -> Problem {
    Problem::new(
        Kind::Busy,
        "this address has as many connections as one may have, and they are at work; the setting \
         `connections_per_address` says how many",
    )
}

/// The problem that there is no connection to be had.
fn crowded(crowd: Crowd) -> Problem {
    match crowd {
        Crowd::ItsClient => too_many(),
        Crowd::All => concurrency_limit::busy(),
    }
}

/// Says that there is no connection to be had. With a farewell, what the client still sends is read: a
/// connection that is closed before is reset, and the answer may be lost.
fn turn_away(stream: TcpStream, crowd: Crowd, farewells: &Arc<Semaphore>, tasks: &TaskTracker) {
    let leave = farewells.clone().try_acquire_owned().ok();
    let body = crowded(crowd).to_json_string();
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\
         retry-after: 1\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    // Nothing was sent on it yet, so there is room; and whoever cannot take it is gone.
    let Ok(mut stream) = stream.into_std() else { return };
    let _ = stream.write_all(answer.as_bytes());
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let (Some(leave), Ok(mut stream)) = (leave, TcpStream::from_std(stream)) else { return };
    tasks.spawn(async move {
        let _leave = leave;
        let reading = async { while stream.read(&mut [0; 1024]).await.is_ok_and(|n| n > 0) {} };
        let _ = timeout(FAREWELL, reading).await;
    });
}

/// Answers what comes over one connection, one request after the other.
async fn serve_connection<E: Endpoint<Output = Response> + 'static>(
    endpoint: Arc<E>,
    stream: TcpStream,
    local: SocketAddr,
    remote: SocketAddr,
    place: &Arc<Place>,
    stopping: CancellationToken,
) {
    // Answers are small and whole: nothing is won by waiting for more. Without it they are slower.
    let _ = stream.set_nodelay(true);
    let answer = service_fn(move |request: hyper::Request<Incoming>| {
        let (endpoint, place) = (endpoint.clone(), Arc::clone(place));
        let (local, remote) = (Addr::SocketAddr(local), Addr::SocketAddr(remote));
        let request = (request, LocalAddr(local), RemoteAddr(remote), Scheme::HTTP);
        async move {
            let answering = place.answering();
            let request = poem::Request::from(request);
            let in_lobby = place.is_in_lobby();
            let mut response = match in_lobby {
                Some(crowd) if !required_scope::is_probe(request.uri().path()) => {
                    crowded(crowd).into_response()
                }
                _ => endpoint.get_response(request).await,
            };
            if in_lobby.is_some() || place.is_wanted() {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            // It is being answered until the whole body is on its way, be it a stream of events.
            let keep = move |error| {
                let _answering = &answering;
                error
            };
            let response = hyper::Response::from(response).map(|body| body.map_err(keep));
            Ok::<_, Infallible>(response)
        }
    });
    let stream = TokioIo::new(WriteTimeout::new(stream, WRITE_TIMEOUT));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
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
