drop table audit_checkpoints;
drop index audit_events_by_workspace;
alter table audit_events
    drop constraint audit_events_pkey,
    drop column writer_id,
    drop column seq,
    drop column mac,
    add primary key (workspace_id, audit_event_id);
