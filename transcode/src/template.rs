//! Path templates of `google.api.http`.
//!
//! ```text
//! Template = "/" Segments [ Verb ] ;
//! Segments = Segment { "/" Segment } ;
//! Segment  = "*" | "**" | LITERAL | Variable ;
//! Variable = "{" FieldPath [ "=" Segments ] "}" ;
//! FieldPath = IDENT { "." IDENT } ;
//! Verb     = ":" LITERAL ;
//! ```

use std::{borrow::Cow, ops::Range};

use crate::percent::{self, Mode};

/// One part of a template between two slashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Segment {
    /// Text that must be there, percent-decoded.
    Literal(Box<str>),
    /// `*`: exactly one segment, not empty.
    One,
    /// `**`: the rest of the path, possibly nothing.
    Rest,
}

/// A `{field.path=segments}`: which segments give which field its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variable {
    /// The names of the field path, outermost first.
    pub(crate) path: Vec<Box<str>>,
    /// The template segments that the variable covers.
    pub(crate) span: Range<usize>,
    /// Whether the variable may cover several segments (`a/*`, `**`), which
    /// decides if `%2F` is decoded in its value.
    pub(crate) multi: bool,
}

/// A parsed path template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    pub(crate) segments: Vec<Segment>,
    pub(crate) variables: Vec<Variable>,
    pub(crate) verb: Option<Box<str>>,
}

/// Why a template was refused, in words that fit behind "template …: ".
pub(crate) type Reason = Cow<'static, str>;

impl Template {
    pub(crate) fn parse(source: &str) -> Result<Self, Reason> {
        let rest = source.strip_prefix('/').ok_or("must start with '/'")?;
        let mut parser = Parser {
            rest,
            segments: Vec::new(),
            variables: Vec::new(),
        };
        parser.segments(true)?;
        let verb = match parser.rest.strip_prefix(':') {
            Some(verb) => Some(literal(verb, "verb")?),
            None if parser.rest.is_empty() => None,
            None => return Err("expected '/', ':' or the end after a segment".into()),
        };
        let Parser {
            segments,
            variables,
            ..
        } = parser;
        let rest = segments.iter().position(|s| *s == Segment::Rest);
        if rest.is_some_and(|at| at + 1 != segments.len()) {
            return Err("'**' must be the last segment".into());
        }
        Ok(Self {
            segments,
            variables,
            verb,
        })
    }

    /// The value of a variable, taken from the segments of a matched path.
    /// `None` when an escape in it is broken.
    pub(crate) fn value<'p>(&self, variable: &Variable, path: &[&'p str]) -> Option<Cow<'p, str>> {
        let ends_in_rest = variable.span.end == self.segments.len()
            && self.segments.last() == Some(&Segment::Rest);
        let end = if ends_in_rest {
            path.len()
        } else {
            variable.span.end
        };
        let mode = if variable.multi {
            Mode::Segments
        } else {
            Mode::Segment
        };
        match path.get(variable.span.start..end).unwrap_or_default() {
            [one] => percent::decode(one, mode),
            parts => {
                percent::decode(&parts.join("/"), mode).map(|value| Cow::Owned(value.into_owned()))
            }
        }
    }
}

struct Parser<'t> {
    rest: &'t str,
    segments: Vec<Segment>,
    variables: Vec<Variable>,
}

impl<'t> Parser<'t> {
    fn segments(&mut self, variables_allowed: bool) -> Result<(), Reason> {
        loop {
            match self.rest.strip_prefix('{') {
                Some(_) if !variables_allowed => {
                    return Err("a variable must not hold another variable".into());
                }
                Some(inside) => {
                    self.rest = inside;
                    self.variable()?;
                }
                None => self.segment()?,
            }
            match self.rest.strip_prefix('/') {
                Some(next) => self.rest = next,
                None => return Ok(()),
            }
        }
    }

    fn segment(&mut self) -> Result<(), Reason> {
        let text = self.take_until(&['/', ':', '{', '}']);
        self.segments.push(match text {
            "*" => Segment::One,
            "**" => Segment::Rest,
            text => Segment::Literal(literal(text, "segment")?),
        });
        Ok(())
    }

    fn variable(&mut self) -> Result<(), Reason> {
        let path = self
            .take_until(&['=', '}'])
            .split('.')
            .map(ident)
            .collect::<Result<Vec<_>, _>>()?;
        let start = self.segments.len();
        match self.rest.strip_prefix('=') {
            Some(pattern) => {
                self.rest = pattern;
                self.segments(false)?;
            }
            None => self.segments.push(Segment::One),
        }
        self.rest = self
            .rest
            .strip_prefix('}')
            .ok_or("a variable is not closed with '}'")?;
        let span = start..self.segments.len();
        let multi = span.len() != 1 || self.segments.get(start) == Some(&Segment::Rest);
        if self.variables.iter().any(|v| v.path == path) {
            return Err("two variables name the same field".into());
        }
        self.variables.push(Variable { path, span, multi });
        Ok(())
    }

