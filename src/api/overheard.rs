//! Owns what a newcomer has said before anybody listens to it: whether it asks for a probe. So one that
//! asks is told from those that only hold a connection.

use std::io;

use tokio::net::TcpStream;

use super::needs;

/// The longest head of a probe that is made out.
const HEAD: usize = 4096;

/// Whether all of a request for a probe has arrived on a connection; it is still to be read.
///
/// # Errors
/// When the system does not give the connection back.
pub(super) fn asks_for_a_probe(stream: TcpStream) -> io::Result<(TcpStream, bool)> {
    // Tokio's own peek waits until its reactor has seen the connection.
    let stream = stream.into_std()?;
    let mut said = [0; HEAD];
    let read = stream.peek(&mut said).unwrap_or(0);
    Ok((TcpStream::from_std(stream)?, is_probe(&said[..read])))
}

/// Whether that is the whole head of a request for a probe.
fn is_probe(said: &[u8]) -> bool {
    let Ok(said) = std::str::from_utf8(said) else { return false };
    let Some((line, _)) = said.split_once("\r\n") else { return false };
    let mut words = line.split(' ');
    let (method, target) = (words.next(), words.next().unwrap_or_default());
    let path = target.split('?').next().unwrap_or_default();
    matches!(method, Some("GET" | "HEAD")) && needs::is_probe(path) && said.contains("\r\n\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_request_for_a_probe_is_one() {
        for (said, expected) in [
            ("GET /health HTTP/1.1\r\nHost: a\r\n\r\n", true),
            ("HEAD /health/ready?now=1 HTTP/1.1\r\n\r\n", true),
            ("GET /health HTTP/1.1\r\nHost: a\r\n", false),
            ("GET /health", false),
            ("GET /stats HTTP/1.1\r\n\r\nGET /health HTTP/1.1\r\n\r\n", false),
            ("POST /health HTTP/1.1\r\n\r\n", false),
            ("\r\n\r\n", false),
            ("", false),
        ] {
            assert_eq!(is_probe(said.as_bytes()), expected, "{said:?}");
        }
    }
}
