//! Names that a caller sent, made fit for an error message.

/// A name in quotes, if it looks like one; a secret pasted into the wrong
/// place, or a line that would forge a log entry, is not repeated.
pub(crate) fn quoted(prefix: &str, name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_.-@".contains(&b);
    if !name.is_empty() && name.len() <= 64 && name.bytes().all(plain) {
        format!("{prefix} \"{name}\"")
    } else {
        prefix.to_owned()
    }
}

/// The part of [`quoted`] that may stand as a field path.
pub(crate) fn safe(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_.-@".contains(&b);
    if name.len() <= 64 && name.bytes().all(plain) {
        name.to_owned()
    } else {
        String::new()
    }
}
