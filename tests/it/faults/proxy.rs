//! Fault 3, last part: a network between workers and PostgreSQL that delays, cuts and half-closes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::Rng;
use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::broadcast;
use tokio_util::task::AbortOnDropHandle;

use super::trial::{Figures, Trial, dice, rounds};
use super::{app_with_open_runs, are_done, assert_as_if_undisturbed, open_runs};
use crate::app::TestApp;
use crate::process::{Process, kasparro};

/// What happens to every connection that is open just then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Both directions end, in the middle of whatever is being said.
    Cut,
    /// Nothing more gets to the server.
    CloseTowardsServer,
    /// Nothing more gets to the client.
    CloseTowardsClient,
}

/// Listens on a port of its own and passes on to the server of the test's database.
struct Proxy {
    url: String,
    faults: broadcast::Sender<Fault>,
    delay: Arc<AtomicU64>,
    _accepting: AbortOnDropHandle<()>,
}

impl Proxy {
    async fn start(app: &TestApp) -> Self {
        let options: PgConnectOptions = app.database.url().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (user, database) = (options.get_username(), options.get_database().unwrap());
        let url = format!("postgresql://{user}@127.0.0.1:{port}/{database}?sslmode=disable");
        let faults = broadcast::Sender::new(16);
        let delay = Arc::new(AtomicU64::new(0));
        let (of_connections, of_proxy) = (faults.clone(), delay.clone());
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (faults, delay) = (of_connections.clone(), of_proxy.clone());
                let options = options.clone();
                tokio::spawn(async move { pass_on(client, &options, &faults, &delay).await });
            }
        });
        Self { url, faults, delay, _accepting: AbortOnDropHandle::new(accepting) }
    }

    fn worker(&self, app: &TestApp) -> Process {
        let mut command = kasparro(app, &["worker", "--workers", "2"]);
        command.env("DATABASE_URL", &self.url);
        Process::start(command)
    }
}

async fn pass_on(
    client: TcpStream,
    options: &PgConnectOptions,
    faults: &broadcast::Sender<Fault>,
    delay: &AtomicU64,
) {
    let (from_client, to_client) = client.into_split();
    let (up, down) = (Fault::CloseTowardsServer, Fault::CloseTowardsClient);
    if let Some(folder) = options.get_socket() {
        let socket = folder.join(format!(".s.PGSQL.{}", options.get_port()));
        let Ok(server) = UnixStream::connect(socket).await else { return };
        let (from_server, to_server) = server.into_split();
        tokio::join!(
            pump(from_client, to_server, up, faults.subscribe(), delay),
            pump(from_server, to_client, down, faults.subscribe(), delay),
        );
    } else {
        let address = (options.get_host(), options.get_port());
        let Ok(server) = TcpStream::connect(address).await else { return };
        let (from_server, to_server) = server.into_split();
        tokio::join!(
            pump(from_client, to_server, up, faults.subscribe(), delay),
            pump(from_server, to_client, down, faults.subscribe(), delay),
        );
    }
}

/// One direction of a connection.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    closes: Fault,
    mut faults: broadcast::Receiver<Fault>,
    delay: &AtomicU64,
) {
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let read = tokio::select! {
            fault = faults.recv() => match fault {
                Ok(fault) if fault == closes || fault == Fault::Cut => break,
                _ => continue,
            },
            read = from.read(&mut bytes) => read.unwrap_or(0),
        };
        tokio::time::sleep(Duration::from_millis(delay.load(Ordering::Relaxed))).await;
        if read == 0 || to.write_all(&bytes[..read]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

/// Answers how many faults there were.
async fn disturb(round: usize) -> usize {
    let mut dice = dice("a bad network", round);
    let app = app_with_open_runs().await;
    let proxy = Proxy::start(&app).await;
    let _workers = [proxy.worker(&app), proxy.worker(&app)];
    are_done(&app, 1).await;
    let mut faults = 0;
    while faults < 12 && open_runs(&app).await > 0 {
        let fault = [Fault::Cut, Fault::CloseTowardsServer, Fault::CloseTowardsClient]
            [dice.random_range(0..3)];
        proxy.delay.store(dice.random_range(0..20), Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(dice.random_range(50..400))).await;
        // Nobody listens to it when no connection is open.
        let _ = proxy.faults.send(fault);
        faults += 1;
    }
    proxy.delay.store(0, Ordering::Relaxed);
    assert_as_if_undisturbed(&app).await;
    app.database.close().await;
    faults
}

#[tokio::test]
async fn a_network_that_delays_cuts_and_half_closes() {
    let (all, mut faults) = (rounds(10, 2), 0);
    for round in 0..all {
        faults += disturb(round).await;
    }
    let observed = format!("all equal after {faults} faults, each of all connections at once");
    Trial {
        number: "3d",
        fault: "a TCP proxy before PostgreSQL that delays, cuts and half-closes",
        promised: "the tables equal those of an undisturbed run",
    }
    .held(&Figures { rounds: all, observed });
}
