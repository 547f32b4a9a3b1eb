-- How often a data key may have sealed: reserved in blocks, so never too few.
alter table data_keys add column seals bigint not null default 0;
-- When its key-encryption key last wrapped it; null: when it was made.
alter table data_keys add column wrapped_at timestamptz;
-- A retired key's: since when no row is left that names it.
alter table data_keys add column emptied_at timestamptz;
create index data_keys_with_rows on data_keys (workspace_id) where not active and emptied_at is null;

-- Rotations as jobs, which any broker goes on with. The workspace is that of
-- the data key to rotate; null means all of them.
create table key_rotations (
    key_rotation_id uuid not null primary key,
    target text not null,
    workspace_id uuid,
    total bigint not null,
    done bigint not null,
    failed bigint not null,
    created_at timestamptz not null,
    started_at timestamptz,
    finished_at timestamptz,
    lease_owner uuid,
    lease_until timestamptz
);
create index key_rotations_unfinished on key_rotations (key_rotation_id) where finished_at is null;

-- A rotation finds a consent's row by its id.
create index consents_by_id on consents (workspace_id, consent_id);

-- What is written must be sealed under the workspace's active data key: a
-- broker that has not heard of a rotation yet is refused, and seals again. The
-- key's row is locked until the writer commits, so that whoever retires the key
-- (FOR UPDATE) sees every row that was sealed before. What is too short to be a
-- ciphertext opens under no key.
create function names_active_data_key(workspace uuid, sealed bytea) returns boolean
language plpgsql as $$
declare
    is_active boolean;
begin
    if sealed is null or length(sealed) < 45 then
        return true;
    end if;
    select active into is_active from data_keys
        where workspace_id = workspace
        and data_key_id = encode(substr(sealed, 2, 16), 'hex')::uuid
        for key share;
    return coalesce(is_active, false);
end
$$;

create function refuse_stale_data_key() returns trigger
language plpgsql as $$
begin
    raise exception 'stale data key';
end
$$;

create trigger credentials_usage_inserted before insert on credentials for each row
    when (not names_active_data_key(new.workspace_id, new.usage))
    execute function refuse_stale_data_key();
create trigger credentials_usage_updated before update of usage on credentials for each row
    when (new.usage is distinct from old.usage and not names_active_data_key(new.workspace_id, new.usage))
    execute function refuse_stale_data_key();

create trigger credentials_refresh_inserted before insert on credentials for each row
    when (not names_active_data_key(new.workspace_id, new.refresh))
    execute function refuse_stale_data_key();
create trigger credentials_refresh_updated before update of refresh on credentials for each row
    when (new.refresh is distinct from old.refresh and not names_active_data_key(new.workspace_id, new.refresh))
    execute function refuse_stale_data_key();

create trigger providers_client_secret_inserted before insert on providers for each row
    when (not names_active_data_key(new.workspace_id, new.client_secret))
    execute function refuse_stale_data_key();
create trigger providers_client_secret_updated before update of client_secret on providers for each row
    when (new.client_secret is distinct from old.client_secret and not names_active_data_key(new.workspace_id, new.client_secret))
    execute function refuse_stale_data_key();

create trigger consents_secrets_inserted before insert on consents for each row
    when (not names_active_data_key(new.workspace_id, new.secrets))
    execute function refuse_stale_data_key();
create trigger consents_secrets_updated before update of secrets on consents for each row
    when (new.secrets is distinct from old.secrets and not names_active_data_key(new.workspace_id, new.secrets))
    execute function refuse_stale_data_key();

create trigger upstream_revocations_token_inserted before insert on upstream_revocations for each row
    when (not names_active_data_key(new.workspace_id, new.token))
    execute function refuse_stale_data_key();
create trigger upstream_revocations_token_updated before update of token on upstream_revocations for each row
    when (new.token is distinct from old.token and not names_active_data_key(new.workspace_id, new.token))
    execute function refuse_stale_data_key();

create trigger answers_answer_inserted before insert on answers for each row
    when (not names_active_data_key(new.workspace_id, new.answer))
    execute function refuse_stale_data_key();
create trigger answers_answer_updated before update of answer on answers for each row
    when (new.answer is distinct from old.answer and not names_active_data_key(new.workspace_id, new.answer))
    execute function refuse_stale_data_key();

create trigger confirmations_credential_inserted before insert on confirmations for each row
    when (not names_active_data_key(new.workspace_id, new.credential))
    execute function refuse_stale_data_key();
create trigger confirmations_credential_updated before update of credential on confirmations for each row
    when (new.credential is distinct from old.credential and not names_active_data_key(new.workspace_id, new.credential))
    execute function refuse_stale_data_key();

create trigger webhooks_secret_inserted before insert on webhooks for each row
    when (not names_active_data_key(new.workspace_id, new.secret))
    execute function refuse_stale_data_key();
create trigger webhooks_secret_updated before update of secret on webhooks for each row
    when (new.secret is distinct from old.secret and not names_active_data_key(new.workspace_id, new.secret))
    execute function refuse_stale_data_key();

create trigger webhooks_previous_secret_inserted before insert on webhooks for each row
    when (not names_active_data_key(new.workspace_id, new.previous_secret))
    execute function refuse_stale_data_key();
create trigger webhooks_previous_secret_updated before update of previous_secret on webhooks for each row
    when (new.previous_secret is distinct from old.previous_secret and not names_active_data_key(new.workspace_id, new.previous_secret))
    execute function refuse_stale_data_key();
