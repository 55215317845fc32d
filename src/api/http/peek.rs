//! Owns looking at the first bytes of a connection without taking them: a request for a probe, another
//! request, or nothing yet. So a client that asks is told from one that only holds a connection.

use std::io;

use tokio::net::TcpStream;

use super::required_scope;

/// The longest head of a probe that is made out.
const HEAD: usize = 4096;
/// The end of a head.
const END: &[u8] = b"\r\n\r\n";

/// What has been said on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peeked {
    /// No whole request yet.
    Nothing,
    /// A request for a probe.
    Probe,
    /// Another request.
    Request,
}

/// What has arrived on a connection; it is still to be read.
///
/// # Errors
/// When the system does not give the connection back.
pub(crate) fn so_far(stream: TcpStream) -> io::Result<(TcpStream, Peeked)> {
    // Tokio's own peek waits until its reactor has seen the connection.
    let stream = stream.into_std()?;
    let mut said = [0; HEAD];
    let read = stream.peek(&mut said).unwrap_or(0);
    Ok((TcpStream::from_std(stream)?, heard(&said[..read])))
}

/// Waits for what arrives first on a connection; it is still to be read.
///
/// # Errors
/// When the connection is broken.
pub(crate) async fn first_words(stream: &TcpStream) -> io::Result<Peeked> {
    let mut said = [0; HEAD];
    let read = stream.peek(&mut said).await?;
    Ok(heard(&said[..read]))
}

fn heard(said: &[u8]) -> Peeked {
    let whole = said.windows(END.len()).any(|end| end == END);
    match is_probe(said) {
        true => Peeked::Probe,
        false if whole => Peeked::Request,
        false => Peeked::Nothing,
    }
}

/// Whether that is the whole head of a request for a probe.
fn is_probe(said: &[u8]) -> bool {
    let Ok(said) = std::str::from_utf8(said) else { return false };
    let Some((line, _)) = said.split_once("\r\n") else { return false };
    let mut words = line.split(' ');
    let (method, target) = (words.next(), words.next().unwrap_or_default());
    let path = target.split('?').next().unwrap_or_default();
    matches!(method, Some("GET" | "HEAD"))
        && required_scope::is_probe(path)
        && said.contains("\r\n\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_request_for_a_probe_is_one() {
        for (said, expected) in [
            ("GET /health HTTP/1.1\r\nHost: a\r\n\r\n", Peeked::Probe),
            ("HEAD /health/ready?now=1 HTTP/1.1\r\n\r\n", Peeked::Probe),
            ("GET /health HTTP/1.1\r\nHost: a\r\n", Peeked::Nothing),
            ("GET /health", Peeked::Nothing),
            ("GET /stats HTTP/1.1\r\n\r\nGET /health HTTP/1.1\r\n\r\n", Peeked::Request),
            ("POST /health HTTP/1.1\r\n\r\n", Peeked::Request),
            ("\r\n\r\n", Peeked::Request),
            ("", Peeked::Nothing),
        ] {
            assert_eq!(heard(said.as_bytes()), expected, "{said:?}");
        }
    }
}
