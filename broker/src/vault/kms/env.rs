//! Key provider `env`: ENCRYPTION_KEY, and ENCRYPTION_KEY_PREVIOUS while data
//! keys are still wrapped under an earlier one.

use std::sync::Arc;

use super::{BadSetting, KeyProvider, KeySource, local};

const ADVICE: &str = "must be 32 random bytes in base64; make one with `openssl rand -base64 32`";

pub(super) fn make(source: &KeySource<'_>) -> Result<Arc<dyn KeyProvider>, BadSetting> {
    let read = |name: &'static str| {
        (source.setting)(name)
            .map(|text| {
                local::parse(&text).ok_or(BadSetting {
                    name,
                    advice: ADVICE.into(),
                })
            })
            .transpose()
    };
    let current = read("ENCRYPTION_KEY")?.ok_or(BadSetting {
        name: "ENCRYPTION_KEY",
        advice: ADVICE.into(),
    })?;
    let previous: Vec<_> = read("ENCRYPTION_KEY_PREVIOUS")?.into_iter().collect();
    Ok(Arc::new(local::LocalKeys::new(
        &current,
        &previous,
        source.ambient,
    )))
}
