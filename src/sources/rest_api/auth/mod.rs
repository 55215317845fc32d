//! How requests are authenticated: a file for each kind, and its line below. Its parameters, their
//! JSON Schema and what `check` says of them come from there.
//!
//! `send_as` is where a token goes, `login_server` how one is asked for tokens, `jwt` how a request for one
//! is signed.
//!
//! Must not know: pages, and how requests are sent.

mod api_key;
mod authorize;
mod basic;
mod bearer;
mod hmac;
mod jwt;
mod list;
mod login;
mod login_body;
mod login_server;
mod oauth2;
mod send_as;

use schemars::JsonSchema;
use serde::Deserialize;

pub use self::api_key::ApiKey;
pub(super) use self::authorize::{AuthContext, Authorize, Calls, SentToken};
pub use self::basic::Basic;
pub use self::bearer::Bearer;
pub use self::hmac::Hmac;
pub use self::list::AuthList;
pub use self::login::Login;
pub use self::oauth2::OAuth2;

macro_rules! auth_kinds {
    ($($Kind:ident = $word:literal),+ $(,)?) => {
        /// How requests are authenticated.
        #[derive(Debug, Clone, Deserialize, JsonSchema)]
        #[serde(tag = "type")]
        #[allow(missing_docs, reason = "each kind documents itself")]
        #[allow(clippy::large_enum_variant, reason = "a source has one, or a few")]
        pub enum Auth {
            $(#[serde(rename = $word)] $Kind($Kind),)+
        }

        impl Auth {
            /// The kind.
            pub(super) fn kind(&self) -> &dyn Authorize {
                match self {
                    $(Self::$Kind(kind) => kind,)+
                }
            }
        }
    };
}

auth_kinds! {
    ApiKey = "api_key",
    Bearer = "bearer",
    Basic = "basic",
    OAuth2 = "oauth2",
    Login = "login",
    Hmac = "hmac",
}