    fn take_until(&mut self, stops: &[char]) -> &'t str {
        let end = self.rest.find(stops).unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        text
    }
}

fn ident(text: &str) -> Result<Box<str>, Reason> {
    let mut chars = text.chars();
    let starts = chars
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if starts && chars.all(|c| c.is_ascii_alphanumeric() || c == '_') {
        Ok(text.into())
    } else {
        Err("a variable's name is not a field path".into())
    }
}

fn literal(text: &str, what: &'static str) -> Result<Box<str>, Reason> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()+,;=@%".contains(c);
    if text.is_empty() {
        return Err(format!("an empty {what}").into());
    }
    if !text.chars().all(allowed) {
        return Err(format!("a {what} holds a character that must be percent-encoded").into());
    }
    percent::decode(text, Mode::Segment)
        .map(|text| text.into_owned().into_boxed_str())
        .ok_or_else(|| format!("a {what} holds a broken percent escape").into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(source: &str) -> Template {
        Template::parse(source).unwrap()
    }

    #[test]
    fn every_form_of_the_grammar_parses() {
        let template = parse("/v1/{a.b=x/*}/*/{c=**}:go");
        assert_eq!(
            template.segments,
            [
                Segment::Literal("v1".into()),
                Segment::Literal("x".into()),
                Segment::One,
                Segment::One,
                Segment::Rest,
            ]
        );
        assert_eq!(template.verb.as_deref(), Some("go"));
        assert_eq!(template.variables[0].path, ["a".into(), "b".into()]);
        assert_eq!(template.variables[0].span, 1..3);
        assert!(template.variables[0].multi && template.variables[1].multi);
        assert!(!parse("/{a}").variables[0].multi);
        assert!(!parse("/{a=b}").variables[0].multi);
    }

    #[test]
    fn invalid_templates_say_why() {
        for (source, reason) in [
            ("v1", "must start"),
            ("/", "empty segment"),
            ("/a//b", "empty segment"),
            ("/a/", "empty segment"),
            ("/a:", "empty verb"),
            ("/a:b/c", "percent-encoded"),
            ("/**/a", "last segment"),
            ("/{a=**}/b", "last segment"),
            ("/{a", "not closed"),
            ("/{}", "field path"),
            ("/{a..b}", "field path"),
            ("/{1a}", "field path"),
            ("/{a={b}}", "another variable"),
            ("/{a}b", "expected"),
            ("/a{b}", "expected"),
            ("/{a}/{a}", "same field"),
            ("/a b", "percent-encoded"),
            ("/a%2", "broken percent"),
            ("/***", "percent-encoded"),
            ("/}", "empty segment"),
        ] {
            let error = Template::parse(source).unwrap_err();
            assert!(error.contains(reason), "{source}: {error}");
        }
    }

    #[test]
    fn a_literal_may_escape_a_colon() {
        assert_eq!(parse("/a%3Ab").segments, [Segment::Literal("a:b".into())]);
    }

    #[test]
    fn values_follow_the_single_and_multi_segment_rules() {
        let template = parse("/v1/{a}/{b=x/*}");
        let path = ["v1", "p%2Fq", "x", "r%2Fs%20t"];
        let value = |i: usize| template.value(&template.variables[i], &path).unwrap();
        assert_eq!(value(0), "p/q");
        assert_eq!(value(1), "x/r%2Fs t");
    }

    #[test]
    fn a_rest_variable_may_be_empty() {
        let template = parse("/v1/{a=**}");
        assert_eq!(template.value(&template.variables[0], &["v1"]).unwrap(), "");
    }

    proptest! {
        #[test]
        fn parsing_never_panics(source in "\\PC*") {
            let _ = Template::parse(&source);
        }

        #[test]
        fn parsing_what_looks_like_a_template_never_panics(source in "[/{}=*:a.%2]{0,24}") {
            let _ = Template::parse(&source);
        }
    }

    #[test]
    fn fuzz_any_text_is_a_template_or_is_refused_with_a_reason() {
        const PIECES: &[&str] = &[
            "/", "{", "}", "*", "**", "=", ":", "a", "b.c", "v1", "%2F", "{a=x/*}", "/**", ".",
        ];
        bolero::check!()
            .with_test_time(std::time::Duration::from_secs(3))
            .for_each(|input: &[u8]| {
                let mut text = String::from("/");
                for &byte in input {
                    match PIECES.get(usize::from(byte)) {
                        Some(piece) => text.push_str(piece),
                        None => text.push(char::from(byte)),
                    }
                }
                match Template::parse(&text) {
                    Err(reason) => assert!(!reason.is_empty()),
                    Ok(template) => {
                        let path: Vec<&str> = text.split('/').skip(1).collect();
                        for variable in &template.variables {
                            assert!(variable.span.end <= template.segments.len());
                            assert!(!variable.span.is_empty());
                            template.value(variable, &path);
                        }
                    }
                }
            });
    }
}
