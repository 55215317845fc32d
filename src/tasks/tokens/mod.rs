//! Owns where tokens of login servers are kept: in memory, and, where there is a `KASPARRO_SECRET_KEY`, sealed
//! in the database, so that all workers of all machines share them. One of them renews a token while the
//! others wait.
//!
//! A token is stored before it is used. If a worker dies between the server's answer and the commit, a
//! refresh token that the server takes once only is lost: `kasparro auth set` stores a new one.

mod sealing;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;

use crate::db::{self, Transaction, oauth_tokens};
use crate::domain::hash::StoredHash;
use crate::job_file::setting::SecretText;
use crate::sources::token_store::{
    AccessToken, Generation, HeldToken, Obtain, TokenKey, TokenRequest, Tokens, TokensInMemory,
    detached, used_for,
};
use crate::sources::{SourceError, SourceErrorKind, TokenStore};
pub use sealing::Sealing;

/// The tokens of a process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ProcessTokens(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    pool: PgPool,
    sealing: Option<Sealing>,
    in_memory: TokensInMemory,
    slots: Mutex<HashMap<TokenKey, Arc<tokio::sync::Mutex<Slot>>>>,
}

/// What this process knows of a token.
#[derive(Default)]
struct Slot {
    held: Option<HeldToken>,
    /// Tokens that could not be stored, and the generation that they follow: the server may take those before
    /// no more.
    unsaved: Option<(Generation, Tokens)>,
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").finish_non_exhaustive()
    }
}

/// The tokens as one source asks for them.
#[derive(Debug, Clone)]
struct TokensOfSource {
    shared: Arc<Shared>,
    source: Arc<str>,
}

/// The form of the tokens that is sealed.
#[derive(Serialize, Deserialize)]
struct Stored {
    access: String,
    refresh: Option<String>,
    #[serde(default)]
    grown_from: Vec<StoredHash>,
    #[serde(default)]
    set_by_hand: bool,
}

impl Slot {
    /// Holds tokens that are stored.
    fn restored(&mut self, generation: Generation, tokens: &Tokens) -> AccessToken {
        self.unsaved = None;
        let held = held(tokens, generation, used_for(tokens.lasts));
        self.held = Some(held.clone());
        held.token
    }
}

impl ProcessTokens {
    /// Of a process that stores tokens if it can seal them.
    pub fn new(pool: PgPool, sealing: Option<Sealing>) -> Self {
        let (in_memory, slots) = (TokensInMemory::default(), Mutex::default());
        Self(Arc::new(Shared { pool, sealing, in_memory, slots }))
    }

    /// What a source is given.
    pub fn of(&self, source: &str) -> Arc<dyn TokenStore> {
        Arc::new(TokensOfSource { shared: self.0.clone(), source: source.into() })
    }
}

impl TokenStore for TokensOfSource {
    fn token(&self, request: TokenRequest) -> BoxFuture<'static, Result<AccessToken, SourceError>> {
        if self.shared.sealing.is_none() {
            return self.shared.in_memory.token(request);
        }
        let slot = self.shared.slot(&request.key);
        let Self { shared, source } = self.clone();
        async move {
            let mut slot = slot.lock_owned().await;
            if let Some(token) = slot.held.as_ref().and_then(|held| held.good(request.refused)) {
                return Ok(token);
            }
            let key = request.key.clone();
            detached(async move {
                if let Some(token) = shared.saved(&mut slot, &source, &key).await? {
                    return Ok(token);
                }
                let renewed = shared.renewed(&mut slot, &source, request).await;
                let Err(error) = renewed else { return renewed };
                // The connection was lost while the server answered: nobody else has what it gave.
                match shared.saved(&mut slot, &source, &key).await {
                    Ok(Some(token)) => Ok(token),
                    Ok(None) | Err(_) => Err(error),
                }
            })
            .await
        }
        .boxed()
    }
}

