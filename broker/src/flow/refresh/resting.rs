//! When a refresh token may be sent again whose last use has an unknown outcome:
//! a rotated one that comes twice looks stolen, and takes the grant with it.

use chrono::TimeDelta;

use crate::{
    domain::{Timestamp, credential::Credential, provider::Provider},
    store::LEASE_SECONDS,
};

/// Since when the outcome is unknown, where it is: an answer was lost, or a
/// lease ran out unreleased, whose owner may have sent the token and died.
pub(super) fn unknown_since(credential: &Credential, now: Timestamp) -> Option<Timestamp> {
    let ran_out = credential.lease_until.filter(|until| *until <= now);
    credential
        .uncertain_since
        .or_else(|| ran_out.map(|until| until - TimeDelta::seconds(LEASE_SECONDS)))
}

/// The first time at which it may be sent again, not before `soonest`: at once
/// where it is known not to rotate, or still within the provider's
/// `refresh_reuse_interval`; else when the access token, which serves until
/// then, has expired.
pub(super) fn until(
    credential: &Credential,
    provider: &Provider,
    since: Timestamp,
    soonest: Timestamp,
) -> Timestamp {
    let client = &provider.definition.oauth2;
    let reusable_until = since + TimeDelta::seconds(client.refresh_reuse_interval.into());
    let free = !client.refresh_token_rotation
        || (client.refresh_reuse_interval > 0 && soonest < reusable_until);
    match credential.content.expires_at {
        _ if free => soonest,
        Some(expires_at) => expires_at.max(soonest),
        // Nobody knows when it expires: a reconnect decides.
        None => soonest + TimeDelta::days(3650),
    }
}
