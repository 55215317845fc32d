//! Owns how a client presents its token: as a bearer token, and for pages also as the password that
//! browsers ask for, since they send no bearer token for a page.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use poem::http::HeaderValue;

use super::required_scope;

/// The token of a request for that path, good or bad; `None` when there is none. A header that
/// cannot be read presents an empty one.
pub(crate) fn token_in(authorization: Option<&HeaderValue>, path: &str) -> Option<String> {
    let text = authorization?.to_str().unwrap_or_default();
    let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
    if scheme.eq_ignore_ascii_case("Bearer") {
        return Some(rest.trim().to_owned());
    }
    // Browsers send passwords with whatever a foreign page asks for, so nothing but pages takes one.
    if scheme.eq_ignore_ascii_case("Basic") && required_scope::is_page(path) {
        return Some(password(rest.trim()).unwrap_or_default());
    }
    Some(String::new())
}

fn password(credentials: &str) -> Option<String> {
    let credentials = String::from_utf8(STANDARD.decode(credentials).ok()?).ok()?;
    credentials.split_once(':').map(|(_user, password)| password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str, path: &str) -> Option<String> {
        token_in(Some(&HeaderValue::from_str(header).unwrap()), path)
    }

    #[test]
    fn a_bearer_token_is_taken_everywhere_and_a_password_for_pages_only() {
        assert_eq!(token("Bearer kas_1", "/runs").as_deref(), Some("kas_1"));
        assert_eq!(token("bearer  kas_1", "/docs").as_deref(), Some("kas_1"));
        let basic = format!("Basic {}", STANDARD.encode("me:kas_1"));
        assert_eq!(token(&basic, "/docs").as_deref(), Some("kas_1"));
        assert_eq!(token(&basic, "/runs").as_deref(), Some(""));
    }

    #[test]
    fn a_header_that_cannot_be_read_is_a_bad_token_and_not_none() {
        for header in ["Bearer", "Basic", "Basic !", "Digest x", ""] {
            assert_eq!(token(header, "/docs").as_deref(), Some(""), "{header:?}");
        }
        assert_eq!(token_in(None, "/docs"), None);
    }
}
