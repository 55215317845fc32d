//! `rest_api.tls` against a server of ours: an authority of one's own, a certificate that says who we are, and HTTP/2.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use super::*;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tls");

fn certificates(name: &str) -> Vec<CertificateDer<'static>> {
    let all = CertificateDer::pem_file_iter(format!("{FIXTURES}/{name}")).unwrap();
    all.map(Result::unwrap).collect()
}

#[tokio::test]
async fn http_where_tls_is_spoken_and_tls_where_it_is_not_are_named() {
    let (port, _serving) = serve(&["http/1.1"], false).await;
    let source = source(&format!("http://localhost:{port}"), "");
    let error = source.fetch(&source.first(), Access::Network).await.unwrap_err();
    assert!(error.text().ends_with("is it `https://` in `base_url`?"), "{error}");

    let plain = MockServer::start().await;
    let source = super::source(&plain.uri().replace("http://", "https://"), "");
    let error = source.fetch(&source.first(), Access::Network).await.unwrap_err();
    assert!(error.text().contains(" does not speak TLS: "), "{error}");
    assert!(error.text().contains("is it `http://` in `base_url`"), "{error}");
}

/// A server of that protocol, which lets in who has a certificate if it is to. Answers which protocol it spoke.
async fn serve(protocols: &[&str], asks_for_certificate: bool) -> (u16, AbortOnDropHandle<()>) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates("ca.pem"));
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
    let config = rustls::ServerConfig::builder();
    let config = match asks_for_certificate {
        true => config.with_client_cert_verifier(verifier),
        false => config.with_no_client_auth(),
    };
    let key = PrivateKeyDer::from_pem_file(format!("{FIXTURES}/server.key")).unwrap();
    let mut config = config.with_single_cert(certificates("server.pem"), key).unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let answer = service_fn(async |request: Request<Incoming>| {
                let body = format!("[{{\"version\":\"{:?}\"}}]", request.version());
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(body))))
            });
            let stream = TokioIo::new(stream);
            let _ = match is_http2 {
                true => {
                    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    builder.serve_connection(stream, answer).await
                }
                false => {
                    let builder = hyper::server::conn::http1::Builder::new();
                    builder.serve_connection(stream, answer).await
                }
            };
        }
    });
    (port, AbortOnDropHandle::new(serving))
}

async fn fetched(port: u16, tls: &str) -> Result<String, SourceError> {
    let source = source(&format!("https://127.0.0.1:{port}/"), &format!("tls = {{ {tls} }}"));
    source.fetch(&source.first(), Access::Network).await.map(|page| page.body)
}

fn file(key: &str, name: &str) -> String {
    format!("{key} = {{ file = \"{FIXTURES}/{name}\" }}")
}

#[tokio::test]
async fn an_authority_of_ones_own_is_trusted_and_http_2_is_spoken_where_the_server_does() {
    let ca = file("ca", "ca.pem");
    let (port, _serving) = serve(&["h2", "http/1.1"], false).await;
    assert_eq!(fetched(port, &ca).await.unwrap(), "[{\"version\":\"HTTP/2.0\"}]");
    let (port, _serving) = serve(&["http/1.1"], false).await;
    assert_eq!(fetched(port, &ca).await.unwrap(), "[{\"version\":\"HTTP/1.1\"}]");
    let error = fetched(port, "").await.unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::Unreachable);
    assert!(error.text().contains("certificate"), "{error}");
}

#[tokio::test]
async fn a_certificate_says_who_we_are_and_its_key_is_never_shown() {
    let (port, _serving) = serve(&["h2"], true).await;
    let ca = file("ca", "ca.pem");
    let (cert, key) = (file("cert", "client.pem"), file("key", "client.key"));
    let page = fetched(port, &[&*ca, &*cert, &*key].join(", ")).await.unwrap();
    assert!(page.contains("HTTP/2.0"), "{page}");
    assert!(fetched(port, &ca).await.is_err(), "nobody is let in without");
    for (tls, says) in [
        (file("ca", "client.key"), "`rest_api.tls.ca`: the file"),
        (format!("{}, {}", file("cert", "client.key"), key), "holds no certificate in PEM"),
        (format!("{}, {}", cert, file("key", "client.pem")), "holds no private key in PEM"),
        (file("ca", "nothing.pem"), "does not exist"),
    ] {
        let error = fetched(port, &tls).await.unwrap_err();
        assert_eq!(error.kind, SourceErrorKind::MissingValue);
        assert!(error.text().contains(says) && !error.text().contains("BEGIN EC"), "{error}");
    }
    let params =
        toml::from_str(&format!("base_url = \"https://a.b\"\ntls = {{ {cert} }}")).unwrap();
    let error = RestApiSource::new(params, PathBuf::new(), vec![]).unwrap_err();
    assert_eq!(error.text(), "`rest_api.tls.cert` has no private key: add `key`");
}
