//! What a person sees: progress on standard error, in colour only on a
//! terminal, so that standard output stays the suites' own.

use std::{
    env,
    io::{self, IsTerminal},
};

fn paint(code: &str, text: &str) -> String {
    if io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none() {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// Says what begins now.
pub fn step(text: &str) {
    eprintln!("{} {text}", paint("1;36", "==>"));
}

/// Adds a detail to the step.
pub fn note(text: &str) {
    eprintln!("    {text}");
}

/// Says what went wrong and what to do about it.
pub fn error(text: &str) {
    eprintln!("{} {text}", paint("1;31", "error:"));
}
