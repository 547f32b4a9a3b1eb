create table webhooks (
    workspace_id blob not null,
    webhook_id blob not null,
    url text not null,
    -- Empty: all of them.
    event_types blob not null,
    disabled boolean not null,
    disabled_reason text not null,
    secret blob not null,
    secret_generation bigint not null,
    -- The secret of the generation before, while it still signs as well.
    previous_secret blob,
    previous_secret_until text,
    created_at text not null,
    updated_at text not null,
    primary key (workspace_id, webhook_id)
);

-- Made in the transaction of the event; each is sent until it arrives or its
-- time is over.
create table webhook_deliveries (
    workspace_id blob not null,
    delivery_id blob not null,
    webhook_id blob not null,
    event_id blob not null,
    event_type text not null,
    connection_id blob not null,
    payload text not null,
    status text not null,
    attempts bigint not null,
    next_attempt_at text not null,
    give_up_at text not null,
    response_status bigint,
    error text not null,
    created_at text not null,
    delivered_at text,
    primary key (workspace_id, delivery_id)
);
create index webhook_deliveries_due on webhook_deliveries (next_attempt_at) where status = 'pending';
create index webhook_deliveries_by_webhook on webhook_deliveries (workspace_id, webhook_id, delivery_id);
create index webhook_deliveries_by_age on webhook_deliveries (created_at);
