//! The commands that speak to a gateway.

pub mod api_keys;
pub mod audit;
pub mod connections;
pub mod keys;
pub mod providers;
pub mod token;
pub mod watch;
pub mod webhooks;

use std::{
    future::Future,
    io::{IsTerminal, Write},
};

use tonic::{Response, Status};

use crate::{arguments::Common, client::Client, failure::Failure};

/// The largest page that the API gives.
const PAGE_SIZE: i32 = 1_000;

fn client(common: &Common) -> Result<Client, Failure> {
    Client::from_environment(&common.gateway_url)
}

/// The answer, or what its status means.
fn answer<T>(client: &Client, answered: Result<Response<T>, Status>) -> Result<T, Failure> {
    match answered {
        Ok(response) => Ok(response.into_inner()),
        Err(status) => Err(client.failure(&status)),
    }
}

/// Follows a list to its end: `page` gives the items and the next page's token
/// for a page's token.
async fn all_pages<T, F, P>(mut page: F) -> Result<Vec<T>, Failure>
where
    F: FnMut(String) -> P,
    P: Future<Output = Result<(Vec<T>, String), Failure>>,
{
    let mut all = Vec::new();
    let mut token = String::new();
    loop {
        let (items, next) = page(token.clone()).await?;
        all.extend(items);
        if next.is_empty() {
            return Ok(all);
        }
        if next == token {
            return Err(Failure::new("the gateway's list has no end"));
        }
        token = next;
    }
}

/// Whether [`confirm`] asks anybody.
fn asks(yes: bool) -> bool {
    !yes && std::io::stdin().is_terminal()
}

/// Asks the person at the terminal. Without one there is nobody to ask, and
/// the command itself is the consent.
fn confirm(question: &str, yes: bool) -> Result<(), Failure> {
    if !asks(yes) {
        return Ok(());
    }
    eprint!("{question} [y/N] ");
    let mut line = String::new();
    let read = std::io::stderr()
        .flush()
        .and_then(|()| std::io::stdin().read_line(&mut line));
    match read {
        Ok(_) if is_yes(&line) => Ok(()),
        _ => Err(Failure::new("nothing was done").next("answer y, or pass --yes")),
    }
}

fn is_yes(line: &str) -> bool {
    matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_list_is_followed_to_its_last_page() {
        let pages = [(vec![1, 2], "b"), (vec![], "c"), (vec![3], "")];
        let mut pages = pages.into_iter();
        let mut asked = Vec::new();
        let all = all_pages(|token| {
            asked.push(token);
            let (items, next) = pages.next().unwrap();
            async move { Ok((items, next.to_owned())) }
        });
        assert_eq!(all.await.unwrap(), [1, 2, 3]);
        assert_eq!(asked, ["", "b", "c"]);
    }

    #[tokio::test]
    async fn a_list_that_turns_in_a_circle_is_left() {
        let all = all_pages(|_| async { Ok((vec![1], "same".to_owned())) });
        assert!(all.await.is_err());
    }

    #[test]
    fn only_a_yes_is_a_yes() {
        assert!(is_yes("y\n") && is_yes(" Yes\r\n"));
        assert!(!is_yes("\n") && !is_yes("no\n") && !is_yes("yikes\n"));
    }
}
