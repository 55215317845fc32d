-- Who may ask the HTTP API for what. A secret is shown once, when it is made; only its hash is kept.
create table api_tokens (
    id text primary key check (id ~ '^[0-9a-f]{8}$'),
    name text check (length(name) between 1 and 100),
    scope text not null check (scope in ('read', 'run', 'admin')),
    secret_hash bytea not null check (octet_length(secret_hash) = 32),
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    -- To the minute or so: it is not written for every request.
    last_used_at timestamptz
);
