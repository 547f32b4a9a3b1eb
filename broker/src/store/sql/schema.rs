//! The tables, as `migrations/` makes them.

diesel::table! {
    use super::super::super::types::*;

    workspaces (workspace_id) {
        workspace_id -> Id,
        name -> Text,
        allowed_return_urls -> Jsonb,
        created_at -> Ts,
        deleted_at -> Nullable<Ts>,
    }
}

diesel::table! {
    use super::super::super::types::*;

    api_keys (key_hash) {
        key_hash -> Binary,
        api_key_id -> Id,
        workspace_id -> Id,
        name -> Text,
        scopes -> Jsonb,
        created_at -> Ts,
        expires_at -> Nullable<Ts>,
        last_used_at -> Nullable<Ts>,
    }
}

diesel::table! {
    use super::super::super::types::*;

    taken_once (name) {
        name -> Text,
        taken_at -> Ts,
    }
}

diesel::table! {
    use super::super::super::types::*;

    providers (workspace_id, provider_id) {
        workspace_id -> Id,
        provider_id -> Id,
        name -> Text,
        definition -> Jsonb,
        strategy -> Jsonb,
        client_secret -> Nullable<Binary>,
        secret_generation -> BigInt,
        created_at -> Ts,
        updated_at -> Ts,
        deleted_at -> Nullable<Ts>,
    }
}

diesel::table! {
    use super::super::super::types::*;

    connections (workspace_id, connection_id) {
        workspace_id -> Id,
        connection_id -> Id,
        user_id -> Text,
        provider_id -> Id,
        provider_name -> Text,
        status -> Text,
        reason -> Text,
        scopes -> Jsonb,
        connection_config -> Jsonb,
        metadata -> Jsonb,
        subject -> Nullable<Text>,
        consent_expires_at -> Ts,
        expires_at -> Nullable<Ts>,
        refreshable -> Bool,
        created_at -> Ts,
        updated_at -> Ts,
        event_sequence -> BigInt,
    }
}

diesel::table! {
    use super::super::super::types::*;

    credentials (workspace_id, connection_id) {
        workspace_id -> Id,
        connection_id -> Id,
        usage -> Binary,
        refresh -> Nullable<Binary>,
        generation -> BigInt,
        issued_at -> Ts,
        expires_at -> Nullable<Ts>,
        refresh_at -> Nullable<Ts>,
        token_origin -> Text,
        lease_owner -> Nullable<Id>,
        lease_epoch -> BigInt,
        lease_until -> Nullable<Ts>,
        committed_epoch -> BigInt,
        next_attempt_at -> Nullable<Ts>,
        attempts -> BigInt,
        uncertain_since -> Nullable<Ts>,
        due_at -> Nullable<Ts>,
        provider_id -> Nullable<Id>,
    }
}

diesel::table! {
    use super::super::super::types::*;

    consents (state_hash) {
        state_hash -> Binary,
        handle_hash -> Binary,
        consent_id -> Id,
        workspace_id -> Id,
        connection_id -> Id,
        provider_id -> Id,
        secrets -> Binary,
        return_url -> Text,
        scopes -> Jsonb,
        created_at -> Ts,
        expires_at -> Ts,
        spent_at -> Nullable<Ts>,
        require_confirmation -> Bool,
        completed_at -> Nullable<Ts>,
    }
}

diesel::table! {
    use super::super::super::types::*;

    data_keys (workspace_id, data_key_id) {
        workspace_id -> Id,
        data_key_id -> Id,
        kek_id -> Text,
        wrapped -> Binary,
        active -> Bool,
        created_at -> Ts,
        seals -> BigInt,
        wrapped_at -> Nullable<Ts>,
        emptied_at -> Nullable<Ts>,
    }
}

