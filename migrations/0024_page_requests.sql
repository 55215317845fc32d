-- A page is what a request was answered with: two requests with the same answer are two pages, and the body is
-- stored once. The page that brought a body first has its hash; another one the hash of its request and of the
-- body.
create table raw_api_pages (
    source text not null,
    page_hash bytea not null check (octet_length(page_hash) in (16, 32)),
    body_hash bytea not null check (octet_length(body_hash) in (16, 32)),
    -- Of method, address without secrets, and body; null for pages that an earlier version read.
    request_hash bytea check (octet_length(request_hash) = 32),
    url text not null,
    -- What mapping has to know besides the body, such as fields of a parent.
    context json,
    run_id bigint not null,
    slice bigint not null,
    fetched_at timestamptz not null default now(),
    primary key (source, page_hash)
);

-- Which pages a body is of.
create index raw_api_pages_by_body on raw_api_pages (source, body_hash);

insert into raw_api_pages (source, page_hash, body_hash, url, run_id, slice, fetched_at)
select source, body_hash, body_hash, url, run_id, slice, fetched_at from raw_api_data;

alter table unchanged_pages rename column body_hash to page_hash;
alter table unchanged_pages rename constraint unchanged_pages_body_hash_check
to unchanged_pages_page_hash_check;
