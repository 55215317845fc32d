//! How an API is walked page by page: a file for each way, and its line below. Its parameters, their
//! JSON Schema and what `check` says of them come from there.
//!
//! A paginator says where the next page would be; `rules` decides whether there is one, by what `end_keys` finds
//! in the page and by what `chain` knows of those before: why it is the last (`reasons`), and whether everything has
//! come (`proof`); what a page means that is not there (`absent`) or repeats another (`repeats`), and which are asked
//! for side by side (`beside`).
//!
//! Must not know: how requests are sent, and how records are mapped.

mod absent;
mod beside;
mod chain;
mod cursor;
mod end_keys;
mod link_header;
mod links;
mod next_url;
mod offset;
mod page_number;
mod page_view;
mod paginate;
mod proof;
mod reasons;
mod repeats;
mod rules;
mod shortfall;
mod single_page;
mod target;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

pub use self::cursor::Cursor;
pub use self::end_keys::Place;
pub use self::link_header::LinkHeader;
pub use self::next_url::NextUrl;
pub use self::offset::Offset;
pub use self::page_number::PageNumber;
pub(super) use self::page_view::{PageView, Surroundings};
use self::paginate::Paginate;
pub(super) use self::paginate::Way;
use self::rules::Rules;
pub(super) use self::rules::Verdict;
pub use self::single_page::SinglePage;
pub(super) use self::target::PagePath;
use self::target::{Target, Targets};
use super::body_params::{BodyParams, PageVariable};
use super::request::RequestParts;
use crate::sources::SourceError;

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
            fn kind(&self) -> &dyn Paginate {
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
    Cursor,
    LinkHeader,
    NextUrl,
}

impl Default for Paginator {
    fn default() -> Self {
        Self::SinglePage(SinglePage::default())
    }
}

