-- What providers have yet to be told: how often that was tried, and when it is
-- tried next; who claims a row moves that time.
alter table upstream_revocations add column attempts bigint not null default 0;
alter table upstream_revocations add column next_attempt_at timestamptz not null default '1970-01-01 00:00:00+00';
create index upstream_revocations_due on upstream_revocations (next_attempt_at);
create index upstream_revocations_by_provider on upstream_revocations (workspace_id, provider_id);

-- Deleted for everybody but those who revoke, batch by batch, what hangs on it.
alter table providers add column deleted_at timestamptz;
drop index providers_by_name;
create unique index providers_by_name on providers (workspace_id, name) where deleted_at is null;
create index providers_deleted on providers (deleted_at) where deleted_at is not null;

alter table workspaces add column deleted_at timestamptz;
create index workspaces_deleted on workspaces (deleted_at) where deleted_at is not null;
