//! Owns the host that an HTTP request asks for, as `Host` and `Origin` spell it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A name or an address, and a port if one is given. Equal hosts are equal however they were
/// spelled: capital letters and a dot at the end say nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    name: Name,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    Address(IpAddr),
    Domain(String),
}

/// A text that is no host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a host, such as kasparro.example or kasparro.example:8443")]
pub struct InvalidHost;

impl Host {
    /// Whether it is this machine, whatever a name server says.
    pub fn is_loopback(&self) -> bool {
        match &self.name {
            Name::Address(address) => address.is_loopback(),
            Name::Domain(name) => name == "localhost",
        }
    }

    /// Whether it is an address, which no name server can lead elsewhere.
    pub fn is_address(&self) -> bool {
        matches!(self.name, Name::Address(_))
    }

    /// Whether `asked` is this host; without a port of our own, at any port.
    pub fn covers(&self, asked: &Self) -> bool {
        self.name == asked.name && self.port.is_none_or(|port| asked.port == Some(port))
    }
}

impl FromStr for Host {
    type Err = InvalidHost;

    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']').ok_or(InvalidHost)?;
                let address: Ipv6Addr = address.parse().map_err(|_| InvalidHost)?;
                (Name::Address(IpAddr::V6(address).to_canonical()), port)
            }
            None => {
                let end = text.find(':').unwrap_or(text.len());
                let (name, port) = text.split_at(end);
                (name_of(name)?, port)
            }
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => None,
            // RFC 3986 allows a colon without a port.
            Some("") => None,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                Some(digits.parse().map_err(|_| InvalidHost)?)
            }
            _ => return Err(InvalidHost),
        };
        Ok(Self { name, port })
    }
}

fn name_of(text: &str) -> Result<Name, InvalidHost> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if name.split('.').any(|label| label.is_empty() || !label.bytes().all(letter)) {
        return Err(InvalidHost);
    }
    Ok(match name.parse::<Ipv4Addr>() {
        Ok(address) => Name::Address(address.into()),
        Err(_) => Name::Domain(name.to_ascii_lowercase()),
    })
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Name::Address(IpAddr::V6(address)) => write!(f, "[{address}]")?,
            Name::Address(address) => address.fmt(f)?,
            Name::Domain(name) => f.write_str(name)?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Host {
        text.parse().unwrap()
    }

    #[test]
    fn a_host_is_the_same_however_it_is_spelled() {
        assert_eq!(host("Kasparro.Example.:8443"), host("kasparro.example:8443"));
        assert_eq!(host("localhost:"), host("LOCALHOST"));
        assert_eq!(host("[::ffff:127.0.0.1]:80"), host("127.0.0.1:80"));
        assert_ne!(host("kasparro.example:1"), host("kasparro.example"));
        for text in ["kasparro.example:8443", "127.0.0.1:80", "[::1]:8080", "api"] {
            assert_eq!(host(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in [
            "",
            ".",
            "a..b",
            "..",
            "a b",
            "me@localhost",
            "localhost/x",
            "http://localhost",
            "localhost:x",
            "localhost:-1",
            "localhost:99999",
            "localhost:80:80",
            "[::1",
            "::1",
            "[127.0.0.1]",
            "[::1]x",
            "lo\u{00e9}",
            "*",
        ] {
            assert_eq!(text.parse::<Host>(), Err(InvalidHost), "{text}");
        }
    }

    #[test]
    fn only_names_and_addresses_of_loopback_are_this_machine() {
        for text in
            ["localhost", "LOCALHOST:8080", "localhost.", "127.0.0.1:1", "127.9.9.9", "[::1]:8080"]
        {
            assert!(host(text).is_loopback(), "{text}");
        }
        for text in ["evil.example", "localhost.evil.example", "192.0.2.1:80", "[::2]", "0.0.0.0"] {
            assert!(!host(text).is_loopback(), "{text}");
        }
    }

    #[test]
    fn a_host_without_a_port_covers_all_of_its_ports() {
        assert!(host("api").covers(&host("API:8080")));
        assert!(host("api:8080").covers(&host("api:8080")));
        assert!(!host("api:8080").covers(&host("api:81")));
        assert!(!host("api:8080").covers(&host("api")));
        assert!(!host("api").covers(&host("api.example")));
    }
}
