//! An API that says byte by byte what a test wants, on a port of its own: also what no library for servers would
//! say, such as a body that is shorter than its head promises.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    /// The path with the query.
    pub target: String,
    /// The head, in small letters.
    pub head: String,
    pub body: String,
}

impl Asked {
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// A header, or "".
    pub fn header(&self, name: &str) -> &str {
        let prefix = format!("{name}: ");
        self.head.lines().find_map(|line| line.strip_prefix(prefix.as_str())).unwrap_or_default()
    }
}

/// What is answered.
#[derive(Debug, Clone)]
pub enum Reply {
    Json(u16, serde_json::Value),
    /// A status, more lines of the head, and a body.
    Bytes(u16, &'static str, Vec<u8>),
    /// A body of which only the beginning comes; then the connection ends.
    Short(Vec<u8>, usize),
    /// A body of which only the beginning comes; then nothing.
    Hangs(Vec<u8>, usize),
    /// All that comes, head and body; then the connection ends.
    Whole(Vec<u8>),
    /// All that comes, head and body; then nothing.
    Stalls(Vec<u8>),
}

/// Serves until it is dropped.
pub struct RawApi {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    _serving: AbortOnDropHandle<()>,
}

impl RawApi {
    /// `answer` is asked with each request.
    pub async fn serve(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let (all, answer) = (asked.clone(), Arc::new(answer));
        let serving = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (all, answer) = (all.clone(), answer.clone());
                tokio::spawn(async move {
                    let _ = serve(client, &all, |asked| answer(asked)).await;
                });
            }
        });
        Self { address, asked, _serving: AbortOnDropHandle::new(serving) }
    }

    /// The requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("nobody panics with it").clone()
    }

    /// How many requests asked for a path that begins like this.
    pub fn count(&self, path: &str) -> usize {
        self.asked().iter().filter(|asked| asked.target.starts_with(path)).count()
    }
}

async fn serve(
    mut client: TcpStream,
    all: &Mutex<Vec<Asked>>,
    answer: impl FnOnce(&Asked) -> Reply,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let mut words = text.split(' ');
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or_default().to_owned();
    let names = text.lines().map(|line| match line.split_once(": ") {
        Some((name, value)) => format!("{}: {value}\n", name.to_lowercase()),
        None => String::new(),
    });
    let head: String = names.collect();
    let mut asked = Asked { method, target, head, body: String::new() };
    let mut body = vec![0; asked.header("content-length").parse().unwrap_or(0)];
    client.read_exact(&mut body).await?;
    asked.body = String::from_utf8_lossy(&body).into_owned();
    all.lock().expect("nobody panics with it").push(asked.clone());
    let (status, more, body, sent, hangs) = match answer(&asked) {
        Reply::Json(status, json) => (
            status,
            "Content-Type: application/json\r\n",
            json.to_string().into_bytes(),
            None,
            false,
        ),
        Reply::Bytes(status, more, body) => (status, more, body, None, false),
        Reply::Whole(bytes) => {
            client.write_all(&bytes).await?;
            return client.flush().await;
        }
        Reply::Stalls(bytes) => {
            client.write_all(&bytes).await?;
            client.flush().await?;
            return std::future::pending().await;
        }
        Reply::Short(body, sent) => (200, "", body, Some(sent), false),
        Reply::Hangs(body, sent) => (200, "", body, Some(sent), true),
    };
    let head = format!(
        "HTTP/1.1 {status} x\r\nConnection: close\r\n{more}Content-Length: {}\r\n\r\n",
        body.len()
    );
    client.write_all(head.as_bytes()).await?;
    client.write_all(&body[..sent.unwrap_or(body.len())]).await?;
    client.flush().await?;
    if hangs {
        std::future::pending::<()>().await;
    }
    Ok(())
}
