-- Every key begins with workspace_id, so that the schema can be distributed by
-- it; api_keys and consents are found by hash before the workspace is known.

create table workspaces (
    workspace_id uuid not null primary key,
    name text not null,
    allowed_return_urls jsonb not null,
    created_at timestamptz not null
);

create table api_keys (
    key_hash bytea not null primary key,
    api_key_id uuid not null unique,
    workspace_id uuid not null,
    name text not null,
    scopes jsonb not null,
    created_at timestamptz not null,
    expires_at timestamptz,
    last_used_at timestamptz
);
create index api_keys_by_workspace on api_keys (workspace_id, api_key_id);

-- What may be taken once only, ever.
create table taken_once (
    name text not null primary key,
    taken_at timestamptz not null
);

create table providers (
    workspace_id uuid not null,
    provider_id uuid not null,
    name text not null,
    definition jsonb not null,
    -- A copy of definition.strategy: what GetToken answers.
    strategy jsonb not null,
    client_secret bytea,
    secret_generation bigint not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (workspace_id, provider_id)
);
create unique index providers_by_name on providers (workspace_id, name);

create table connections (
    workspace_id uuid not null,
    connection_id uuid not null,
    user_id text not null,
    provider_id uuid not null,
    provider_name text not null,
    status text not null,
    reason text not null,
    scopes jsonb not null,
    connection_config jsonb not null,
    metadata jsonb not null,
    subject text,
    consent_expires_at timestamptz not null,
    expires_at timestamptz,
    refreshable boolean not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (workspace_id, connection_id)
);
create index connections_by_user on connections (workspace_id, user_id, connection_id);
create index connections_by_provider on connections (workspace_id, provider_id, connection_id);

create table credentials (
    workspace_id uuid not null,
    connection_id uuid not null,
    usage bytea not null,
    refresh bytea,
    generation bigint not null,
    issued_at timestamptz not null,
    expires_at timestamptz,
    refresh_at timestamptz,
    token_origin text not null,
    -- The refresh lease: who refreshes, which attempt it is, until when.
    lease_owner uuid,
    lease_epoch bigint not null,
    lease_until timestamptz,
    committed_epoch bigint not null,
    next_attempt_at timestamptz,
    attempts bigint not null,
    uncertain_since timestamptz,
    primary key (workspace_id, connection_id)
);
create index credentials_due on credentials (refresh_at) where refresh_at is not null;

create table consents (
    state_hash bytea not null primary key,
    handle_hash bytea not null unique,
    consent_id uuid not null,
    workspace_id uuid not null,
    connection_id uuid not null,
    provider_id uuid not null,
    secrets bytea not null,
    return_url text not null,
    scopes jsonb not null,
    created_at timestamptz not null,
    expires_at timestamptz not null,
    spent_at timestamptz
);
create index consents_by_connection on consents (workspace_id, connection_id);
create index consents_by_expiry on consents (expires_at);

create table data_keys (
    workspace_id uuid not null,
    data_key_id uuid not null,
    kek_id text not null,
    wrapped bytea not null,
    active boolean not null,
    created_at timestamptz not null,
    primary key (workspace_id, data_key_id)
);
create unique index data_keys_active on data_keys (workspace_id) where active;

-- Sealed copies of refresh or access tokens that the provider has yet to
-- revoke (RFC 7009).
create table upstream_revocations (
    workspace_id uuid not null,
    upstream_revocation_id uuid not null,
    connection_id uuid not null,
    provider_id uuid not null,
    token bytea not null,
    created_at timestamptz not null,
    primary key (workspace_id, upstream_revocation_id)
);

-- Answers of mutations by their request_id (AIP-155).
create table answers (
    workspace_id uuid not null,
    api_key_id uuid not null,
    method text not null,
    request_id text not null,
    request_hash bytea not null,
    answer bytea,
    created_at timestamptz not null,
    primary key (workspace_id, api_key_id, method, request_id)
);
create index answers_by_age on answers (created_at);

-- Refers to no other table: it may speak of what does not exist any more.
create table audit_events (
    workspace_id uuid not null,
    audit_event_id uuid not null,
    occurred_at timestamptz not null,
    action text not null,
    error text,
    api_key_id uuid,
    user_id text not null,
    connection_id uuid,
    provider_name text not null,
    request_id text not null,
    primary key (workspace_id, audit_event_id)
);
create index audit_events_by_connection on audit_events (workspace_id, connection_id, audit_event_id);
