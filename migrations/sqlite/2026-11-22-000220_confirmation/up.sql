alter table consents add column require_confirmation boolean not null default false;

-- Credentials that a consent yielded and the application has yet to confirm:
-- sealed, and served to nobody.
create table confirmations (
    workspace_id blob not null,
    connection_id blob not null,
    consent_id blob not null,
    code_hash blob not null,
    credential blob not null,
    scopes blob not null,
    subject text,
    token_origin text not null,
    tries bigint not null,
    created_at text not null,
    expires_at text not null,
    primary key (workspace_id, connection_id)
);
create index confirmations_by_expiry on confirmations (expires_at);
