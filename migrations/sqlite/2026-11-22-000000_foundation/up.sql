-- Every key begins with workspace_id, so that the schema can be distributed by
-- it; api_keys and consents are found by hash before the workspace is known.

create table workspaces (
    workspace_id blob not null primary key,
    name text not null,
    allowed_return_urls blob not null,
    created_at text not null
);

create table api_keys (
    key_hash blob not null primary key,
    api_key_id blob not null unique,
    workspace_id blob not null,
    name text not null,
    scopes blob not null,
    created_at text not null,
    expires_at text,
    last_used_at text
);
create index api_keys_by_workspace on api_keys (workspace_id, api_key_id);

-- What may be taken once only, ever.
create table taken_once (
    name text not null primary key,
    taken_at text not null
);

create table providers (
    workspace_id blob not null,
    provider_id blob not null,
    name text not null,
    definition blob not null,
    -- A copy of definition.strategy: what GetToken answers.
    strategy blob not null,
    client_secret blob,
    secret_generation bigint not null,
    created_at text not null,
    updated_at text not null,
    primary key (workspace_id, provider_id)
);
create unique index providers_by_name on providers (workspace_id, name);

create table connections (
    workspace_id blob not null,
    connection_id blob not null,
    user_id text not null,
    provider_id blob not null,
    provider_name text not null,
    status text not null,
    reason text not null,
    scopes blob not null,
    connection_config blob not null,
    metadata blob not null,
    subject text,
    consent_expires_at text not null,
    expires_at text,
    refreshable boolean not null,
    created_at text not null,
    updated_at text not null,
    primary key (workspace_id, connection_id)
);
create index connections_by_user on connections (workspace_id, user_id, connection_id);
create index connections_by_provider on connections (workspace_id, provider_id, connection_id);

create table credentials (
    workspace_id blob not null,
    connection_id blob not null,
    usage blob not null,
    refresh blob,
    generation bigint not null,
    issued_at text not null,
    expires_at text,
    refresh_at text,
    token_origin text not null,
    -- The refresh lease: who refreshes, which attempt it is, until when.
    lease_owner blob,
    lease_epoch bigint not null,
    lease_until text,
    committed_epoch bigint not null,
    next_attempt_at text,
    attempts bigint not null,
    uncertain_since text,
    primary key (workspace_id, connection_id)
);
create index credentials_due on credentials (refresh_at) where refresh_at is not null;

create table consents (
    state_hash blob not null primary key,
    handle_hash blob not null unique,
    consent_id blob not null,
    workspace_id blob not null,
    connection_id blob not null,
    provider_id blob not null,
    secrets blob not null,
    return_url text not null,
    scopes blob not null,
    created_at text not null,
    expires_at text not null,
    spent_at text
);
create index consents_by_connection on consents (workspace_id, connection_id);
create index consents_by_expiry on consents (expires_at);

create table data_keys (
    workspace_id blob not null,
    data_key_id blob not null,
    kek_id text not null,
    wrapped blob not null,
    active boolean not null,
    created_at text not null,
    primary key (workspace_id, data_key_id)
);
create unique index data_keys_active on data_keys (workspace_id) where active;

-- Sealed copies of refresh or access tokens that the provider has yet to
-- revoke (RFC 7009).
create table upstream_revocations (
    workspace_id blob not null,
    upstream_revocation_id blob not null,
    connection_id blob not null,
    provider_id blob not null,
    token blob not null,
    created_at text not null,
    primary key (workspace_id, upstream_revocation_id)
);

-- Answers of mutations by their request_id (AIP-155).
create table answers (
    workspace_id blob not null,
    api_key_id blob not null,
    method text not null,
    request_id text not null,
    request_hash blob not null,
    answer blob,
    created_at text not null,
    primary key (workspace_id, api_key_id, method, request_id)
);
create index answers_by_age on answers (created_at);

-- Refers to no other table: it may speak of what does not exist any more.
create table audit_events (
    workspace_id blob not null,
    audit_event_id blob not null,
    occurred_at text not null,
    action text not null,
    error text,
    api_key_id blob,
    user_id text not null,
    connection_id blob,
    provider_name text not null,
    request_id text not null,
    primary key (workspace_id, audit_event_id)
);
create index audit_events_by_connection on audit_events (workspace_id, connection_id, audit_event_id);
