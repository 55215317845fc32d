//! Where tokens that a login server gave are kept, so that all who read a source share them. The engine
//! supplies it, as it supplies [`super::Access`]: a source knows how a token is had, and nothing of where it is kept.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;

use super::{SourceError, SourceErrorKind};
use crate::domain::hash::{ContentHash, StoredHash};
use crate::job_file::setting::SecretText;

/// What a login server gave. Has no `Debug` that shows it.
#[derive(Clone)]
pub struct Tokens {
    /// What requests are sent with.
    pub access: SecretText,
    /// What the next one is had with, where the server gives such a token.
    pub refresh: Option<SecretText>,
    /// How long the access token is good for, from now on.
    pub lasts: Duration,
    /// Hashes of the refresh tokens of job files that this one descends from: none of them is good any more,
    /// wherever it may still be set.
    pub grown_from: Vec<StoredHash>,
    /// Whether somebody has stored it: then it counts, whatever the job file says.
    pub set_by_hand: bool,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("lasts", &self.lasts).finish_non_exhaustive()
    }
}

/// Names a token by how the job file says that it is had, and by nothing secret: where that is the same for
/// two sources, they share the token.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TokenKey(ContentHash);

impl TokenKey {
    /// The key of what a text describes.
    pub fn of(description: &str) -> Self {
        Self(ContentHash::of(description.as_bytes()))
    }

    /// As stored.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Display for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which token of a key: each that is had has the next number.
pub type Generation = i64;

/// A token that requests are sent with.
#[derive(Debug, Clone)]
pub struct AccessToken {
    /// The token.
    pub text: SecretText,
    /// Which it is.
    pub generation: Generation,
}

/// Has new tokens; given are those of before, as far as they are kept.
pub type Obtain = Box<
    dyn FnOnce(Option<Tokens>) -> BoxFuture<'static, Result<Tokens, SourceError>> + Send + 'static,
>;

/// What a source asks for.
pub struct TokenRequest {
    /// Which token.
    pub key: TokenKey,
    /// The generation that the API has refused, though its time was not over.
    pub refused: Option<Generation>,
    /// Whether the server takes a refresh token once only, so that what is not kept is lost for good.
    pub must_be_kept: bool,
    /// How new ones are had.
    pub obtain: Obtain,
}

/// Where tokens are kept.
pub trait TokenStore: fmt::Debug + Send + Sync {
    /// The token in force. It is renewed when most of its life is over, or when it is the one that was refused;
    /// however many ask, one of them renews it, and the others wait for that. Who stops waiting breaks
    /// nothing off.
    ///
    /// # Errors
    /// When it cannot be had, or not be kept although it must be.
    fn token(&self, request: TokenRequest) -> BoxFuture<'static, Result<AccessToken, SourceError>>;
}

/// How much of a token's life may be over: what is left bridges the way to the API.
const USED_UP: f64 = 0.9;

/// How long a token is used that is good for this long.
pub fn used_for(lasts: Duration) -> Duration {
    lasts.mul_f64(USED_UP)
}

/// A token in memory.
#[derive(Debug, Clone)]
pub struct HeldToken {
    /// The token.
    pub token: AccessToken,
    /// Until when it is used.
    pub until: Instant,
}

impl HeldToken {
    /// The token, unless its time is over or it was refused.
    pub fn good(&self, refused: Option<Generation>) -> Option<AccessToken> {
        let is_good = Instant::now() < self.until && refused != Some(self.token.generation);
        is_good.then(|| self.token.clone())
    }
}

/// Keeps tokens as long as the process lives: for whom there is no database.
#[derive(Debug, Default, Clone)]
pub struct TokensInMemory {
    held: Arc<Mutex<HashMap<TokenKey, Slot>>>,
}

type Slot = Arc<tokio::sync::Mutex<Option<(HeldToken, Tokens)>>>;

impl TokenStore for TokensInMemory {
    fn token(&self, request: TokenRequest) -> BoxFuture<'static, Result<AccessToken, SourceError>> {
        // A map of finished values is whole even if a holder of the lock panicked.
        let mut slots = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.entry(request.key).or_default().clone();
        drop(slots);
        let TokenRequest { refused, must_be_kept, obtain, .. } = request;
        async move {
            let mut slot = slot.lock_owned().await;
            if let Some((held, _)) = &*slot
                && let Some(token) = held.good(refused)
            {
                return Ok(token);
            }
            if must_be_kept {
                return Err(cannot_be_kept());
            }
            detached(async move {
                let before = slot.take();
                let generation = before.as_ref().map_or(1, |(held, _)| held.token.generation + 1);
                let tokens = obtain(before.map(|(_, tokens)| tokens)).await?;
                let token = AccessToken { text: tokens.access.clone(), generation };
                let until = Instant::now() + used_for(tokens.lasts);
                *slot = Some((HeldToken { token: token.clone(), until }, tokens));
                Ok(token)
            })
            .await
        }
        .boxed()
    }
}

