//! Owns `rest_api.tls`: which certificates are trusted besides those of the system, and who we say we are.

use std::path::Path;

use reqwest::{Certificate, ClientBuilder, Identity};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::job_file::setting::Secret;
use crate::sources::{SourceError, SourceErrorKind};

/// Certificates for the API, besides those of the system.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Certificates in PEM that are trusted besides those of the system: an authority of your own.
    pub ca: Option<Secret>,
    /// The certificate in PEM by which the API knows us, with those between it and its authority.
    pub cert: Option<Secret>,
    /// Its private key in PEM.
    pub key: Option<Secret>,
}

impl Tls {
    /// What serde cannot check: the key below `rest_api.tls`, and what is wrong there.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        match (&self.cert, &self.key) {
            (Some(_), None) => vec![("cert", "has no private key: add `key`".to_owned())],
            (None, Some(_)) => vec![("key", "has no certificate: add `cert`".to_owned())],
            _ => Vec::new(),
        }
    }

    /// The values that must be there, with their keys.
    pub fn secrets(&self) -> impl Iterator<Item = (&'static str, &Secret)> {
        let all = [("ca", &self.ca), ("cert", &self.cert), ("key", &self.key)];
        all.into_iter().filter_map(|(key, secret)| Some((key, secret.as_ref()?)))
    }

    /// Adds them to a client.
    ///
    /// # Errors
    /// When one cannot be had or read. The private key is never shown.
    pub fn add_to(
        &self,
        mut builder: ClientBuilder,
        base_dir: &Path,
    ) -> Result<ClientBuilder, SourceError> {
        if let Some(ca) = &self.ca {
            let pem = ca.resolve("rest_api.tls.ca", base_dir)?;
            let trusted = Certificate::from_pem_bundle(pem.expose().as_bytes());
            let trusted = trusted.ok().filter(|all| !all.is_empty());
            let trusted = trusted.ok_or_else(|| no_pem("ca", "certificate", ca))?;
            builder = builder.tls_certs_merge(trusted);
        }
        let (Some(cert), Some(key)) = (&self.cert, &self.key) else { return Ok(builder) };
        let pem = cert.resolve("rest_api.tls.cert", base_dir)?;
        let private = key.resolve("rest_api.tls.key", base_dir)?;
        if !pem.expose().contains("BEGIN CERTIFICATE") {
            return Err(no_pem("cert", "certificate", cert));
        }
        if !private.expose().contains("PRIVATE KEY") {
            return Err(no_pem("key", "private key", key));
        }
        let both = format!("{}\n{}", pem.expose(), private.expose());
        // What the library says is not repeated: it may have something of the key.
        let identity =
            Identity::from_pem(both.as_bytes()).map_err(|_| no_pem("key", "private key", key))?;
        Ok(builder.identity(identity))
    }
}

fn no_pem(key: &str, what: &str, secret: &Secret) -> SourceError {
    let message = format!("`rest_api.tls.{key}`: {secret} holds no {what} in PEM");
    let advice = format!("it begins with `-----BEGIN` and names a {what}; without a password");
    SourceError::new(SourceErrorKind::MissingValue, message).advise(advice)
}