impl Paginator {
    /// How pages are found.
    pub(super) fn way(&self) -> Way<'_> {
        self.kind().way()
    }

    /// What of a request takes the number of a page, as messages name it; `None` where none does.
    pub(super) fn number_at(&self) -> Option<String> {
        match self.way() {
            Way::Numbered { target, .. } => Some(target.to_string()),
            Way::Single { .. } | Way::Referenced => None,
        }
    }

    /// Whether what moves in the list while it is read may be missed. Links may count pages or not: nobody knows
    /// before they come. The lists of children are short, and most have one page: of those only numbers count.
    pub(super) fn may_shift(&self, of_parents: bool) -> bool {
        let by_links = matches!(self, Self::LinkHeader(_) | Self::NextUrl(_));
        matches!(self.way(), Way::Numbered { .. }) || by_links && !of_parents
    }

    /// What serde cannot check of its parameters: the key below `rest_api.paginator`, or `None` for the
    /// table itself, and what is wrong there.
    pub(super) fn problems(&self) -> Vec<(Option<&'static str>, String)> {
        let mut problems = self.kind().problems();
        problems.extend(self.kind().targets().iter().flat_map(Targets::problems));
        problems.extend(self.kind().end_keys().problems());
        problems
    }

    /// What is wrong with them for a request with this body.
    pub(super) fn request_problems(
        &self,
        body: &BodyParams<'_>,
    ) -> Vec<(Option<&'static str>, String)> {
        self.kind().targets().map(|targets| targets.request_problems(body)).unwrap_or_default()
    }

    /// The query parameters that it sets, with their keys below `rest_api.paginator`.
    pub(super) fn query_params(&self) -> Vec<(&'static str, &str)> {
        let param = self.kind().targets().and_then(|targets| match targets.target()? {
            Target::Param(name) => Some(("param", name)),
            Target::Body(_) | Target::Variable(_) | Target::Path(_) => None,
        });
        let size_param = self.kind().page_size().0.map(|name| ("size_param", name));
        param.into_iter().chain(size_param).collect()
    }

    /// The path of pages that have one of their own, a template, and the name that only it knows.
    pub(super) fn path(&self) -> Option<(&str, &'static str)> {
        let targets = self.kind().targets()?;
        Some((targets.path?, targets.asks.name()))
    }

    /// The same of the page at a position; `None` for one that has the path of the job file.
    ///
    /// # Errors
    /// When it is no position of this paginator.
    pub(super) fn path_of(&self, at: &Value) -> Result<Option<PagePath<'_>>, SourceError> {
        let Some((template, name)) = self.path() else { return Ok(None) };
        let value = self.kind().asks_by(&chain::own(at))?;
        Ok(value.map(|value| PagePath { template, name, value }))
    }

    /// Whether all pages have a path of their own.
    pub(super) fn has_all_paths(&self) -> bool {
        self.path().is_some() && matches!(self.way(), Way::Numbered { .. })
    }

    /// What tells it from others where it is stored. Keys that earlier versions did not have are in it only where they
    /// are set: else all sources would be read anew.
    pub(super) fn identity(&self) -> String {
        let later: &[&str] = match self {
            Self::PageNumber(_) | Self::Offset(_) => &["body_path", "variable", "path"],
            Self::Cursor(_) => &["path"],
            Self::SinglePage(_) | Self::LinkHeader(_) | Self::NextUrl(_) => &[],
        };
        let without = |text: String, key: &&str| text.replacen(&format!(", {key}: None"), "", 1);
        later.iter().fold(format!("{self:?}"), without)
    }

    /// The cursors that say that there is no next page.
    pub(super) fn end_values(&self) -> &[Value] {
        self.kind().end_values()
    }

    /// The variable of a GraphQL query that takes the number or cursor of a page.
    pub(super) fn variable(&self) -> Option<PageVariable<'_>> {
        self.kind().targets()?.page_variable()
    }

    /// Whether the first pages are all that is wanted, however many there are.
    pub(super) fn first_pages_only(&self) -> bool {
        self.kind().end_keys().first_pages_only
            || matches!(self.way(), Way::Single { first_page_only: true })
    }

    /// Whether several pages of a chain are asked for at a time.
    pub(super) fn is_side_by_side(&self) -> bool {
        self.kind().end_keys().concurrency.is_some_and(|pages| pages > 1)
    }

    /// Whether a run goes on at the cursor at which the one before ended.
    pub(super) fn resumes(&self) -> bool {
        self.kind().resumes()
    }

    /// The position of the first page of a run that goes on at a cursor; `None` where none does.
    pub(super) fn resumed(&self, cursor: &Value) -> Option<Value> {
        self.kind().resumed(cursor)
    }

    /// The cursor at which a later run goes on, when the page at this position is the last and has everything.
    ///
    /// # Errors
    /// When it cannot be found in the page.
    pub(super) fn last_cursor(
        &self,
        at: &Value,
        page: PageView<'_>,
    ) -> Result<Option<Value>, SourceError> {
        self.kind().last_cursor(&chain::own(at), page)
    }

    /// Whether the page at a position is asked for by a cursor that holds the beginning as well.
    pub(super) fn asks_by_cursor(&self, at: &Value) -> bool {
        self.kind().asks_by_cursor(&chain::own(at))
    }

    /// The position of the first page.
    pub(super) fn first(&self) -> Value {
        self.kind().first()
    }

    /// A position without what is known of its chain, which may hold words of the API.
    pub(super) fn own_words(&self, at: &Value) -> Value {
        chain::own(at)
    }

    /// Which page of the full sync a position is, from 1: recorded pages are named by it.
    ///
    /// # Errors
    /// When it is no position of this paginator.
    pub(super) fn ordinal(&self, at: &Value) -> Result<u64, SourceError> {
        self.kind().ordinal(&chain::own(at))
    }

    /// How the page at a position is named in messages.
    ///
    /// # Errors
    /// When it is no position of this paginator.
    pub(super) fn name(&self, at: &Value) -> Result<String, SourceError> {
        self.kind().name(&chain::own(at))
    }

    /// Changes the parts of the request so that they ask for the page at a position.
    ///
    /// # Errors
    /// When it is no position of this paginator.
    pub(super) fn ask_for(
        &self,
        at: &Value,
        request: &mut RequestParts,
    ) -> Result<(), SourceError> {
        self.kind().ask_for(&chain::own(at), request)
    }

    /// What follows from the page at a position.
    ///
    /// # Errors
    /// When the page shows that the API is not walked this way, or can be walked no further.
    pub(super) fn verdict(
        &self,
        at: &Value,
        page: PageView<'_>,
        around: &dyn Surroundings,
    ) -> Result<Verdict, SourceError> {
        Rules::of(self.kind(), at, page, around)?.decide()
    }

    /// Whether earlier versions ended a full sync before this position: their recordings end there.
    ///
    /// # Errors
    /// When it is no position of this paginator.
    pub(super) fn ended_before(&self, at: &Value) -> Result<bool, SourceError> {
        rules::ended_before(self.kind(), at)
    }

    /// Whether a response that holds nothing may be the end at this position.
    ///
    /// # Errors
    /// When it is no position of this paginator.
    pub(super) fn may_be_the_end(&self, at: &Value) -> Result<bool, SourceError> {
        absent::may_be_the_end(self.kind(), at)
    }

    /// The position that can be asked for though the page at this one could not be had, and how many pages on it is.
    ///
    /// # Errors
    /// When it is no position of this paginator.
    pub(super) fn behind_a_failure(&self, at: &Value) -> Result<Option<(u32, Value)>, SourceError> {
        beside::behind_a_failure(self.kind(), at)
    }
}
