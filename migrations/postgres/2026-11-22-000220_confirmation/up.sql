alter table consents add column require_confirmation boolean not null default false;

-- Credentials that a consent yielded and the application has yet to confirm:
-- sealed, and served to nobody.
create table confirmations (
    workspace_id uuid not null,
    connection_id uuid not null,
    consent_id uuid not null,
    code_hash bytea not null,
    credential bytea not null,
    scopes jsonb not null,
    subject text,
    token_origin text not null,
    tries bigint not null,
    created_at timestamptz not null,
    expires_at timestamptz not null,
    primary key (workspace_id, connection_id)
);
create index confirmations_by_expiry on confirmations (expires_at);
