-- The provider that a credential is of, as its connection has it, so that who
-- takes what is due need not look at a thousand connections.
alter table credentials add column provider_id uuid;
update credentials set provider_id = (
    select provider_id from connections
    where connections.workspace_id = credentials.workspace_id
    and connections.connection_id = credentials.connection_id);
