//! Owns what an address of an SFTP server says.

/// The port of SSH.
const PORT: u16 = 22;

/// An address, whose path is taken as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SftpAddress<'a> {
    pub host: &'a str,
    pub port: u16,
    /// From the root of the server, or, behind `/~/`, from the folder into which it lets us.
    pub path: &'a str,
    /// All that stands in front of the path.
    pub front: &'a str,
}

impl<'a> SftpAddress<'a> {
    /// Of `sftp://host:22/out/*.csv`.
    ///
    /// # Errors
    /// What is wrong with it, to be read behind it. It is not repeated: there may be a password in it.
    pub fn parse(entry: &'a str) -> Result<Self, &'static str> {
        let (_, rest) = entry.split_once("://").ok_or("has no scheme")?;
        let (server, path) = rest
            .split_once('/')
            .ok_or("names no file: write `/out/*.csv` behind the host, for example")?;
        if server.contains('@') {
            return Err("has a user name in it: write sftp = { user = \"…\" } under [files]");
        }
        let (host, port) = match server.rsplit_once(':') {
            // An IPv6 address has colons, and stands in brackets.
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| "has a port that is no number")?)
            }
            _ => (server, PORT),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() || host.contains(['*', '?', '{']) {
            return Err("names no host");
        }
        let slash = entry.len() - path.len() - 1;
        let (path, at) = match path.strip_prefix("~/") {
            Some(path) => (path, slash + 3),
            None => (&entry[slash..], slash),
        };
        if path.trim_start_matches('/').is_empty() {
            return Err("names no file: write `/out/*.csv` behind the host, for example");
        }
        if path.split('/').any(|folder| folder == "..") {
            return Err("has a folder `..` in it: write out where it leads");
        }
        Ok(Self { host, port, path, front: &entry[..at] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_a_port_and_a_path_as_it_is() {
        for (entry, host, port, path) in [
            ("sftp://files.example/out/*.csv", "files.example", 22, "/out/*.csv"),
            ("sftp://files.example:2222/a b+ä.csv", "files.example", 2222, "/a b+ä.csv"),
            ("sftp://[::1]:2222/~/out/a.csv", "::1", 2222, "out/a.csv"),
            ("sftp://[fe80::1]/a", "fe80::1", 22, "/a"),
        ] {
            let address = SftpAddress::parse(entry).unwrap();
            assert_eq!((address.host, address.port, address.path), (host, port, path));
            assert_eq!(format!("{}{}", address.front, address.path), entry);
        }
        for entry in [
            "sftp://h",
            "sftp://h/",
            "sftp://h/~/",
            "sftp:///a",
            "sftp://u:p@h/a",
            "sftp://h:x/a",
            "sftp://h/a/../b",
        ] {
            assert!(SftpAddress::parse(entry).is_err(), "{entry}");
        }
    }
}
