//! Tells the story: numbered steps, what was sent, what came back, and what
//! that proves. It keeps the secrets of the story off the screen.

use tokio::time::Instant;

use crate::{
    failure::Failure,
    output::{harmless, print},
    style::Style,
    when,
};

/// The widest line, in characters.
const WIDTH: usize = 88;

/// The teller.
pub struct Stage {
    style: Style,
    began: Instant,
    step: u32,
    title: &'static str,
    checks: u32,
    secrets: Vec<String>,
}

impl Stage {
    /// Begins the story; its time runs from here.
    pub fn new(style: Style) -> Self {
        Self {
            style,
            began: Instant::now(),
            step: 0,
            title: "the start",
            checks: 0,
            secrets: Vec::new(),
        }
    }

    /// This text must not be shown from now on.
    pub fn secret(&mut self, secret: &str) {
        if !secret.is_empty() {
            self.secrets.push(secret.to_owned());
        }
    }

    /// A line before the first step.
    pub fn say(&mut self, text: &str) -> Result<(), Failure> {
        self.line(|_, text| text.to_owned(), "", text)
    }

    /// The next step.
    pub fn step(&mut self, title: &'static str) -> Result<(), Failure> {
        self.step += 1;
        self.title = title;
        print("")?;
        let number = self.step;
        self.line(Style::bold, "", &format!("{number:>2}. {title}"))
    }

    /// What is sent: a method and a path, or an rpc; and with what.
    pub fn sent(&mut self, what: &str, with: &str) -> Result<(), Failure> {
        self.line(|_, text| text.to_owned(), "    → ", what)?;
        match with {
            "" => Ok(()),
            with => self.line(Style::dim, "      ", with),
        }
    }

    /// A field that came back.
    pub fn came(&mut self, name: &str, value: &str) -> Result<(), Failure> {
        self.line(Style::dim, "    ← ", &format!("{name}: {value}"))
    }

    /// Checks a claim, and prints it only if it is true.
    ///
    /// # Errors
    ///
    /// It is not.
    pub fn check(&mut self, holds: bool, claim: &str) -> Result<(), Failure> {
        if !holds {
            return Err(Failure::new(format!("this does not hold: {claim}")));
        }
        self.checks += 1;
        self.line(Style::good, "    ✓ ", claim)
    }

    /// The last line.
    pub fn end(&mut self) -> Result<(), Failure> {
        let took = when::elapsed(self.began.elapsed());
        let (steps, checks) = (self.step, self.checks);
        print("")?;
        self.say(&format!("{steps} steps, {checks} claims checked, {took}."))?;
        self.say("`dromos up` starts one for you to develop with.")
    }

    /// The failure, with the step that it happened at.
    pub fn located(&self, failure: Failure) -> Failure {
        match self.step {
            0 => failure,
            number => failure.during(&format!("step {number} ({})", self.title)),
        }
    }

    fn line(
        &self,
        paint: fn(Style, &str) -> String,
        margin: &str,
        text: &str,
    ) -> Result<(), Failure> {
        let text = harmless(text);
        if self.secrets.iter().any(|secret| text.contains(secret)) {
            return Err(Failure::new("a secret was about to be shown"));
        }
        for (number, part) in wrapped(&text, WIDTH - margin.chars().count())
            .iter()
            .enumerate()
        {
            let margin = match number {
                0 => margin.to_owned(),
                _ => " ".repeat(margin.chars().count()),
            };
            print(&format!("{margin}{}", paint(self.style, part)))?;
        }
        Ok(())
    }
}

/// Breaks a text at blanks, and within a word that is wider than a line.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        let word: Vec<char> = word.chars().collect();
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.len() <= width => {
                line.push(' ');
                line.extend(word);
            }
            _ if word.is_empty() => lines.push(String::new()),
            _ => lines.extend(word.chunks(width).map(|part| part.iter().collect())),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_blanks() {
        assert_eq!(wrapped("one two three", 8), ["one two", "three"]);
        assert_eq!(wrapped("one two", 7), ["one two"]);
        assert_eq!(wrapped(" 1. One", 20), [" 1. One"]);
    }

    #[test]
    fn a_word_wider_than_a_line_is_cut() {
        assert_eq!(wrapped("a 1234567", 3), ["a", "123", "456", "7"]);
        assert_eq!(wrapped("1234", 3), ["123", "4"]);
    }

    #[test]
    fn a_secret_stops_the_story() {
        let mut stage = Stage::new(Style::plain());
        stage.secret("");
        stage.secret("made-up");
        assert!(stage.say("nothing").is_ok());
        assert!(stage.came("token", "a made-up one").is_err());
    }

    #[test]
    fn a_claim_that_does_not_hold_is_a_failure_at_its_step() {
        let mut stage = Stage::new(Style::plain());
        stage.step("Try").unwrap();
        let failure = stage.check(false, "Pigs fly").unwrap_err();
        let told = stage.located(failure).to_string();
        assert_eq!(told, "error: step 1 (Try): this does not hold: Pigs fly");
    }
}
