-- Tokens that login servers gave, so that all workers share them and each is renewed once. A token has no
-- row before a worker has had one that is kept.
create table oauth_tokens (
    -- Hash of how the job file says that the token is had; of nothing secret.
    key bytea primary key check (octet_length(key) = 32),
    -- The source that had it first; others may share it.
    source text not null,
    -- Sealed with KASPARRO_SECRET_KEY; null while the first one is had.
    sealed bytea,
    -- Each token that is had has the next number.
    generation bigint not null default 0,
    -- From when on it is renewed, and when it ends.
    renew_at timestamptz,
    expires_at timestamptz,
    renewed_at timestamptz
);
