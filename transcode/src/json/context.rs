//! What the visitors share while one JSON text is read: the first refusal,
//! with the path to it, and how deep the message nests.

use std::{
    cell::{Cell, RefCell},
    fmt::Write as _,
};

use serde::de::Error;

use crate::scalar::Problem;

/// Why JSON was refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct JsonError {
    /// The path to the field, empty when the text is not JSON at all.
    pub(crate) field: String,
    pub(crate) problem: Problem,
}

/// How deep messages may nest: what protobuf decoders accept.
const MAX_DEPTH: usize = 100;

#[derive(Default)]
pub(super) struct Context {
    refusal: RefCell<Option<Refusal>>,
    depth: Cell<usize>,
}

struct Refusal {
    problem: Problem,
    /// The way to the value, innermost first.
    path: Vec<Part>,
}

pub(super) enum Part {
    Field(String),
    Index(usize),
}

impl Context {
    /// Records a refusal. The error itself says nothing: serde's own texts
    /// would echo the value.
    pub(super) fn refuse<E: Error>(&self, problem: impl Into<Problem>) -> E {
        self.refusal.replace(Some(Refusal {
            problem: problem.into(),
            path: Vec::new(),
        }));
        E::custom("refused")
    }

    /// Adds a step to the path of a refusal on its way out.
    pub(super) fn within<T, E>(
        &self,
        result: Result<T, E>,
        part: impl FnOnce() -> Part,
    ) -> Result<T, E> {
        if result.is_err()
            && let Some(refusal) = self.refusal.borrow_mut().as_mut()
        {
            refusal.path.push(part());
        }
        result
    }

    /// Runs `inside` some levels of nesting deeper.
    pub(super) fn nested<T, E: Error>(
        &self,
        levels: usize,
        inside: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let outer = self.depth.get();
        if outer + levels > MAX_DEPTH {
            return Err(self.refuse("nested too deeply"));
        }
        self.depth.set(outer + levels);
        let result = inside();
        self.depth.set(outer);
        result
    }

    /// Turns serde's error into ours.
    pub(super) fn explain(self, error: &serde_json::Error) -> JsonError {
        let Some(refusal) = self.refusal.into_inner() else {
            let problem = if error.is_eof() {
                "the JSON ends too early".into()
            } else {
                format!(
                    "malformed JSON at line {} column {}",
                    error.line(),
                    error.column()
                )
                .into()
            };
            return JsonError {
                field: String::new(),
                problem,
            };
        };
        let mut field = String::new();
        for part in refusal.path.iter().rev() {
            match part {
                Part::Field(name) => {
                    if !field.is_empty() {
                        field.push('.');
                    }
                    field.push_str(name);
                }
                Part::Index(index) => {
                    write!(field, "[{index}]").expect("text is written to memory");
                }
            }
        }
        JsonError {
            field,
            problem: refusal.problem,
        }
    }
}