impl Shared {
    fn slot(&self, key: &TokenKey) -> Arc<tokio::sync::Mutex<Slot>> {
        // A map of finished values is whole even if a holder of the lock panicked.
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.entry(key.clone()).or_default().clone()
    }

    /// The token in force, which somebody else may have renewed, or else a new one.
    async fn renewed(
        &self,
        slot: &mut Slot,
        source: &str,
        request: TokenRequest,
    ) -> Result<AccessToken, SourceError> {
        let TokenRequest { key, refused, must_be_kept, obtain } = request;
        let mut transaction = Transaction::begin(&self.pool).await.map_err(database)?;
        let kept = oauth_tokens::lock(&mut transaction, key.as_bytes(), source).await;
        let kept = kept.map_err(database)?;
        let (before, good_for) = match &kept.sealed {
            Some(sealed) => match self.open(&key, sealed) {
                Ok(tokens) => (Some(tokens), kept.good_for),
                Err(error) if must_be_kept => return Err(error),
                // Another can be had at any time.
                Err(_) => (None, Duration::ZERO),
            },
            None => (None, Duration::ZERO),
        };
        if let Some(tokens) = &before
            && good_for > Duration::ZERO
            && refused != Some(kept.generation)
        {
            let held = held(tokens, kept.generation, good_for);
            transaction.rollback().await.map_err(database)?;
            slot.held = Some(held.clone());
            return Ok(held.token);
        }
        let tokens =
            self.obtained(transaction, obtain, before, &key, slot, kept.generation).await?;
        Ok(slot.restored(kept.generation + 1, &tokens))
    }

    /// Stores tokens that could not be stored when they were had; `None` where there are none, or others were had
    /// since.
    async fn saved(
        &self,
        slot: &mut Slot,
        source: &str,
        key: &TokenKey,
    ) -> Result<Option<AccessToken>, SourceError> {
        let Some((before, tokens)) = slot.unsaved.clone() else { return Ok(None) };
        let mut transaction = Transaction::begin(&self.pool).await.map_err(database)?;
        let kept = oauth_tokens::lock(&mut transaction, key.as_bytes(), source).await;
        let generation = kept.map_err(database)?.generation;
        if generation != before {
            slot.unsaved = None;
            transaction.rollback().await.map_err(database)?;
            return Ok(None);
        }
        self.keep(&mut transaction, key, slot, generation, &tokens).await?;
        transaction.commit().await.map_err(database)?;
        tracing::info!(source, "a token that could not be stored before is stored now");
        Ok(Some(slot.restored(generation + 1, &tokens)))
    }

    /// Has new tokens and stores them.
    async fn obtained(
        &self,
        mut transaction: Transaction,
        obtain: Obtain,
        before: Option<Tokens>,
        key: &TokenKey,
        slot: &mut Slot,
        generation: Generation,
    ) -> Result<Tokens, SourceError> {
        let limit = oauth_tokens::LONGEST_RENEWAL;
        let too_long = |_| {
            let message = "the login server did not answer within 10 minutes";
            Err(SourceError::new(SourceErrorKind::TimedOut, message))
        };
        let tokens =
            match tokio::time::timeout(limit, obtain(before)).await.unwrap_or_else(too_long) {
                Ok(tokens) => tokens,
                Err(error) => {
                    transaction.rollback().await.map_err(database)?;
                    return Err(error);
                }
            };
        self.keep(&mut transaction, key, slot, generation, &tokens).await?;
        transaction.commit().await.map_err(database)?;
        Ok(tokens)
    }

    async fn keep(
        &self,
        transaction: &mut Transaction,
        key: &TokenKey,
        slot: &mut Slot,
        generation: Generation,
        tokens: &Tokens,
    ) -> Result<(), SourceError> {
        // Until it is known to be stored, this process alone has it.
        slot.unsaved = Some((generation, tokens.clone()));
        let sealed = self.seal(key, tokens)?;
        let (used_for, lasts) = (used_for(tokens.lasts), tokens.lasts);
        let next = generation + 1;
        oauth_tokens::keep(transaction, key.as_bytes(), &sealed, next, used_for, lasts)
            .await
            .map_err(database)
    }

