-- Each row has its place in a writer's chain: the primary key says so, and
-- lets no two rows have the same. A writer's rows are of all workspaces, so
-- this key does not begin with workspace_id.
drop index audit_events_by_connection;
alter table audit_events rename to audit_events_before;
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
    writer_id blob not null,
    seq integer not null,
    mac blob not null,
    primary key (writer_id, seq)
);
-- Rows from before have no MAC; a verification counts them apart.
insert into audit_events
select workspace_id, audit_event_id, occurred_at, action, error, api_key_id, user_id, connection_id, provider_name,
       request_id, x'00000000000000000000000000000000', row_number() over (order by audit_event_id, workspace_id), x''
from audit_events_before;
drop table audit_events_before;
create index audit_events_by_workspace on audit_events (workspace_id, audit_event_id);
create index audit_events_by_connection on audit_events (workspace_id, connection_id, audit_event_id);

-- Up to where a writer's rows were deleted on purpose, signed.
create table audit_checkpoints (
    writer_id blob not null primary key,
    seq integer not null,
    row_mac blob not null,
    key_id blob not null,
    made_at text not null,
    mac blob not null
);
