//! Owns the tokens as requests see them: read anew at most once a second, whatever is asked, so that
//! wrong tokens cost the database nothing and a revoked one is refused within a second.
//!
//! Must not know: HTTP.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use crate::api::state::ApiState;
use crate::db::api_tokens::{self, HeldToken};
use crate::domain::token::{Scope, Token, TokenId};

/// How old the tokens in memory may be.
const FRESH: Duration = Duration::from_secs(1);
/// How often a use is written down.
const NOTE_EVERY: Duration = Duration::from_secs(60);

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Somebody with a good token.
    Holder(Holder),
    /// Somebody without one, while there is no token at all.
    Anybody,
    /// Somebody whose token is missing or not good.
    Unauthenticated,
}

/// Whose token is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) id: TokenId,
    pub(crate) name: Option<String>,
    pub(crate) scope: Scope,
}

/// The database did not say which tokens there are.
#[derive(Debug)]
pub(crate) struct Unanswered;

type Held = Option<Arc<HashMap<TokenId, HeldToken>>>;

/// The tokens that there are.
pub(crate) struct TokenCache {
    state: ApiState,
    /// What the database said and when; `None` for no answer.
    seen: Mutex<Option<(Instant, Held)>>,
    noted: std::sync::Mutex<HashMap<TokenId, Instant>>,
}

impl TokenCache {
    /// A token_cache of that database.
    pub(crate) fn new(state: ApiState) -> Self {
        Self { state, seen: Mutex::default(), noted: std::sync::Mutex::default() }
    }

    /// Who sent that token, or none.
    ///
    /// # Errors
    /// [`Unanswered`]
    pub(crate) async fn caller(&self, token: Option<&str>) -> Result<Caller, Unanswered> {
        let held = self.held().await?;
        let Some(text) = token else {
            return Ok(if held.is_empty() { Caller::Anybody } else { Caller::Unauthenticated });
        };
        let token = Token::parse(text);
        let good = token.and_then(|token| {
            let kept = held.get(token.id())?;
            (token.matches(&kept.hash) && !kept.expired).then_some(kept)
        });
        let Some(good) = good else { return Ok(Caller::Unauthenticated) };
        self.note_use(&good.id);
        Ok(Caller::Holder(Holder {
            id: good.id.clone(),
            name: good.name.clone(),
            scope: good.scope,
        }))
    }

    /// One request asks the database, the others wait for its answer, good or bad.
    async fn held(&self) -> Result<Arc<HashMap<TokenId, HeldToken>>, Unanswered> {
        let mut seen = self.seen.lock().await;
        if let Some((at, held)) = &*seen
            && at.elapsed() < FRESH
        {
            return held.clone().ok_or(Unanswered);
        }
        let held = match self.load().await {
            Ok(held) => Some(Arc::new(held)),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "the tokens cannot be read, so no request is answered");
                None
            }
        };
        *seen = Some((Instant::now(), held.clone()));
        held.ok_or(Unanswered)
    }

    async fn load(&self) -> Result<HashMap<TokenId, HeldToken>, sqlx::Error> {
        let mut connection = self.state.connection().await?;
        let held = api_tokens::held(&mut *connection).await?;
        Ok(held.into_iter().map(|token| (token.id.clone(), token)).collect())
    }

    /// In the background: no request waits for it, and none fails by it.
    fn note_use(&self, id: &TokenId) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.get(id).is_some_and(|at| at.elapsed() < NOTE_EVERY) {
            return;
        }
        noted.insert(id.clone(), Instant::now());
        let (pool, id) = (self.state.pool.clone(), id.clone());
        tokio::spawn(async move {
            if let Err(error) = api_tokens::note_use(&pool, &id).await {
                tracing::warn!(token = %id, error = %error, "the use of a token was not noted");
            }
        });
    }
}
