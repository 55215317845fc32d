//! Owns the tokens as requests see them: read anew at most once a second, whatever is asked, so that
//! wrong tokens cost the database nothing and a revoked one is refused within a second.
//!
//! Must not know: HTTP.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use crate::api::state::ApiState;
use crate::db::api_tokens::{self, HeldToken};
use crate::db::console_sessions;
use crate::domain::token::{Scope, Token, TokenId};

/// How old the tokens in memory may be.
const FRESH: Duration = Duration::from_secs(1);
/// How old they may be where a session is not among them: somebody has perhaps just signed in.
const JUST_NOW: Duration = Duration::from_millis(20);
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

impl Holder {
    fn of(token: &HeldToken) -> Self {
        Self { id: token.id.clone(), name: token.name.clone(), scope: token.scope }
    }
}

impl Known {
    /// Who signed in with what has that hash, if the token is good still.
    fn holder(&self, hash: &[u8; 32]) -> Option<Holder> {
        let token = self.tokens.get(self.sessions.get(hash)?)?;
        (!token.expired).then(|| Holder::of(token))
    }
}

/// What is kept of what a cookie says. The secret is random and long, so a plain hash cannot be searched.
pub(crate) fn session_hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// The database did not say which tokens there are.
#[derive(Debug)]
pub(crate) struct Unanswered;

/// Tokens, and the browsers that were signed in with them.
#[derive(Debug, Default)]
struct Known {
    tokens: HashMap<TokenId, HeldToken>,
    sessions: HashMap<[u8; 32], TokenId>,
}

type Held = Option<Arc<Known>>;

/// The tokens that there are; cheap to clone.
#[derive(Clone)]
pub(crate) struct TokenCache(Arc<Inner>);

struct Inner {
    state: ApiState,
    /// What the database said and when; `None` for no answer.
    seen: Mutex<Option<(Instant, Held)>>,
    noted: std::sync::Mutex<HashMap<TokenId, Instant>>,
}

impl TokenCache {
    /// A token_cache of that database.
    pub(crate) fn new(state: ApiState) -> Self {
        Self(Arc::new(Inner { state, seen: Mutex::default(), noted: std::sync::Mutex::default() }))
    }

    /// Who sent that token, or none.
    ///
    /// # Errors
    /// [`Unanswered`]
    pub(crate) async fn caller(&self, token: Option<&str>) -> Result<Caller, Unanswered> {
        self.caller_of(token, FRESH).await
    }

    /// Who signs in with that token, which was made just now perhaps.
    ///
    /// # Errors
    /// [`Unanswered`]
    pub(crate) async fn who_signs_in(&self, token: &str) -> Result<Caller, Unanswered> {
        self.caller_of(Some(token), JUST_NOW).await
    }

    /// Who looks at the console with a session that is not known yet: somebody may have signed in just now, perhaps at
    /// another process. Asks the database, so it is to be asked of those only who do not ask too often.
    ///
    /// # Errors
    /// [`Unanswered`]
    pub(crate) async fn new_viewer(&self, session: &str) -> Result<Caller, Unanswered> {
        self.held(JUST_NOW).await?;
        self.viewer(Some(session)).await
    }

    /// Has the database asked again by the next request: somebody has signed in or out.
    pub(crate) async fn forget(&self) {
        *self.0.seen.lock().await = None;
    }

    async fn caller_of(&self, token: Option<&str>, fresh: Duration) -> Result<Caller, Unanswered> {
        let held = self.held(fresh).await?;
        let Some(text) = token else {
            return Ok(if held.tokens.is_empty() {
                Caller::Anybody
            } else {
                Caller::Unauthenticated
            });
        };
        let token = Token::parse(text);
        let good = token.and_then(|token| {
            let kept = held.tokens.get(token.id())?;
            (token.matches(&kept.hash) && !kept.expired).then_some(kept)
        });
        let Some(good) = good else { return Ok(Caller::Unauthenticated) };
        self.note_use(&good.id);
        Ok(Caller::Holder(Holder::of(good)))
    }

    /// Who looks at the console, by what their cookie says.
    ///
    /// # Errors
    /// [`Unanswered`]
    pub(crate) async fn viewer(&self, session: Option<&str>) -> Result<Caller, Unanswered> {
        let held = self.held(FRESH).await?;
        let Some(secret) = session else {
            let is_open = held.tokens.is_empty();
            return Ok(if is_open { Caller::Anybody } else { Caller::Unauthenticated });
        };
        match held.holder(&session_hash(secret)) {
            Some(holder) => {
                self.note_use(&holder.id);
                Ok(Caller::Holder(holder))
            }
            None if held.tokens.is_empty() => Ok(Caller::Anybody),
            None => Ok(Caller::Unauthenticated),
        }
    }

    /// One request asks the database, the others wait for its answer, good or bad.
    async fn held(&self, fresh: Duration) -> Result<Arc<Known>, Unanswered> {
        let mut seen = self.0.seen.lock().await;
        if let Some((at, held)) = &*seen
            && at.elapsed() < fresh
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

    async fn load(&self) -> Result<Known, sqlx::Error> {
        let mut connection = self.0.state.connection().await?;
        let held = api_tokens::held(&mut *connection).await?;
        let sessions = console_sessions::open(&mut *connection).await?;
        Ok(Known {
            tokens: held.into_iter().map(|token| (token.id.clone(), token)).collect(),
            sessions: sessions.into_iter().collect(),
        })
    }

    /// In the background: no request waits for it, and none fails by it.
    fn note_use(&self, id: &TokenId) {
        let mut noted = self.0.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.get(id).is_some_and(|at| at.elapsed() < NOTE_EVERY) {
            return;
        }
        noted.insert(id.clone(), Instant::now());
        let (pool, id) = (self.0.state.pool.clone(), id.clone());
        tokio::spawn(async move {
            if let Err(error) = api_tokens::note_use(&pool, &id).await {
                tracing::warn!(token = %id, error = %error, "the use of a token was not noted");
            }
        });
    }
}
