//! Counts tests from what their runners print.

use std::{fmt, ops::AddAssign};

/// How many tests did what.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Those that passed.
    pub passed: u64,
    /// Those that failed, or could not be run.
    pub failed: u64,
    /// Those that were left out.
    pub skipped: u64,
}

impl Tally {
    /// One test that passed.
    pub const PASS: Self = Self {
        passed: 1,
        failed: 0,
        skipped: 0,
    };
    /// One test that failed.
    pub const FAIL: Self = Self {
        passed: 0,
        failed: 1,
        skipped: 0,
    };

    /// Whether something ran and nothing failed.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.failed == 0 && self.passed > 0
    }

    /// What a runner that ended so really says: a failure that it did not
    /// count (a compiler's error, a crash), or no test at all, is a failure.
    #[must_use]
    pub fn judged_by(mut self, succeeded: bool) -> Self {
        if (!succeeded && self.failed == 0) || self == Self::default() {
            self.failed += 1;
        }
        self
    }

    /// Counts what one line of a runner's output says, if it says anything.
    pub fn count(&mut self, runner: Runner, line: &str) {
        let said = match runner {
            Runner::Cargo => cargo(line),
            Runner::Pytest => pytest(line),
            Runner::Node => node(line),
        };
        *self += said.unwrap_or_default();
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

/// Whose output is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runner {
    /// `cargo test`: one closing line for each test program.
    Cargo,
    /// pytest: one closing line.
    Pytest,
    /// `node --test` with the TAP reporter: a closing line for each count.
    Node,
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; …`
fn cargo(line: &str) -> Option<Tally> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    Some(counted(counts.split("; ")))
}

/// `==== 1 failed, 4 passed in 0.12s ====`, with or without the rule.
fn pytest(line: &str) -> Option<Tally> {
    let (counts, _) = line.trim_matches(['=', ' ']).split_once(" in ")?;
    let counts: Vec<&str> = counts.split(", ").collect();
    let is_count = |part: &&str| {
        part.split_once(' ')
            .is_some_and(|(number, what)| number.parse::<u64>().is_ok() && !what.contains(' '))
    };
    counts
        .iter()
        .all(is_count)
        .then(|| counted(counts.into_iter()))
}

/// `# pass 5`
fn node(line: &str) -> Option<Tally> {
    let (what, number) = line.strip_prefix("# ")?.split_once(' ')?;
    let number = number.parse().ok()?;
    let none = Tally::default();
    match what {
        "pass" => Some(Tally {
            passed: number,
            ..none
        }),
        "fail" | "cancelled" => Some(Tally {
            failed: number,
            ..none
        }),
        "skipped" | "todo" => Some(Tally {
            skipped: number,
            ..none
        }),
        _ => None,
    }
}

fn counted<'a>(parts: impl Iterator<Item = &'a str>) -> Tally {
    let mut tally = Tally::default();
    for part in parts {
        let Some((number, what)) = part.split_once(' ') else {
            continue;
        };
        let Ok(number) = number.parse::<u64>() else {
            continue;
        };
        match what {
            "passed" => tally.passed += number,
            "failed" | "error" | "errors" => tally.failed += number,
            "ignored" | "skipped" => tally.skipped += number,
            _ => {}
        }
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(runner: Runner, lines: &[&str]) -> Tally {
        let mut tally = Tally::default();
        for line in lines {
            tally.count(runner, line);
        }
        tally
    }

    #[test]
    fn cargos_closing_lines_add_up() {
        let lines = [
            "running 4 tests",
            "test tests::one ... ok",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 7 filtered out; finished in 1.20s",
        ];
        assert_eq!(
            tally(Runner::Cargo, &lines),
            Tally {
                passed: 4,
                failed: 2,
                skipped: 1
            }
        );
    }

    #[test]
    fn pytests_closing_line_counts_with_and_without_its_rule() {
        let expected = Tally {
            passed: 4,
            failed: 2,
            skipped: 1,
        };
        for line in [
            "===== 1 failed, 4 passed, 1 skipped, 1 error in 0.12s =====",
            "1 failed, 4 passed, 1 skipped, 1 error in 0.12s",
        ] {
            assert_eq!(tally(Runner::Pytest, &[line]), expected);
        }
        assert_eq!(
            tally(Runner::Pytest, &["3 things are in order"]),
            Tally::default()
        );
    }

    #[test]
    fn nodes_closing_lines_add_up() {
        let lines = [
            "# tests 6",
            "# pass 3",
            "# fail 1",
            "# cancelled 1",
            "# skipped 1",
            "# todo 0",
        ];
        assert_eq!(
            tally(Runner::Node, &lines),
            Tally {
                passed: 3,
                failed: 2,
                skipped: 1
            }
        );
    }

    #[test]
    fn a_runner_that_failed_without_a_count_or_ran_nothing_is_one_failure() {
        assert_eq!(Tally::PASS.judged_by(true), Tally::PASS);
        assert_eq!(Tally::FAIL.judged_by(false), Tally::FAIL);
        assert_eq!(
            Tally::PASS.judged_by(false),
            Tally {
                passed: 1,
                failed: 1,
                skipped: 0
            }
        );
        assert_eq!(Tally::default().judged_by(true), Tally::FAIL);
    }

    #[test]
    fn no_test_at_all_is_no_success() {
        assert!(!Tally::default().is_success());
        assert!(Tally::PASS.is_success());
    }

    #[test]
    fn the_closing_line_names_skipped_tests_only_where_there_are_some() {
        assert_eq!(
            Tally {
                passed: 2,
                failed: 0,
                skipped: 0
            }
            .to_string(),
            "2 passed, 0 failed"
        );
        assert_eq!(
            Tally {
                passed: 2,
                failed: 1,
                skipped: 3
            }
            .to_string(),
            "2 passed, 1 failed, 3 skipped"
        );
    }
}
