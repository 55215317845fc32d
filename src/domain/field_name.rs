//! Owns the names of fields as they are kept. The source chooses them: a name may have megabytes, or a
//! character that PostgreSQL's text cannot hold, and is a part of indexed keys all the same.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

/// The most bytes of a name that is kept; an entry of an index holds about 2,700, of several parts.
pub const MAX_BYTES: usize = 500;
/// Bytes of a longer name that are kept in front of its hash.
const HEAD: usize = MAX_BYTES - "…#".len() - HASH_DIGITS;
const HASH_DIGITS: usize = 32;

/// The name as it is kept: a longer one as its beginning and its hash, so that two names stay two;
/// U+0000 as U+FFFD.
pub fn kept(name: &str) -> Cow<'_, str> {
    let name: Cow<'_, str> = match name.contains('\0') {
        true => name.replace('\0', "\u{fffd}").into(),
        false => name.into(),
    };
    if name.len() <= MAX_BYTES {
        return name;
    }
    let hash = Sha256::digest(name.as_bytes());
    let digits: String = hash.iter().take(HASH_DIGITS / 2).map(|b| format!("{b:02x}")).collect();
    format!("{}…#{digits}", &name[..name.floor_char_boundary(HEAD)]).into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_short_name_stays_and_a_long_one_ends_in_its_hash() {
        assert_eq!(kept("price"), "price");
        assert_eq!(kept("a\0b"), "a\u{fffd}b");
        let (a, b) = ("x".repeat(6_000), format!("{}y", "x".repeat(5_999)));
        assert!(kept(&a).starts_with("xxx") && kept(&a).contains("…#"), "{}", kept(&a));
        assert_ne!(kept(&a), kept(&b));
        assert_eq!(kept(&"x".repeat(MAX_BYTES)).len(), MAX_BYTES);
    }

    proptest! {
        #[test]
        fn any_name_is_kept_within_the_limit_and_only_once(name in ".{0,40}", times in 1usize..200) {
            let name = name.repeat(times);
            let kept_name = kept(&name).into_owned();
            prop_assert!(kept_name.len() <= MAX_BYTES && !kept_name.contains('\0'));
            prop_assert!(matches!(kept(&kept_name), Cow::Borrowed(same) if same == kept_name));
        }
    }
}
