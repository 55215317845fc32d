//! Owns which addresses are public, and a resolver that knows no others. What it leaves out cannot
//! be connected to, whatever the name leads to at another time.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// A name behind which nothing is public.
#[derive(Debug, thiserror::Error)]
#[error(
    "{host} leads to {address}, which is no public address, and answers may lead to public ones only"
)]
pub(super) struct NotPublic {
    host: String,
    address: IpAddr,
}

impl NotPublic {
    /// What to do about it.
    pub const ADVICE: &str = "if that is right, put the host in `base_url`, or the address itself in \
                              `rest_api.allowed_hosts`";
}

/// Finds the public addresses of a name.
#[derive(Debug, Clone, Copy)]
pub(super) struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public = public_of(name.as_str(), found.collect())?;
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

fn public_of(host: &str, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, NotPublic> {
    let public: Vec<_> = found.iter().copied().filter(|at| is_public(at.ip())).collect();
    match (public.is_empty(), found.first()) {
        (true, Some(first)) => Err(NotPublic { host: host.to_owned(), address: first.ip() }),
        _ => Ok(public),
    }
}

/// Whether an address belongs to the public internet, by the registries of IANA.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let special = match address.octets() {
        // "This network", for future use and broadcast.
        [0 | 240..=255, ..] => true,
        // Between a provider and its customers.
        [100, 64..=127, ..] => true,
        // Protocols, the relays of 6to4, and measurements.
        [192, 0, 0, _] | [192, 88, 99, _] | [198, 18 | 19, ..] => true,
        _ => false,
    };
    !(special
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation())
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(inner) = address.to_ipv4_mapped() {
        return is_public_v4(inner);
    }
    match address.segments() {
        // What translates to IPv4 leads to where the IPv4 address leads.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let [[a, b], [c, d]] = [high.to_be_bytes(), low.to_be_bytes()];
            is_public_v4(Ipv4Addr::new(a, b, c, d))
        }
        // Protocols and tunnels (Teredo, 6to4), and documentation.
        [0x2001, 0..=0x1ff, ..] | [0x2002, ..] => false,
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // All that was ever given out for the public; the rest is local, or for the future.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(addresses: &[&str], public: bool) {
        for address in addresses {
            assert_eq!(is_public(address.parse().unwrap()), public, "{address}");
        }
    }

    #[test]
    fn addresses_of_machines_networks_and_clouds_are_not_public() {
        all(
            &[
                "0.0.0.0",
                "0.1.2.3",
                "10.0.0.1",
                "100.64.0.1",
                "100.127.255.255",
                "127.0.0.1",
                "127.8.8.8",
                "169.254.169.254",
                "172.16.0.1",
                "172.31.255.255",
                "192.0.0.8",
                "192.0.2.1",
                "192.88.99.1",
                "192.168.1.1",
                "198.18.0.1",
                "198.51.100.1",
                "203.0.113.1",
                "224.0.0.1",
                "239.255.255.250",
                "240.0.0.1",
                "255.255.255.255",
            ],
            false,
        );
        all(
            &[
                "::",
                "::1",
                "::7f00:1",
                "::ffff:127.0.0.1",
                "::ffff:10.0.0.1",
                "::ffff:169.254.169.254",
                "64:ff9b::7f00:1",
                "64:ff9b::a9fe:a9fe",
                "64:ff9b:1::a00:1",
                "100::1",
                "2001::1",
                "2001:db8::1",
                "2002:7f00:1::",
                "3fff::1",
                "fc00::1",
                "fd00:ec2::254",
                "fe80::1",
                "fec0::1",
                "ff02::1",
            ],
            false,
        );
    }

    #[test]
    fn addresses_that_everybody_reaches_are_public() {
        all(&["1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.1", "172.32.0.1"], true);
        all(&["169.253.1.1", "192.167.1.1", "223.255.255.255", "::ffff:8.8.8.8"], true);
        all(&["2606:4700:4700::1111", "2a00:1450::1", "64:ff9b::808:808"], true);
    }

    #[test]
    fn of_the_addresses_of_a_name_the_public_ones_are_left() {
        let at = |address: &str| SocketAddr::new(address.parse().unwrap(), 0);
        let mixed = vec![at("127.0.0.1"), at("1.1.1.1"), at("fd00::1")];
        assert_eq!(public_of("x.example", mixed).unwrap(), [at("1.1.1.1")]);
        let error = public_of("x.example", vec![at("10.1.2.3")]).unwrap_err().to_string();
        assert!(error.starts_with("x.example leads to 10.1.2.3, which is no public"), "{error}");
        assert_eq!(public_of("x.example", Vec::new()).unwrap(), []);
    }
}
