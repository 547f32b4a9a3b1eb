-- Each row has its place in a writer's chain: the primary key says so, and
-- lets no two rows have the same. A writer's rows are of all workspaces, so
-- this key does not begin with workspace_id.
alter table audit_events
    add column writer_id uuid,
    add column seq bigint,
    add column mac bytea;
-- Rows from before have no MAC; a verification counts them apart.
update audit_events
set writer_id = '00000000-0000-0000-0000-000000000000', seq = numbered.n, mac = ''
from (select workspace_id w, audit_event_id e, row_number() over (order by audit_event_id, workspace_id) n
      from audit_events) numbered
where workspace_id = numbered.w and audit_event_id = numbered.e;
alter table audit_events
    alter column writer_id set not null,
    alter column seq set not null,
    alter column mac set not null,
    drop constraint audit_events_pkey,
    add primary key (writer_id, seq);
create index audit_events_by_workspace on audit_events (workspace_id, audit_event_id);

-- Up to where a writer's rows were deleted on purpose, signed.
create table audit_checkpoints (
    writer_id uuid not null primary key,
    seq bigint not null,
    row_mac bytea not null,
    key_id uuid not null,
    made_at timestamptz not null,
    mac bytea not null
);
