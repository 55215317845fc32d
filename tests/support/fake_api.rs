//! An API of pages that answers as moody as real ones do, as raw as its faults.
//!
//! Must not know what its pages hold.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// What the API does with a request.
#[derive(Debug, Clone, Copy)]
pub enum Mood {
    Well,
    /// 429 with Retry-After, in seconds.
    Enough(u64),
    /// 500.
    Broken,
    /// The body comes in pieces.
    Slow,
    /// The connection ends in the middle of the body.
    Reset,
}

/// Serves until it is dropped.
pub struct FakeApi {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Instant>>>,
    _serving: AbortOnDropHandle<()>,
}

impl FakeApi {
    /// `mood` is asked with the number of each request, `page` with its path and query.
    pub async fn serve(
        listener: TcpListener,
        mood: impl Fn(usize) -> Mood + Send + Sync + 'static,
        page: impl Fn(&str) -> String + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().expect("an address");
        let asked = Arc::<Mutex<Vec<Instant>>>::default();
        let (times, mood, page) = (asked.clone(), Arc::new(mood), Arc::new(page));
        let count = Arc::new(AtomicUsize::new(0));
        let serving = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (times, mood, page) = (times.clone(), mood.clone(), page.clone());
                let count = count.clone();
                tokio::spawn(async move {
                    let mood = || mood(count.fetch_add(1, Ordering::SeqCst));
                    let _ = answer(client, &times, mood, |path| page(path)).await;
                });
            }
        });
        Self { address, asked, _serving: AbortOnDropHandle::new(serving) }
    }

    /// When it was asked.
    pub fn asked(&self) -> Vec<Instant> {
        self.asked.lock().expect("nobody panics with it").clone()
    }
}

async fn answer(
    mut client: TcpStream,
    asked: &Mutex<Vec<Instant>>,
    mood: impl FnOnce() -> Mood,
    page: impl FnOnce(&str) -> String,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    asked.lock().expect("nobody panics with it").push(Instant::now());
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let body = page(&path);
    let mut say = async |text: &str| client.write_all(text.as_bytes()).await;
    let head = |status: &str, more: &str, length: usize| {
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n\
                 {more}Content-Length: {length}\r\n\r\n"
        )
    };
    match mood() {
        Mood::Well => say(&(head("200 OK", "", body.len()) + &body)).await,
        Mood::Enough(after) => {
            let more = format!("Retry-After: {after}\r\n");
            say(&head("429 Too Many Requests", &more, 0)).await
        }
        Mood::Broken => say(&head("500 Internal Server Error", "", 0)).await,
        Mood::Slow => {
            say(&head("200 OK", "", body.len())).await?;
            for piece in body.as_bytes().chunks(40) {
                tokio::time::sleep(Duration::from_millis(50)).await;
                say(&String::from_utf8_lossy(piece)).await?;
            }
            Ok(())
        }
        Mood::Reset => {
            say(&head("200 OK", "", body.len())).await?;
            say(&body[..body.len() / 2]).await?;
            // Not a proper end: the rest of the connection is thrown away.
            client.set_zero_linger()
        }
    }
}
