//! What a ciphertext is bound to. Every part is length-prefixed, so that no
//! two lists of parts run into the same bytes.

use crate::domain::{
    id::{DataKeyId, WorkspaceId},
    sealed::Place,
};

use super::format::VERSION;

fn encode(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len() + 4).sum());
    for part in parts {
        let length = u32::try_from(part.len()).expect("a part is far below 4 GiB");
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

/// Of a secret in its place.
pub(super) fn of(place: &Place, data_key_id: DataKeyId) -> Vec<u8> {
    let Place {
        workspace_id,
        table,
        row,
        field,
        generation,
    } = place;
    encode(&[
        &[VERSION],
        data_key_id.0.as_bytes(),
        workspace_id.0.as_bytes(),
        table.as_bytes(),
        row.as_bytes(),
        field.as_bytes(),
        &generation.to_be_bytes(),
    ])
}

/// Of a wrapped data key.
pub(super) fn of_data_key(workspace_id: WorkspaceId, data_key_id: DataKeyId) -> Vec<u8> {
    encode(&[
        &[VERSION],
        b"data_keys",
        workspace_id.0.as_bytes(),
        data_key_id.0.as_bytes(),
    ])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn hardening_40_different_lists_of_parts_never_encode_alike(
            a in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..6), 0..5),
            b in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..6), 0..5),
        ) {
            let encoded = |parts: &[Vec<u8>]| encode(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>());
            prop_assert_eq!(encoded(&a) == encoded(&b), a == b);
        }
    }

    #[test]
    fn hardening_40_parts_do_not_run_into_each_other() {
        assert_ne!(encode(&[b"ab", b"c"]), encode(&[b"a", b"bc"]));
        assert_ne!(encode(&[b"", b"a"]), encode(&[b"a", b""]));
    }
}