    fn seal(&self, key: &TokenKey, tokens: &Tokens) -> Result<Vec<u8>, SourceError> {
        seal(self.sealing.as_ref(), key, tokens)
    }

    fn open(&self, key: &TokenKey, sealed: &[u8]) -> Result<Tokens, SourceError> {
        open(self.sealing.as_ref(), key, sealed).ok_or_else(|| {
            SourceError::new(
                SourceErrorKind::MissingValue,
                "the stored token was sealed with another KASPARRO_SECRET_KEY",
            )
            .advise(
                "set the key that it was sealed with, or store a new refresh token with `kasparro auth set \
                 SOURCE`",
            )
        })
    }
}

fn held(tokens: &Tokens, generation: Generation, good_for: Duration) -> HeldToken {
    let token = AccessToken { text: tokens.access.clone(), generation };
    HeldToken { token, until: Instant::now() + good_for }
}

fn seal(
    sealing: Option<&Sealing>,
    key: &TokenKey,
    tokens: &Tokens,
) -> Result<Vec<u8>, SourceError> {
    let stored = Stored {
        access: tokens.access.expose().to_owned(),
        refresh: tokens.refresh.as_ref().map(|text| text.expose().to_owned()),
        grown_from: tokens.grown_from.clone(),
        set_by_hand: tokens.set_by_hand,
    };
    let text = serde_json::to_vec(&stored).ok();
    let sealed = text.zip(sealing).and_then(|(text, sealing)| sealing.seal(key.as_bytes(), &text));
    sealed.ok_or_else(|| {
        SourceError::new(
            SourceErrorKind::Internal,
            "a token could not be sealed, and is not stored",
        )
    })
}

fn open(sealing: Option<&Sealing>, key: &TokenKey, sealed: &[u8]) -> Option<Tokens> {
    let text = sealing?.open(key.as_bytes(), sealed)?;
    let stored: Stored = serde_json::from_slice(&text).ok()?;
    Some(Tokens {
        access: stored.access.into(),
        refresh: stored.refresh.map(SecretText::from),
        lasts: Duration::ZERO,
        grown_from: stored.grown_from,
        set_by_hand: stored.set_by_hand,
    })
}

/// Stores a refresh token by hand: the next request has an access token with it.
///
/// # Errors
/// Database errors, and when it cannot be sealed.
pub async fn set_by_hand(
    pool: &PgPool,
    sealing: &Sealing,
    key: &TokenKey,
    source: &str,
    refresh: SecretText,
) -> Result<(), SourceError> {
    let mut transaction = Transaction::begin(pool).await.map_err(database)?;
    let kept = oauth_tokens::lock(&mut transaction, key.as_bytes(), source);
    let kept = kept.await.map_err(database)?;
    let before = kept.sealed.and_then(|sealed| open(Some(sealing), key, &sealed));
    let tokens = Tokens {
        // Its time is over at once, so nobody sends it.
        access: String::new().into(),
        refresh: Some(refresh),
        lasts: Duration::ZERO,
        grown_from: before.map(|before| before.grown_from).unwrap_or_default(),
        set_by_hand: true,
    };
    let sealed = seal(Some(sealing), key, &tokens)?;
    let (key, next) = (key.as_bytes(), kept.generation + 1);
    oauth_tokens::keep(&mut transaction, key, &sealed, next, Duration::ZERO, Duration::ZERO)
        .await
        .map_err(database)?;
    transaction.commit().await.map_err(database)
}

/// What it means for a source that the database fails.
fn database(error: sqlx::Error) -> SourceError {
    let kind = SourceErrorKind::Engine(db::failure_class(&error));
    SourceError::new(kind, "the token cannot be stored or read").caused_by(error)
}
