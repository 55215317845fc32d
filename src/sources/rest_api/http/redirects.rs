//! Owns where a response may lead a worker: within the origin of the job file, and to the hosts that
//! it allows. One rule for redirects and for whatever other address a response holds.
//!
//! Must not know how anything is asked.

use std::net::IpAddr;

use reqwest::Url;
use schemars::JsonSchema;
use serde::Deserialize;

use super::public_address::is_public;
use super::redact::Secrets;

/// A host that answers may lead to, besides the job file's own.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct AllowedHost {
    /// As addresses write it.
    host: String,
    /// `None` is the usual one of http and https.
    port: Option<u16>,
}

/// Why a text names no host.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is no host; expected for example \"cdn.example.com\" or \"cdn.example.com:8443\", \
     without a pattern and without `https://`"
)]
pub struct InvalidHost(String);

impl TryFrom<String> for AllowedHost {
    type Error = InvalidHost;

    fn try_from(text: String) -> Result<Self, InvalidHost> {
        let url = Url::parse(&format!("http://{text}")).ok();
        // Whatever else an address has would show in it.
        let bare = url.filter(|_| !text.contains(['*', '/', '\\', '?', '#', '@']));
        let parts = bare.and_then(|url| Some((url.host_str()?.to_owned(), url.port())));
        let (host, port) = parts.ok_or_else(|| InvalidHost(text.clone()))?;
        // The usual port, said aloud, is that port and no other.
        let port = port.or_else(|| text.ends_with(":80").then_some(80));
        Ok(Self { host, port })
    }
}

impl AllowedHost {
    fn is_of(&self, url: &Url) -> bool {
        let right_port = match self.port {
            Some(port) => url.port_or_known_default() == Some(port),
            None => url.port().is_none(),
        };
        right_port && url.host_str() == Some(self.host.as_str())
    }
}

/// An address that may be asked.
#[derive(Clone)]
pub(super) struct Target {
    pub url: Url,
    /// Whether all that led here was of the job file's origin: only there its headers are sent.
    pub same_origin: bool,
    /// Whether it may be connected to at public addresses only.
    pub public_only: bool,
}

impl std::fmt::Debug for Target {
    /// Without the path and the query, which may hold a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Target({})", self.url.origin().ascii_serialization())
    }
}

impl Target {
    /// The address of the job file itself.
    pub fn home(url: Url) -> Self {
        Self { url, same_origin: true, public_only: false }
    }
}

/// Why a redirect is not followed; to be read after what leads there.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RedirectError {
    #[error("leads to something that is no address")]
    NoAddress,
    #[error("leads to a `{0}:` address; only http and https are followed")]
    Scheme(String),
    #[error("leads to an address with a user name in it, which is not followed")]
    UserName,
    /// Does not repeat the address: the key may be in any part of it.
    #[error("leads to another host with the key in the address, and the key is sent to no other")]
    WithKey,
    #[error("leads from https to {0}, where others can read it")]
    Unencrypted(String),
    #[error("leads to {0}, which is no public address")]
    Internal(String),
    #[error("leads to {origin}")]
    Elsewhere {
        /// The address without its path.
        origin: String,
        /// What to allow.
        host: String,
    },
}

impl RedirectError {
    /// What to do about it.
    pub fn advice(&self) -> Option<String> {
        Some(match self {
            Self::NoAddress | Self::Scheme(_) | Self::UserName => return None,
            Self::WithKey => "if that is right, put the address in `base_url`".to_owned(),
            Self::Unencrypted(_) => "if that is right, put it in `base_url`".to_owned(),
            Self::Internal(_) => "if that is right, put it in `base_url`, or the address in \
                                  `rest_api.allowed_hosts`"
                .to_owned(),
            Self::Elsewhere { host, .. } => format!(
                "if that is right, put it in `base_url`, or let answers lead there, without any key, \
                 with `allowed_hosts = [\"{host}\"]` under [rest_api]"
            ),
        })
    }
}

