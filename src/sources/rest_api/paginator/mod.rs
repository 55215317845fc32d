//! How an API is walked page by page: a file for each way, and its line below. Its parameters, their
//! JSON Schema and what `check` says of them come from there.
//!
//! Must not know: how requests are sent, and how records are mapped.

mod offset;
mod page_number;
mod page_view;
mod paginate;
mod repeated;
mod single_page;
#[cfg(test)]
mod tests;

use schemars::JsonSchema;
use serde::Deserialize;

pub use self::offset::Offset;
pub use self::page_number::PageNumber;
pub(super) use self::page_view::PageView;
pub(super) use self::paginate::{End, Paginate, Step};
pub use self::single_page::SinglePage;

macro_rules! paginators {
    ($($Kind:ident),+ $(,)?) => {
        /// How an answer leads to the next page.
        #[derive(Debug, Clone, Deserialize, JsonSchema)]
        #[serde(tag = "type", rename_all = "snake_case")]
        #[allow(missing_docs, reason = "each kind documents itself")]
        pub enum Paginator {
            $($Kind($Kind),)+
        }

        impl Paginator {
            /// The way.
            pub(super) fn kind(&self) -> &dyn Paginate {
                match self {
                    $(Self::$Kind(kind) => kind,)+
                }
            }
        }
    };
}

paginators! {
    SinglePage,
    PageNumber,
    Offset,
}

impl Default for Paginator {
    fn default() -> Self {
        Self::SinglePage(SinglePage::default())
    }
}
