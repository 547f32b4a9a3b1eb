//! Going through pages, forms and redirects until somewhere.

use url::Url;

use super::{Browser, BrowserError, MAX_REDIRECTS, Page};

/// Pages that ask something of the user, on one walk.
const MAX_PAGES: u32 = 10;

/// What the user does with a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Submits the first form with these values, as [`Browser::submit`] does.
    Submit(Vec<(String, String)>),
    /// Goes to this address.
    Follow(Url),
    /// Knows no way on; the walk ends with [`BrowserError::DeadEnd`].
    Stop,
}

impl Browser {
    /// Opens `url` and goes on, by redirects and by what `fill` does with each page, until a redirect or a link leads
    /// to an address that starts with `stop_at_prefix`. That address is returned and not visited.
    pub async fn walk<F>(
        &mut self,
        url: &str,
        stop_at_prefix: &str,
        mut fill: F,
    ) -> Result<Url, BrowserError>
    where
        F: FnMut(&Page) -> Action,
    {
        let mut page = self.get(url).await?;
        let (mut redirects, mut pages) = (0, 0);
        loop {
            if let Some(next) = page.location() {
                if next.as_str().starts_with(stop_at_prefix) {
                    return Ok(next);
                }
                redirects += 1;
                if redirects > MAX_REDIRECTS {
                    return Err(BrowserError::TooFar(MAX_REDIRECTS, page.url));
                }
                if let Some(next) = self.follow(&page).await? {
                    page = next;
                }
                continue;
            }
            redirects = 0;
            pages += 1;
            if pages > MAX_PAGES {
                return Err(BrowserError::TooFar(MAX_PAGES, page.url));
            }
            page = match fill(&page) {
                Action::Follow(next) if next.as_str().starts_with(stop_at_prefix) => {
                    return Ok(next);
                }
                Action::Follow(next) => self.get(next.as_str()).await?,
                Action::Submit(values) if page.status < 400 => {
                    let values: Vec<(&str, &str)> = values
                        .iter()
                        .map(|(n, v)| (n.as_str(), v.as_str()))
                        .collect();
                    self.submit(&page, &values).await?
                }
                Action::Submit(_) | Action::Stop => return Err(dead_end(page)),
            };
        }
    }
}

fn dead_end(page: Page) -> BrowserError {
    let text = page.text().chars().take(200).collect();
    BrowserError::DeadEnd {
        url: page.url,
        status: page.status,
        text,
    }
}

/// Says yes to everything, as the user `ada`: for [`Browser::walk`].
pub fn approve(page: &Page) -> Action {
    approve_as("ada")(page)
}

/// Signs in as `login` wherever a name is asked for, and says yes to everything. It knows the pages of this simulator
/// and the development pages of the `oidc-provider` package, and presses the first button of any other form.
pub fn approve_as(login: &str) -> impl Fn(&Page) -> Action {
    let login = login.to_owned();
    move |page| {
        let forms = page.forms();
        let Some(form) = forms.first() else {
            return Action::Stop;
        };
        let mut values: Vec<(String, String)> = form
            .blanks
            .iter()
            .map(|name| (name.clone(), login.clone()))
            .collect();
        let yes = form.buttons.iter().find(|button| button.value == "approve");
        values.extend(yes.and_then(|button| Some((button.name.clone()?, button.value.clone()))));
        Action::Submit(values)
    }
}

/// Refuses at the first page that offers it, by button or by link: for [`Browser::walk`].
pub fn deny(page: &Page) -> Action {
    let refuses = |words: &str| {
        let words = words.to_ascii_lowercase();
        ["deny", "cancel", "abort", "reject"]
            .iter()
            .any(|no| words.contains(no))
    };
    let forms = page.forms();
    let buttons = forms
        .first()
        .map(|form| form.buttons.as_slice())
        .unwrap_or_default();
    let no = buttons
        .iter()
        .find(|button| refuses(&button.value) || refuses(&button.label));
    if let Some((name, button)) = no.and_then(|button| Some((button.name.clone()?, button))) {
        return Action::Submit(vec![(name, button.value.clone())]);
    }
    match page.links().into_iter().find(|link| refuses(&link.label)) {
        Some(link) => Action::Follow(link.url),
        None => Action::Stop,
    }
}
