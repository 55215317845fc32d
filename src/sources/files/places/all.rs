//! Owns which place a file is read from, by the scheme of its address.

use std::path::Path;

use super::buckets::Buckets;
use super::glob::Exclude;
use super::http::Http;
use super::local::Local;
use super::problems;
pub use super::scheme::{is_remote, scheme};
#[cfg(feature = "sftp")]
use super::sftp::Sftp;
use super::{Listed, Place};
use crate::sources::files::location::{Location, PATHS};
use crate::sources::files::params::FilesParams;
use crate::sources::{Access, AllowedRoots, SourceError, SourceErrorKind};

/// The places where the files of a source may be: this machine, and those that its entries name.
#[derive(Debug)]
pub struct Places {
    local: Local,
    http: Option<Http>,
    s3: Option<Buckets>,
    gs: Option<Buckets>,
    az: Option<Buckets>,
    #[cfg(feature = "sftp")]
    sftp: Option<Sftp>,
}

impl Places {
    /// Those of a job file in this folder. Reads the secrets that they need.
    ///
    /// # Errors
    /// When a place cannot be used as the job file says.
    pub fn new(
        params: &FilesParams,
        location: &Location,
        base_dir: &Path,
        allowed_roots: &AllowedRoots,
        access: Access,
    ) -> Result<Self, SourceError> {
        let mut entries = location.entries.iter();
        let problem = entries.find_map(|entry| Some((entry, problems::problem(entry)?)));
        if let Some((entry, why)) = problem {
            // What is behind the scheme may hold a password.
            let shown = scheme(entry).unwrap_or_default();
            let message =
                format!("{}: an address that begins with {shown}:// {why}", location.setting);
            return Err(SourceError::new(SourceErrorKind::InvalidConfig, message));
        }
        let remote = location.entries.iter().find(|entry| is_remote(entry));
        if let (Some(remote), false) = (remote, access == Access::Network) {
            let shown = remote.split('?').next().unwrap_or_default();
            let message = format!("{shown} is not recorded, and cannot be read without a network");
            return Err(SourceError::new(SourceErrorKind::BadRecording, message)
                .advise("leave out `--record` and `--offline`; `kasparro run SOURCE --replay` normalizes again what is stored"));
        }
        let exclude = || {
            Exclude::new(params.exclude.as_deref()).map_err(|(_, why)| {
                SourceError::new(SourceErrorKind::InvalidConfig, format!("files.exclude: {why}"))
            })
        };
        let of = |schemes: &[&str]| -> Vec<&str> {
            let is_of =
                |entry: &&String| scheme(entry).is_some_and(|scheme| schemes.contains(&&*scheme));
            location.entries.iter().filter(is_of).map(String::as_str).collect()
        };
        let http = match &of(&["http", "https"])[..] {
            [] => None,
            entries => {
                Some(Http::new(&params.http.clone().unwrap_or_default(), entries, base_dir)?)
            }
        };
        let s3 = match &of(&["s3"])[..] {
            [] => None,
            _ => Some(Buckets::s3(&params.s3.clone().unwrap_or_default(), base_dir, exclude()?)?),
        };
        let gs = match &of(&["gs"])[..] {
            [] => None,
            _ => Some(Buckets::gs(&params.gs.clone().unwrap_or_default(), base_dir, exclude()?)?),
        };
        let az = match (&of(&["az"])[..], &params.az) {
            ([], _) => None,
            (_, Some(az)) => Some(Buckets::az(az, base_dir, exclude()?)?),
            (_, None) => {
                let message = format!(
                    "files.{PATHS}: an az:// address needs az = {{ account = \"…\" }} in [files]"
                );
                return Err(SourceError::new(SourceErrorKind::InvalidConfig, message));
            }
        };
        #[cfg(feature = "sftp")]
        let sftp = match (&of(&["sftp"])[..], &params.sftp) {
            ([], _) => None,
            (_, Some(sftp)) => Some(Sftp::new(sftp, base_dir, exclude()?)?),
            (_, None) => {
                let message = format!(
                    "files.{PATHS}: an sftp:// address needs sftp = {{ user = \"…\" }} in [files]"
                );
                return Err(SourceError::new(SourceErrorKind::InvalidConfig, message));
            }
        };
        #[cfg(not(feature = "sftp"))]
        if !of(&["sftp"]).is_empty() {
            let message = format!("files.{PATHS}: this kasparro was built without SFTP");
            return Err(SourceError::new(SourceErrorKind::InvalidConfig, message)
                .advise("build it with the feature `sftp`"));
        }
        let local = Local::new(base_dir.to_owned(), allowed_roots.clone(), location.setting);
        Ok(Self {
            local,
            http,
            s3,
            gs,
            az,
            #[cfg(feature = "sftp")]
            sftp,
        })
    }

    /// A file of this machine as it is listed, by its name. Blocking.
    ///
    /// # Errors
    /// When it is not there, or is no file.
    pub fn look(&self, name: &str) -> Result<Listed, SourceError> {
        self.local.look(name)
    }

    /// The place of an entry of `paths`, or of a file that was listed, by its scheme.
    pub fn of(&self, entry: &str) -> &dyn Place {
        let remote: Option<&dyn Place> = match scheme(entry).as_deref() {
            Some("http" | "https") => self.http.as_ref().map(|place| place as _),
            Some("s3") => self.s3.as_ref().map(|place| place as _),
            Some("gs") => self.gs.as_ref().map(|place| place as _),
            #[cfg(feature = "sftp")]
            Some("sftp") => self.sftp.as_ref().map(|place| place as _),
            Some("az") => self.az.as_ref().map(|place| place as _),
            _ => None,
        };
        remote.unwrap_or(&self.local)
    }
}
