drop table audit_checkpoints;
drop index audit_events_by_workspace;
drop index audit_events_by_connection;
create table audit_events_before (
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
insert into audit_events_before
select workspace_id, audit_event_id, occurred_at, action, error, api_key_id, user_id, connection_id, provider_name, request_id
from audit_events;
drop table audit_events;
alter table audit_events_before rename to audit_events;
create index audit_events_by_connection on audit_events (workspace_id, connection_id, audit_event_id);