/// The refusal of a token that would be lost with the process.
pub fn cannot_be_kept() -> SourceError {
    SourceError::new(
        SourceErrorKind::MissingValue,
        "the login server takes each refresh token once, so the next one must be stored, and there is no \
         KASPARRO_SECRET_KEY to seal it with",
    )
    .advise(
        "set KASPARRO_SECRET_KEY, or KASPARRO_SECRET_KEY_FILE, for every process of kasparro (`openssl rand \
         -base64 32` makes a key)",
    )
}

/// Does work to its end even if nobody waits for it any more: a token that a server gave and nobody kept
/// may be lost for good.
///
/// # Errors
/// Those of the work.
pub async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T, SourceError>> + Send + 'static,
) -> Result<T, SourceError> {
    tokio::spawn(work).await.unwrap_or_else(|error| {
        Err(SourceError::new(SourceErrorKind::Internal, "having a token failed").caused_by(error))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    fn request(
        refused: Option<Generation>,
        lasts: Duration,
        asked: &Arc<AtomicI64>,
    ) -> TokenRequest {
        let asked = asked.clone();
        let obtain: Obtain = Box::new(move |_| {
            async move {
                // Whoever waits meanwhile gets the same.
                tokio::task::yield_now().await;
                let number = asked.fetch_add(1, Ordering::SeqCst) + 1;
                let access = format!("token {number}").into();
                Ok(Tokens {
                    access,
                    refresh: None,
                    lasts,
                    grown_from: Vec::new(),
                    set_by_hand: false,
                })
            }
            .boxed()
        });
        TokenRequest { key: TokenKey::of("a"), refused, must_be_kept: false, obtain }
    }

    #[tokio::test]
    async fn however_many_ask_one_token_is_had_and_one_more_when_it_is_refused() {
        let (store, asked) = (TokensInMemory::default(), Arc::default());
        let hour = Duration::from_secs(3600);
        let all = |refused| {
            futures::future::join_all((0..10).map(|_| store.token(request(refused, hour, &asked))))
        };
        for (refused, expected) in [(None, 1), (Some(1), 2), (Some(1), 2), (None, 2)] {
            for token in all(refused).await {
                let token = token.unwrap();
                assert_eq!(
                    (token.text.expose(), token.generation),
                    (&*format!("token {expected}"), expected)
                );
            }
        }
    }

    #[tokio::test]
    async fn a_token_without_life_is_had_for_each_request_and_one_nobody_waits_for_is_kept() {
        let (store, asked) = (TokensInMemory::default(), Arc::default());
        for expected in [1, 2] {
            let token = store.token(request(None, Duration::ZERO, &asked)).await.unwrap();
            assert_eq!(token.generation, expected);
        }
        let hour = Duration::from_secs(3600);
        let begun = store.token(request(None, hour, &asked));
        // Polled once, and then given up.
        assert!(begun.now_or_never().is_none());
        let token = store.token(request(None, hour, &asked)).await.unwrap();
        assert_eq!((token.generation, asked.load(Ordering::SeqCst)), (3, 3));
    }

    #[tokio::test]
    async fn what_would_be_lost_with_the_process_is_not_even_asked_for() {
        let (store, asked) = (TokensInMemory::default(), Arc::default());
        let request = TokenRequest { must_be_kept: true, ..request(None, Duration::ZERO, &asked) };
        let error = store.token(request).await.unwrap_err();
        assert!(error.text().contains("KASPARRO_SECRET_KEY"), "{error}");
        assert_eq!(asked.load(Ordering::SeqCst), 0);
    }
}