diesel::table! {
    use super::super::super::types::*;

    key_rotations (key_rotation_id) {
        key_rotation_id -> Id,
        target -> Text,
        workspace_id -> Nullable<Id>,
        total -> BigInt,
        done -> BigInt,
        failed -> BigInt,
        created_at -> Ts,
        started_at -> Nullable<Ts>,
        finished_at -> Nullable<Ts>,
        lease_owner -> Nullable<Id>,
        lease_until -> Nullable<Ts>,
    }
}

diesel::table! {
    use super::super::super::types::*;

    upstream_revocations (workspace_id, upstream_revocation_id) {
        workspace_id -> Id,
        upstream_revocation_id -> Id,
        connection_id -> Id,
        provider_id -> Id,
        token -> Binary,
        created_at -> Ts,
        attempts -> BigInt,
        next_attempt_at -> Ts,
    }
}

diesel::table! {
    use super::super::super::types::*;

    answers (workspace_id, api_key_id, method, request_id) {
        workspace_id -> Id,
        api_key_id -> Id,
        method -> Text,
        request_id -> Text,
        request_hash -> Binary,
        answer -> Nullable<Binary>,
        created_at -> Ts,
    }
}

diesel::table! {
    use super::super::super::types::*;

    audit_events (writer_id, seq) {
        workspace_id -> Id,
        audit_event_id -> Id,
        occurred_at -> Ts,
        action -> Text,
        error -> Nullable<Text>,
        api_key_id -> Nullable<Id>,
        user_id -> Text,
        connection_id -> Nullable<Id>,
        provider_name -> Text,
        request_id -> Text,
        writer_id -> Id,
        seq -> BigInt,
        mac -> Binary,
    }
}

diesel::table! {
    use super::super::super::types::*;

    audit_checkpoints (writer_id) {
        writer_id -> Id,
        seq -> BigInt,
        row_mac -> Binary,
        key_id -> Id,
        made_at -> Ts,
        mac -> Binary,
    }
}

diesel::table! {
    use super::super::super::types::*;

    events (workspace_id, connection_id, sequence) {
        workspace_id -> Id,
        connection_id -> Id,
        sequence -> BigInt,
        event_id -> Id,
        kind -> Text,
        status -> Text,
        reason -> Text,
        generation -> BigInt,
        user_id -> Text,
        provider_name -> Text,
        occurred_at -> Ts,
    }
}

diesel::table! {
    use super::super::super::types::*;

    webhooks (workspace_id, webhook_id) {
        workspace_id -> Id,
        webhook_id -> Id,
        url -> Text,
        event_types -> Jsonb,
        disabled -> Bool,
        disabled_reason -> Text,
        secret -> Binary,
        secret_generation -> BigInt,
        previous_secret -> Nullable<Binary>,
        previous_secret_until -> Nullable<Ts>,
        created_at -> Ts,
        updated_at -> Ts,
    }
}

diesel::table! {
    use super::super::super::types::*;

    webhook_deliveries (workspace_id, delivery_id) {
        workspace_id -> Id,
        delivery_id -> Id,
        webhook_id -> Id,
        event_id -> Id,
        event_type -> Text,
        connection_id -> Id,
        payload -> Text,
        status -> Text,
        attempts -> BigInt,
        next_attempt_at -> Ts,
        give_up_at -> Ts,
        response_status -> Nullable<BigInt>,
        error -> Text,
        created_at -> Ts,
        delivered_at -> Nullable<Ts>,
    }
}

diesel::table! {
    use super::super::super::types::*;

    confirmations (workspace_id, connection_id) {
        workspace_id -> Id,
        connection_id -> Id,
        consent_id -> Id,
        code_hash -> Binary,
        credential -> Binary,
        scopes -> Jsonb,
        subject -> Nullable<Text>,
        token_origin -> Text,
        tries -> BigInt,
        created_at -> Ts,
        expires_at -> Ts,
    }
}

diesel::allow_tables_to_appear_in_same_query!(
    connections,
    credentials,
    providers,
    consents,
    api_keys,
    confirmations
);
