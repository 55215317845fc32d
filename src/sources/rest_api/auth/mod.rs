//! How requests are authenticated: a file for each kind, and its line below. Its parameters, their
//! JSON Schema and what `check` says of them come from there.
//!
//! Must not know: pages, responses, and how requests are sent.

mod api_key;
mod authorize;
mod bearer;

use schemars::JsonSchema;
use serde::Deserialize;

pub use self::api_key::ApiKey;
pub(super) use self::authorize::{AuthContext, Authorize};
pub use self::bearer::Bearer;

macro_rules! auth_kinds {
    ($($Kind:ident),+ $(,)?) => {
        /// How requests are authenticated.
        #[derive(Debug, Clone, Deserialize, JsonSchema)]
        #[serde(tag = "type", rename_all = "snake_case")]
        #[allow(missing_docs, reason = "each kind documents itself")]
        pub enum Auth {
            $($Kind($Kind),)+
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
    ApiKey,
    Bearer,
}
