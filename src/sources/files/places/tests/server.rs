//! A server of HTTP that answers byte by byte as it is told.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What is done for an answer, one after the other; then the connection is closed.
pub enum Step {
    /// Sends bytes.
    Send(Vec<u8>),
    /// Sends nothing more, for good.
    Stall,
}

/// A server.
pub struct Server {
    /// Its address, without a slash at the end.
    pub address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Answers each request, of which the head is given, in this way.
    pub async fn start(answer: impl Fn(&str) -> Vec<Step> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let (seen, answer) = (Arc::clone(&requests), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                tokio::spawn(async move {
                    let mut stream = stream;
                    let Some(head) = head(&mut stream).await else { return };
                    let length =
                        head.lines().find_map(|line| line.strip_prefix("content-length: "));
                    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
                    stream.read_exact(&mut body).await.unwrap();
                    seen.lock().unwrap().push(head.clone());
                    for step in answer(&head) {
                        match step {
                            Step::Send(bytes) => drop(stream.write_all(&bytes).await),
                            Step::Stall => std::future::pending().await,
                        }
                    }
                    let _ = stream.shutdown().await;
                });
            }
        });
        Self { address, requests }
    }

    /// The heads of all requests so far, in small letters but for their first line.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let (first, rest) = head.split_once("\r\n")?;
    Some(format!("{first}\n{}", rest.to_lowercase().replace("\r\n", "\n")))
}

/// An answer with a body, whose length it tells.
pub fn answer(status: &str, headers: &[&str], body: impl AsRef<[u8]>) -> Vec<Step> {
    let body = body.as_ref();
    let mut text =
        format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    for header in headers {
        text.push_str(&format!("{header}\r\n"));
    }
    let mut all = format!("{text}\r\n").into_bytes();
    all.extend_from_slice(body);
    vec![Step::Send(all)]
}

/// An answer of this head.
pub fn raw(head: &str, body: &str) -> Step {
    Step::Send(format!("{}\r\n\r\n{body}", head.replace('\n', "\r\n")).into_bytes())
}
