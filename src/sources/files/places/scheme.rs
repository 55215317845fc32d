//! Owns how an entry of `paths` says that it leads to another machine.

/// The scheme of an address, in small letters; `None` of a path.
pub fn scheme(entry: &str) -> Option<String> {
    let (scheme, _) = entry.split_once("://")?;
    Some(scheme.to_ascii_lowercase())
}

/// Whether an entry, or a file that was listed, is of another machine.
pub fn is_remote(name: &str) -> bool {
    scheme(name).is_some()
}
