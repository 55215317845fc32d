//! Owns the cookie of the console: its name, its words, and how it is found. It counts below `/ui` and nowhere else.

use std::time::Duration;

use poem::http::HeaderMap;
use poem::http::header::COOKIE;

/// What it is called. No prefix such as `__Host-`: over plain http, which a console on this machine is, browsers would
/// not keep it.
const NAME: &str = "kasparro_session";

/// How long somebody stays signed in.
pub(crate) const LASTS: Duration = Duration::from_secs(12 * 3600);

/// What the cookie of a request says. Several of the name, which a page of a sibling host may have set, are none.
pub(crate) fn in_headers(headers: &HeaderMap) -> Option<String> {
    let mut found = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|header| header.to_str().ok())
        .flat_map(|header| header.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(name, _)| *name == NAME)
        .map(|(_, value)| value.to_owned());
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

/// The header that signs a browser in. `Lax`, so that a link in a message finds its reader signed in; nothing changes
/// by following one.
pub(crate) fn signing_in(secret: &str, is_https: bool) -> String {
    let secure = if is_https { "; Secure" } else { "" };
    format!(
        "{NAME}={secret}; Path=/ui; HttpOnly; SameSite=Lax; Max-Age={}{secure}",
        LASTS.as_secs()
    )
}

/// The header that signs it out.
pub(crate) fn signing_out() -> String {
    format!("{NAME}=; Path=/ui; HttpOnly; SameSite=Lax; Max-Age=0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(cookies: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(COOKIE, cookie.parse().unwrap());
        }
        in_headers(&headers)
    }

    #[test]
    fn the_cookie_is_found_among_others_and_never_when_there_are_two() {
        assert_eq!(found(&["a=b; kasparro_session=x; c=d"]).as_deref(), Some("x"));
        assert_eq!(found(&["a=b", "kasparro_session=x=y"]).as_deref(), Some("x=y"));
        for none in [
            &["a=b"][..],
            &["kasparro_session=x; kasparro_session=y"],
            &["xkasparro_session=x"],
            &[],
        ] {
            assert_eq!(found(none), None, "{none:?}");
        }
    }

    #[test]
    fn the_cookie_is_for_the_console_only_and_no_script_reads_it() {
        let cookie = signing_in("x", true);
        for word in ["Path=/ui", "HttpOnly", "SameSite=Lax", "Secure", "Max-Age=43200"] {
            assert!(cookie.contains(word), "{cookie}");
        }
        assert!(!signing_in("x", false).contains("Secure"));
    }
}
