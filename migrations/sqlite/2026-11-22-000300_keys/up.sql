-- How often a data key may have sealed: reserved in blocks, so never too few.
alter table data_keys add column seals bigint not null default 0;
-- When its key-encryption key last wrapped it; null: when it was made.
alter table data_keys add column wrapped_at text;
-- A retired key's: since when no row is left that names it.
alter table data_keys add column emptied_at text;
create index data_keys_with_rows on data_keys (workspace_id) where not active and emptied_at is null;

-- Rotations as jobs, which any broker goes on with. The workspace is that of
-- the data key to rotate; null means all of them.
create table key_rotations (
    key_rotation_id blob not null primary key,
    target text not null,
    workspace_id blob,
    total bigint not null,
    done bigint not null,
    failed bigint not null,
    created_at text not null,
    started_at text,
    finished_at text,
    lease_owner blob,
    lease_until text
);
create index key_rotations_unfinished on key_rotations (key_rotation_id) where finished_at is null;

-- A rotation finds a consent's row by its id.
create index consents_by_id on consents (workspace_id, consent_id);

-- What is written must be sealed under the workspace's active data key: a
-- broker that has not heard of a rotation yet is refused, and seals again. What
-- is too short to be a ciphertext opens under no key.
create trigger credentials_usage_inserted before insert on credentials
    when length(new.usage) >= 45 and not exists (
        select 1 from data_keys where workspace_id = new.workspace_id
        and data_key_id = substr(new.usage, 2, 16) and active)
    begin select raise(abort, 'stale data key'); end;
create trigger credentials_usage_updated before update of usage on credentials
    when new.usage is not old.usage and length(new.usage) >= 45 and not exists (
        select 1 from data_keys where workspace_id = new.workspace_id
        and data_key_id = substr(new.usage, 2, 16) and active)
    begin select raise(abort, 'stale data key'); end;
create trigger credentials_refresh_inserted before insert on credentials
    when length(new.refresh) >= 45 and not exists (
        select 1 from data_keys where workspace_id = new.workspace_id
        and data_key_id = substr(new.refresh, 2, 16) and active)
    begin select raise(abort, 'stale data key'); end;
create trigger credentials_refresh_updated before update of refresh on credentials
    when new.refresh is not old.refresh and length(new.refresh) >= 45 and not exists (
        select 1 from data_keys where workspace_id = new.workspace_id
        and data_key_id = substr(new.refresh, 2, 16) and active)
    begin select raise(abort, 'stale data key'); end;
create trigger providers_client_secret_inserted before insert on providers
    when length(new.client_secret) >= 45 and not exists (
        select 1 from data_keys where workspace_id = new.workspace_id
        and data_key_id = substr(new.client_secret, 2, 16) and active)
    begin select raise(abort, 'stale data key'); end;
create trigger providers_client_secret_updated before update of client_secret on providers
    when new.client_secret is not old.client_secret and length(new.client_secret) >= 45 and not exists (
        select 1 from data_keys where workspace_id = new.workspace_id
        and data_key_id = substr(new.client_secret, 2, 16) and active)
    begin select raise(abort, 'stale data key'); end;
create trigger consents_secrets_inserted before insert on consents
    when length(new.secrets) >= 45 and not exists (
        select 1 from data_keys where workspace_id = new.workspace_id
        and data_key_id = substr(new.secrets, 2, 16) and active)
    begin select raise(abort, 'stale data key'); end;
create trigger consents_secrets_updated before update of secrets on consents
    when new.secrets is not old.secrets and length(new.secrets) >= 45 and not exists (
        select 1 from data_keys where workspace_id = new.workspace_id
        and data_key_id = substr(new.secrets, 2, 16) and active)
    begin select raise(abort, 'stale data key'); end;
create trigger upstream_revocations_token_inserted before insert on upstream_revocations
    when length(new.token) >= 45 and not exists (
        select 1 from data_keys where workspace_id = new.workspace_id
        and data_key_id = substr(new.token, 2, 16) and active)
    begin select raise(abort, 'stale data key'); end;
create trigger upstream_revocations_token_updated before update of token on upstream_revocations
    when new.token is not old.token and length(new.token) >= 45 and not exists (
        select 1 from data_keys where workspace_id = new.workspace_id
        and data_key_id = substr(new.token, 2, 16) and active)
    begin select raise(abort, 'stale data key'); end;
create trigger answers_answer_inserted before insert on answers
    when length(new.answer) >= 45 and not exists (
        select 1 from data_keys where workspace_id = new.workspace_id
        and data_key_id = substr(new.answer, 2, 16) and active)
    begin select raise(abort, 'stale data key'); end;
create trigger answers_answer_updated before update of answer on answers
    when new.answer is not old.answer and length(new.answer) >= 45 and not exists (
        select 1 from data_keys where workspace_id = new.workspace_id
        and data_key_id = substr(new.answer, 2, 16) and active)
    begin select raise(abort, 'stale data key'); end;
create trigger confirmations_credential_inserted before insert on confirmations
    when length(new.credential) >= 45 and not exists (
        select 1 from data_keys where workspace_id = new.workspace_id
        and data_key_id = substr(new.credential, 2, 16) and active)
    begin select raise(abort, 'stale data key'); end;
create trigger confirmations_credential_updated before update of credential on confirmations
    when new.credential is not old.credential and length(new.credential) >= 45 and not exists (
        select 1 from data_keys where workspace_id = new.workspace_id
        and data_key_id = substr(new.credential, 2, 16) and active)
    begin select raise(abort, 'stale data key'); end;
create trigger webhooks_secret_inserted before insert on webhooks
    when length(new.secret) >= 45 and not exists (
        select 1 from data_keys where workspace_id = new.workspace_id
        and data_key_id = substr(new.secret, 2, 16) and active)
    begin select raise(abort, 'stale data key'); end;
create trigger webhooks_secret_updated before update of secret on webhooks
    when new.secret is not old.secret and length(new.secret) >= 45 and not exists (
        select 1 from data_keys where workspace_id = new.workspace_id
        and data_key_id = substr(new.secret, 2, 16) and active)
    begin select raise(abort, 'stale data key'); end;
create trigger webhooks_previous_secret_inserted before insert on webhooks
    when length(new.previous_secret) >= 45 and not exists (
        select 1 from data_keys where workspace_id = new.workspace_id
        and data_key_id = substr(new.previous_secret, 2, 16) and active)
    begin select raise(abort, 'stale data key'); end;
create trigger webhooks_previous_secret_updated before update of previous_secret on webhooks
    when new.previous_secret is not old.previous_secret and length(new.previous_secret) >= 45 and not exists (
        select 1 from data_keys where workspace_id = new.workspace_id
        and data_key_id = substr(new.previous_secret, 2, 16) and active)
    begin select raise(abort, 'stale data key'); end;
