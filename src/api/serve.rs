//! Owns serving the API on a listener, until told to stop.

use std::future::Future;
use std::io;
use std::time::Duration;

use poem::Server;
use poem::http::uri::Scheme;
use poem::listener::{Acceptor, TcpAcceptor};
use poem::web::{LocalAddr, RemoteAddr};
use tokio::net::{TcpListener, TcpStream};

use super::{ApiState, endpoint};

/// Connections on which nothing happens for so long are closed.
const IDLE: Duration = Duration::from_secs(75);

/// The pause after a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves the API until `stop` resolves, then lets running requests end for `grace` at most.
///
/// # Errors
/// When the listener cannot be used.
pub async fn serve(
    state: ApiState,
    listener: TcpListener,
    grace: Duration,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let acceptor = PatientAcceptor(TcpAcceptor::from_tokio(listener)?);
    Server::new_with_acceptor(acceptor)
        .idle_timeout(IDLE)
        .run_with_graceful_shutdown(endpoint(state), stop, Some(grace))
        .await
}

/// poem asks again at once when accepting fails. Out of file descriptors that fails until a
/// connection ends, and asking would take a whole core meanwhile.
struct PatientAcceptor(TcpAcceptor);

impl Acceptor for PatientAcceptor {
    type Io = TcpStream;

    fn local_addr(&self) -> Vec<LocalAddr> {
        self.0.local_addr()
    }

    async fn accept(&mut self) -> io::Result<(TcpStream, LocalAddr, RemoteAddr, Scheme)> {
        let accepted = self.0.accept().await;
        if let Err(error) = &accepted {
            tracing::warn!(
                error = error as &dyn std::error::Error,
                "a connection was not accepted"
            );
            tokio::time::sleep(PAUSE).await;
        }
        accepted
    }
}
