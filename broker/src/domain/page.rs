//! Pages of a list (AIP-158).

use uuid::Uuid;

use super::error::{Error, Result};

/// Which page of a list is asked for. Lists are ordered by id, which is by
/// time of creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest {
    /// At most this many, 1 to 1000.
    pub size: usize,
    /// Only what comes after this id.
    pub after: Option<Uuid>,
}

/// A page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// The token of the next page; empty on the last.
    pub next_page_token: String,
}

impl PageRequest {
    const DEFAULT_SIZE: usize = 50;
    const MAX_SIZE: usize = 1000;

    /// From the fields of a request.
    ///
    /// # Errors
    /// A negative size, or a token that no page answered.
    pub fn parse(page_size: i32, page_token: &str) -> Result<Self> {
        let size = usize::try_from(page_size)
            .map_err(|_| Error::invalid("page_size", "must not be negative"))?;
        let after =
            match page_token {
                "" => None,
                token => Some(Uuid::try_parse(token).map_err(|_| {
                    Error::invalid("page_token", "is not a token of an earlier page")
                })?),
            };
        let size = if size == 0 {
            Self::DEFAULT_SIZE
        } else {
            size.min(Self::MAX_SIZE)
        };
        Ok(Self { size, after })
    }

    /// How many rows to read: one more than the page, to know if another follows.
    #[must_use]
    pub fn limit(&self) -> i64 {
        i64::try_from(self.size)
            .unwrap_or(i64::MAX)
            .saturating_add(1)
    }

    /// Makes the page of the rows read.
    pub fn page<T>(&self, mut items: Vec<T>, id: impl Fn(&T) -> Uuid) -> Page<T> {
        let more = items.len() > self.size;
        items.truncate(self.size);
        let next_page_token = match items.last() {
            Some(last) if more => id(last).to_string(),
            _ => String::new(),
        };
        Page {
            items,
            next_page_token,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuzz_a_page_token_is_read_as_the_id_that_it_names_or_refused() {
        let after = Uuid::from_u128(0x0198_c5f0_7c1e_7000_8000_0000_0000_0001);
        let spellings = [
            after.to_string(),
            after.simple().to_string(),
            after.urn().to_string(),
            String::new(),
        ];
        bolero::check!()
            .with_test_time(std::time::Duration::from_secs(2))
            // Few changes: many leave nothing of the token.
            .with_max_len(10)
            .for_each(|input: &[u8]| {
                let (head, changes) = input.split_at(input.len().min(4));
                let mut size = [0; 4];
                size[..head.len()].copy_from_slice(head);
                let size = i32::from_be_bytes(size);
                let mut text = spellings
                    [usize::from(head.first().copied().unwrap_or_default() % 4)]
                .clone()
                .into_bytes();
                for change in changes.chunks_exact(2) {
                    let at = usize::from(change[0]) % text.len().max(1);
                    match text.get_mut(at) {
                        Some(byte) => *byte ^= change[1],
                        None => text.push(change[1]),
                    }
                }
                let text = String::from_utf8_lossy(&text);
                let Ok(page) = PageRequest::parse(size, &text) else {
                    return;
                };
                assert!(size >= 0 && (1..=1000).contains(&page.size));
                assert_eq!(page.limit(), page.size as i64 + 1);
                assert_eq!(page.after.is_none(), text.is_empty());
                if let Some(after) = page.after {
                    // It is the token that we would have answered.
                    let hex = |text: &str| text.to_lowercase().replace(['-', '{', '}'], "");
                    let digits = hex(&text).trim_start_matches("urn:uuid:").to_owned();
                    assert_eq!(digits, hex(&after.to_string()));
                    let again = PageRequest::parse(size, &after.to_string());
                    assert_eq!(again.ok(), Some(page));
                }
            });
    }
}
