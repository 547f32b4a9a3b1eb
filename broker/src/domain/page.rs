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
