-- How many events the connection has had: raised under its row's lock, so the
-- events of a connection are numbered in the order in which they commit, and
-- without gaps.
alter table connections add column event_sequence bigint not null default 0;

-- What watches and webhooks are told. Refers to no other table.
create table events (
    workspace_id uuid not null,
    connection_id uuid not null,
    sequence bigint not null,
    event_id uuid not null,
    kind text not null,
    status text not null,
    reason text not null,
    generation bigint not null,
    user_id text not null,
    provider_name text not null,
    occurred_at timestamptz not null,
    primary key (workspace_id, connection_id, sequence)
);
create index events_by_age on events (occurred_at);

-- What time alone will change.
create index connections_waiting on connections (consent_expires_at) where status = 'pending';
create index connections_expiring on connections (expires_at) where status = 'active' and not refreshable;
