//! Colours: on a terminal that wants them, and nowhere else.

use std::io::IsTerminal;

/// Whether and how text is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    coloured: bool,
}

impl Style {
    /// As standard output wants it. Plain when piped, with a non-empty
    /// `NO_COLOR` (no-color.org) or on a dumb terminal.
    pub fn of_stdout() -> Self {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let dumb = set("TERM").is_some_and(|terminal| terminal == "dumb");
        Self {
            coloured: std::io::stdout().is_terminal() && set("NO_COLOR").is_none() && !dumb,
        }
    }

    /// Never coloured.
    #[cfg(test)]
    pub fn plain() -> Self {
        Self { coloured: false }
    }

    /// Always coloured.
    #[cfg(test)]
    pub fn coloured() -> Self {
        Self { coloured: true }
    }

    fn paint(self, code: &str, text: &str) -> String {
        match self.coloured {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }

    /// A title.
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// What matters less.
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// What is well.
    pub fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// What waits.
    pub fn waiting(self, text: &str) -> String {
        self.paint("33", text)
    }

    /// What is not well.
    pub fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }
}