/// What decides where responses may lead.
#[derive(Debug, Clone, Copy)]
pub(super) struct RedirectPolicy<'a> {
    /// An address of the job file's own origin.
    pub home: &'a Url,
    pub allowed: &'a [AllowedHost],
    pub secrets: &'a Secrets,
}

impl RedirectPolicy<'_> {
    /// Where a link in the answer from `from` leads.
    ///
    /// # Errors
    /// When no worker may go there.
    pub fn follow(&self, from: &Target, link: &str) -> Result<Target, RedirectError> {
        let mut url = from.url.join(link).map_err(|_| RedirectError::NoAddress)?;
        url.set_fragment(None);
        if !matches!(url.scheme(), "http" | "https") {
            return Err(RedirectError::Scheme(url.scheme().to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(RedirectError::UserName);
        }
        let home_origin = url.origin() == self.home.origin();
        if from.same_origin && home_origin {
            return Ok(Target::home(url));
        }
        if self.secrets.appear_in(url.as_str()) {
            return Err(RedirectError::WithKey);
        }
        let origin = url.origin().ascii_serialization();
        if from.url.scheme() == "https" && url.scheme() == "http" {
            return Err(RedirectError::Unencrypted(origin));
        }
        let home_host = url.host_str() == self.home.host_str();
        let literal = address_in(&url);
        if home_origin || self.allowed.iter().any(|host| host.is_of(&url)) {
            // A job file that allows an address, not a name, knows where it leads.
            let public_only = !home_host && literal.is_none();
            return Ok(Target { url, same_origin: false, public_only });
        }
        match literal {
            Some(address) if !home_host && !is_public(address) => {
                Err(RedirectError::Internal(origin))
            }
            _ => Err(RedirectError::Elsewhere { host: host_and_port(&url), origin }),
        }
    }
}

/// The address that stands in target of a name.
fn address_in(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_matches(['[', ']']).parse().ok()
}

fn host_and_port(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "S3cr3t+canary/0123456789";

    fn host(text: &str) -> AllowedHost {
        AllowedHost::try_from(text.to_owned()).unwrap()
    }

    /// Follows the links one after the other from https://api.example.com/v1/coins?page=1.
    fn follow(allowed: &[&str], links: &[&str]) -> Result<Target, RedirectError> {
        follow_from("https://api.example.com/v1/coins?page=1", allowed, links)
    }

    fn follow_from(home: &str, allowed: &[&str], links: &[&str]) -> Result<Target, RedirectError> {
        let home = Url::parse(home).unwrap();
        let allowed: Vec<_> = allowed.iter().map(|text| host(text)).collect();
        let secrets = Secrets::of([KEY]);
        let policy = RedirectPolicy { home: &home, allowed: &allowed, secrets: &secrets };
        links.iter().try_fold(Target::home(home.clone()), |from, link| policy.follow(&from, link))
    }

    #[test]
    fn within_the_origin_every_link_is_followed_with_the_key() {
        for (link, address) in [
            ("?page=2", "https://api.example.com/v1/coins?page=2"),
            ("/v2/coins#top", "https://api.example.com/v2/coins"),
            ("HTTPS://API.example.com:443/x", "https://api.example.com/x"),
        ] {
            let target = follow(&[], &[link]).unwrap();
            assert_eq!((target.url.as_str(), target.same_origin), (address, true), "{link}");
        }
        let with_key = follow(&[], &[&format!("/coins?key={KEY}")]).unwrap();
        assert!(with_key.same_origin, "the key belongs there");
    }

    #[test]
    fn other_hosts_must_be_allowed_by_name_and_port_and_get_no_key() {
        for link in [
            "https://cdn.example.com/x",
            "//cdn.example.com/x",
            "\\\\cdn.example.com/x",
            "https://api.example.com:8443/x",
        ] {
            let error = follow(&["www.example.com", "cdn.example.com:444"], &[link]).unwrap_err();
            assert!(matches!(error, RedirectError::Elsewhere { .. }), "{link}: {error}");
        }
        for (allowed, link) in [
            ("CDN.example.com", "https://cdn.example.com/x"),
            ("cdn.example.com:8443", "https://cdn.example.com:8443/x"),
            ("cdn.example.com:443", "https://cdn.example.com/x"),
        ] {
            let target = follow(&[allowed], &[link]).unwrap();
            assert!(!target.same_origin && target.public_only, "{link}");
        }
        let error = follow(&[], &["https://cdn.example.com:8443/x"]).unwrap_err();
        let error = error.advice().unwrap();
        assert!(error.contains("allowed_hosts = [\"cdn.example.com:8443\"]"), "{error}");
    }

    #[test]
    fn who_left_the_origin_gets_no_key_there_again() {
        let links = ["https://cdn.example.com/x", "https://api.example.com/y"];
        let target = follow(&["cdn.example.com"], &links).unwrap();
        assert!(!target.same_origin && !target.public_only);
    }

    #[test]
    fn internal_addresses_are_refused_however_they_are_written() {
        for link in [
            "https://127.0.0.1/",
            "https://0x7f.1/",
            "https://2130706433/",
            "https://[::1]/",
            "https://[::ffff:169.254.169.254]/",
            "https://169.254.169.254/latest/meta-data",
            "https://10.0.0.7:8080/",
            "https://0/",
            "https://[fd00:ec2::254]/",
        ] {
            let error = follow(&["cdn.example.com"], &[link]).unwrap_err();
            assert!(matches!(error, RedirectError::Internal(_)), "{link}: {error}");
        }
    }

    #[test]
    fn a_name_that_is_allowed_may_lead_to_public_addresses_and_an_address_to_itself() {
        assert!(follow(&["files.internal"], &["https://files.internal/"]).unwrap().public_only);
        assert!(!follow(&["10.0.0.7"], &["https://10.0.0.7/"]).unwrap().public_only);
        let home = "http://10.0.0.7:8080/v1";
        let own = follow_from(home, &["10.0.0.7:9000"], &["http://10.0.0.7:9000/x"]).unwrap();
        assert!(!own.same_origin && !own.public_only, "the host is the job file's own");
        assert!(follow_from(home, &[], &["/x"]).unwrap().same_origin);
        assert!(follow_from(home, &[], &["http://10.0.0.8:8080/"]).is_err());
    }

    #[test]
    fn a_key_in_an_address_goes_nowhere_else_in_any_spelling() {
        for key in [KEY, "S3cr3t%2Bcanary%2F0123456789", "s3cr3t%2bcanary/0123456789"] {
            let links = [format!("https://cdn.example.com/?key={key}")];
            let error = follow(&["cdn.example.com"], &[&links[0]]).unwrap_err();
            assert_eq!(error, RedirectError::WithKey, "{key}");
        }
    }

    #[test]
    fn other_schemes_user_names_and_plain_http_are_refused() {
        let refused = |link: &str| follow(&["cdn.example.com"], &[link]).unwrap_err();
        for scheme in ["file", "ftp", "gopher", "data", "javascript"] {
            let error = refused(&format!("{scheme}://cdn.example.com/etc/passwd"));
            assert_eq!(error, RedirectError::Scheme(scheme.to_owned()));
        }
        assert_eq!(refused("https://me:pw@cdn.example.com/"), RedirectError::UserName);
        assert_eq!(refused("https://api.example.com@cdn.example.com/"), RedirectError::UserName);
        assert!(matches!(refused("http://cdn.example.com/"), RedirectError::Unencrypted(_)));
        assert_eq!(refused("https://"), RedirectError::NoAddress);
    }

    #[test]
    fn what_is_no_host_is_refused_by_its_text() {
        for text in ["", "https://x.y", "x.y/z", "*.example.com", "a b", "me@x.y", "x.y?z", ":80"] {
            let error = AllowedHost::try_from(text.to_owned()).unwrap_err();
            assert!(error.to_string().starts_with(&format!("`{text}` is no host")), "{error}");
        }
        assert_eq!(host("x.y:80").port, Some(80));
        assert_eq!(host("[::1]:8080").host, "[::1]");
    }
}
