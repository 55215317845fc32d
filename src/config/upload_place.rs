//! Owns where uploaded files are kept, as the setting says it: in a folder, or in a bucket.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;

/// What addresses of buckets begin with.
const BUCKETS: &[&str] = &["s3", "gs", "az"];

/// Where uploaded files are kept, with a folder in it for each source.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum UploadPlace {
    /// In this folder.
    Folder(PathBuf),
    /// In a bucket, at keys that begin as this address does: `s3://bucket/folder`, without a slash at its end.
    Bucket(String),
}

impl UploadPlace {
    /// The place, where a relative folder is meant from this one.
    pub(super) fn seen_from(self, root: &Path) -> Self {
        match self {
            Self::Folder(folder) => Self::Folder(root.join(folder)),
            bucket @ Self::Bucket(_) => bucket,
        }
    }
}

impl FromStr for UploadPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return match text.is_empty() {
                true => Err("expected a folder, or an address of a bucket".to_owned()),
                false => Ok(Self::Folder(text.into())),
            };
        };
        let scheme = scheme.to_ascii_lowercase();
        let rest = rest.trim_end_matches('/');
        if !BUCKETS.contains(&scheme.as_str()) {
            // What is behind the scheme may hold a password.
            return Err(format!(
                "an address that begins with {scheme}:// is no place for uploads: expected a folder, or one that begins \
                 with s3://, gs:// or az://"
            ));
        }
        if rest.is_empty() || rest.starts_with('/') {
            return Err(format!("{scheme}:// names no bucket: expected {scheme}://bucket/folder"));
        }
        if rest.contains(['*', '?', '[', '{', '@', '#']) {
            return Err(format!(
                "{scheme}://{rest} is no plain address of a bucket and a folder in it"
            ));
        }
        Ok(Self::Bucket(format!("{scheme}://{rest}")))
    }
}

impl TryFrom<String> for UploadPlace {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_for_uploads_is_a_folder_or_a_bucket_and_nothing_else() {
        let of = |text: &str| text.parse::<UploadPlace>();
        let root = Path::new("/srv/shop");
        assert_eq!(of("in").unwrap().seen_from(root), UploadPlace::Folder("/srv/shop/in".into()));
        assert_eq!(of("/in").unwrap().seen_from(root), UploadPlace::Folder("/in".into()));
        let bucket = UploadPlace::Bucket("s3://acme/in".to_owned());
        assert_eq!(of("S3://acme/in/").unwrap().seen_from(root), bucket);
        assert_eq!(of("az://acme").unwrap(), UploadPlace::Bucket("az://acme".to_owned()));
        for (text, why) in [
            ("", "expected a folder"),
            ("sftp://u:secret@host/in", "begins with sftp:// is no place"),
            ("s3://", "names no bucket"),
            ("gs:///in", "names no bucket"),
            ("s3://acme/*", "no plain address"),
        ] {
            let error = of(text).unwrap_err();
            assert!(error.contains(why) && !error.contains("secret"), "{text}: {error}");
        }
    }
}
