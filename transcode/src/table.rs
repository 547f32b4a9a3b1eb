//! The route table: a trie over path segments.
//!
//! A lookup walks the path once per branch that fits: the literal child, then
//! the `*` child, then `**`. It never looks at routes that share no prefix
//! with the path.

use std::{collections::HashMap, sync::Arc};

use http::Method;

use crate::{
    percent::{self, Mode},
    template::{Segment, Template},
};

/// What the table needs to know of an entry.
pub(crate) trait Entry {
    fn template(&self) -> &Template;
    /// The HTTP method; `None` answers every method.
    fn method(&self) -> Option<&Method>;
}

#[derive(Debug)]
pub(crate) struct Table<E> {
    root: Node<E>,
}

#[derive(Debug)]
struct Node<E> {
    literals: HashMap<Box<str>, Node<E>>,
    one: Option<Box<Node<E>>>,
    /// Entries whose template ends here.
    here: Vec<Arc<E>>,
    /// Entries whose template ends here with `**`.
    rest: Vec<Arc<E>>,
}

/// The outcome of a lookup.
#[derive(Debug)]
pub(crate) enum Lookup<'t, 'p, E> {
    Found {
        entry: &'t Arc<E>,
        /// The raw segments of the path, without the verb.
        segments: Vec<&'p str>,
    },
    /// The path is known under these methods only.
    MethodNotAllowed(Vec<Method>),
    NotFound,
}

impl<E> Default for Node<E> {
    fn default() -> Self {
        Self {
            literals: HashMap::new(),
            one: None,
            here: Vec::new(),
            rest: Vec::new(),
        }
    }
}

impl<E> Default for Table<E> {
    fn default() -> Self {
        Self {
            root: Node::default(),
        }
    }
}

impl<E: Entry> Table<E> {
    /// Adds an entry; gives back the one that already answers the same
    /// requests, if there is one.
    pub(crate) fn insert(&mut self, entry: Arc<E>) -> Result<(), Arc<E>> {
        let mut node = &mut self.root;
        let mut rest = false;
        for segment in &entry.template().segments {
            node = match segment {
                Segment::Literal(text) => node.literals.entry(text.clone()).or_default(),
                Segment::One => node.one.get_or_insert_default(),
                Segment::Rest => {
                    rest = true;
                    break;
                }
            };
        }
        let leaf = if rest { &mut node.rest } else { &mut node.here };
        let same = |other: &&Arc<E>| {
            other.template().verb == entry.template().verb && other.method() == entry.method()
        };
        if let Some(other) = leaf.iter().find(same) {
            return Err(other.clone());
        }
        leaf.push(entry);
        Ok(())
    }

    /// Finds the entry for a request. A literal beats `*`, which beats `**`;
    /// a template with the path's verb beats one without.
    pub(crate) fn lookup<'p>(&self, method: &Method, path: &'p str) -> Lookup<'_, 'p, E> {
        let Some(path) = path.strip_prefix('/') else {
            return Lookup::NotFound;
        };
        let mut segments: Vec<&'p str> = path.split('/').collect();
        let mut search = Search {
            method,
            verb: None,
            allowed: Vec::new(),
        };
        if let Some(last) = segments.last_mut()
            && let Some((name, verb)) = last.rsplit_once(':')
            && let Some(verb) = percent::decode(verb, Mode::Segment)
        {
            let whole = std::mem::replace(last, name);
            search.verb = Some(&verb);
            if let Some(entry) = search.find(&self.root, &segments) {
                return Lookup::Found { entry, segments };
            }
            // The verb is known on this path: it is not read as text, so that
            // `GET /things/7:archive` is 405 and never the thing "7:archive".
            if !search.allowed.is_empty() {
                return Lookup::MethodNotAllowed(search.allowed);
            }
            search.verb = None;
            if let Some(last) = segments.last_mut() {
                *last = whole;
            }
            return search.conclude(&self.root, segments);
        }
        search.conclude(&self.root, segments)
    }
}

struct Search<'a> {
    method: &'a Method,
    verb: Option<&'a str>,
    allowed: Vec<Method>,
}

impl Search<'_> {
    fn conclude<'t, 'p, E: Entry>(
        mut self,
        root: &'t Node<E>,
        segments: Vec<&'p str>,
    ) -> Lookup<'t, 'p, E> {
        match self.find(root, &segments) {
            Some(entry) => Lookup::Found { entry, segments },
            None if self.allowed.is_empty() => Lookup::NotFound,
            None => Lookup::MethodNotAllowed(self.allowed),
        }
    }

    fn find<'t, E: Entry>(&mut self, node: &'t Node<E>, path: &[&str]) -> Option<&'t Arc<E>> {
        let Some((segment, tail)) = path.split_first() else {
            return self.answer(&node.here).or_else(|| self.answer(&node.rest));
        };
        if !node.literals.is_empty()
            && let Some(text) = percent::decode(segment, Mode::Segment)
            && let Some(child) = node.literals.get(text.as_ref())
            && let Some(entry) = self.find(child, tail)
        {
            return Some(entry);
        }
        if !segment.is_empty()
            && let Some(child) = &node.one
            && let Some(entry) = self.find(child, tail)
        {
            return Some(entry);
        }
        self.answer(&node.rest)
    }

    fn answer<'t, E: Entry>(&mut self, leaf: &'t [Arc<E>]) -> Option<&'t Arc<E>> {
        let mut fits = leaf
            .iter()
            .filter(|e| e.template().verb.as_deref() == self.verb);
        let exact = fits.clone().find(|e| e.method() == Some(self.method));
        if let Some(entry) = exact.or_else(|| fits.clone().find(|e| e.method().is_none())) {
            return Some(entry);
        }
        // HEAD is GET without the body (RFC 9110 section 9.3.2).
        if *self.method == Method::HEAD
            && let Some(entry) = fits.clone().find(|e| e.method() == Some(&Method::GET))
        {
            return Some(entry);
        }
        for method in fits.by_ref().filter_map(|e| e.method()) {
            if !self.allowed.contains(method) {
                self.allowed.push(method.clone());
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug)]
    struct Item {
        template: Template,
        method: Option<Method>,
        name: String,
    }

    impl Entry for Item {
        fn template(&self) -> &Template {
            &self.template
        }
        fn method(&self) -> Option<&Method> {
            self.method.as_ref()
        }
    }

    fn item(method: &str, template: &str) -> Arc<Item> {
        Arc::new(Item {
            template: Template::parse(template).unwrap(),
            method: (method != "*").then(|| method.parse().unwrap()),
            name: format!("{method} {template}"),
        })
    }

    fn table(items: &[(&str, &str)]) -> Table<Item> {
        let mut table = Table::default();
        for (method, template) in items {
            table.insert(item(method, template)).unwrap();
        }
        table
    }

    fn find(table: &Table<Item>, method: Method, path: &str) -> String {
        match table.lookup(&method, path) {
            Lookup::Found { entry, .. } => entry.name.clone(),
            Lookup::MethodNotAllowed(allowed) => format!("405 {allowed:?}"),
            Lookup::NotFound => "404".to_owned(),
        }
    }

    #[test]
    fn the_most_specific_template_wins() {
        let table = table(&[
            ("GET", "/v1/{a=**}"),
            ("GET", "/v1/{a}"),
            ("GET", "/v1/fixed"),
            ("GET", "/v1/{a}:go"),
            ("GET", "/v1/{a}/tail"),
            ("POST", "/v1/fixed"),
            ("POST", "/v1/{a}:go"),
            ("*", "/v2/{a}"),
            ("GET", "/v2/{a}"),
        ]);
        for (path, expected) in [
            ("/v1/fixed", "GET /v1/fixed"),
            ("/v1/f%69xed", "GET /v1/fixed"),
            ("/v1/x", "GET /v1/{a}"),
            ("/v1/x:go", "GET /v1/{a}:go"),
            ("/v1/x%3Ago", "GET /v1/{a}"),
            ("/v1/x:stop", "GET /v1/{a}"),
            ("/v1/x:y:go", "GET /v1/{a}:go"),
            ("/v1/fixed/tail", "GET /v1/{a}/tail"),
            ("/v1/fixed/other", "GET /v1/{a=**}"),
            ("/v1/x%2Ftail", "GET /v1/{a}"),
            ("/v1", "GET /v1/{a=**}"),
            ("/v1/", "GET /v1/{a=**}"),
            ("/v2/x", "GET /v2/{a}"),
            ("/v2/", "404"),
            ("/v2", "404"),
            ("/", "404"),
            ("*", "404"),
        ] {
            assert_eq!(find(&table, Method::GET, path), expected, "{path}");
        }
        assert_eq!(find(&table, Method::PUT, "/v2/x"), "* /v2/{a}");
    }

    #[test]
    fn a_known_path_with_another_method_names_the_methods() {
        let table = table(&[("GET", "/a/{b}"), ("POST", "/a/c"), ("POST", "/a/{b}:go")]);
        assert_eq!(find(&table, Method::PUT, "/a/c"), "405 [POST, GET]");
        assert_eq!(find(&table, Method::GET, "/a/c"), "GET /a/{b}");
        assert_eq!(find(&table, Method::GET, "/a/x:go"), "405 [POST]");
        assert_eq!(find(&table, Method::HEAD, "/a/x"), "GET /a/{b}");
        assert_eq!(find(&table, Method::HEAD, "/a/x:go"), "405 [POST]");
    }

    #[test]
    fn equal_templates_are_refused_whatever_their_variables_are_called() {
        let mut table = table(&[("GET", "/a/{b}"), ("GET", "/a/{b}:go")]);
        assert!(table.insert(item("POST", "/a/{c}")).is_ok());
        assert!(table.insert(item("GET", "/a/{c}:stop")).is_ok());
        let other = table.insert(item("GET", "/a/*")).unwrap_err();
        assert_eq!(other.name, "GET /a/{b}");
        assert!(table.insert(item("GET", "/a/{x=*}:go")).is_err());
    }

    /// A template with its variables' values, and the path they expand to.
    #[derive(Debug, Clone)]
    struct Expanded {
        template: String,
        path: String,
        values: Vec<String>,
    }

    fn escape(value: &str, keep_slash: bool) -> String {
        use std::fmt::Write as _;
        let mut out = String::new();
        for byte in value.bytes() {
            let plain = byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
            if plain || (keep_slash && byte == b'/') {
                out.push(char::from(byte));
            } else {
                write!(out, "%{byte:02X}").unwrap();
            }
        }
        out
    }

    fn expanded() -> impl Strategy<Value = Expanded> {
        let single = ".{1,8}";
        let part = prop_oneof![
            "[a-z]{1,3}".prop_map(|l| (format!("/{l}"), format!("/{l}"), None)),
            single.prop_map(|v: String| (
                "/{NAME}".into(),
                format!("/{}", escape(&v, false)),
                Some(v)
            )),
            // A multi-segment value keeps %2F as it is, so a slash in it separates.
            "[^/]{1,6}".prop_map(|v: String| (
                "/{NAME=items/*}".into(),
                format!("/items/{}", escape(&v, true)),
                Some(format!("items/{v}")),
            )),
        ];
        let tail = proptest::option::of(proptest::collection::vec("[^/]{1,4}", 1..4));
        let verb = proptest::option::of("[a-z]{1,4}");
        (proptest::collection::vec(part, 1..5), tail, verb).prop_map(|(parts, tail, verb)| {
            let mut out = Expanded {
                template: String::new(),
                path: String::new(),
                values: Vec::new(),
            };
            for (i, (template, path, value)) in parts.into_iter().enumerate() {
                out.template += &template.replace("NAME", &format!("f{i}"));
                out.path += &path;
                out.values.extend(value);
            }
            if let Some(tail) = tail {
                let tail = tail.join("/");
                out.template += "/{tail=**}";
                out.path += &format!("/{}", escape(&tail, true));
                out.values.push(tail);
            }
            if let Some(verb) = verb {
                out.template += &format!(":{verb}");
                out.path += &format!(":{verb}");
            }
            out
        })
    }

    proptest! {
        #[test]
        fn an_expanded_template_matches_and_gives_its_values_back(case in expanded()) {
            let table = table(&[("GET", &case.template)]);
            let Lookup::Found { entry, segments } = table.lookup(&Method::GET, &case.path) else {
                panic!("{} did not match {}", case.path, case.template);
            };
            let values: Vec<_> = entry.template.variables.iter()
                .map(|v| entry.template.value(v, &segments).unwrap().into_owned())
                .collect();
            prop_assert_eq!(values, case.values);
        }

        #[test]
        fn no_path_makes_a_lookup_panic(path in "[/a-c:%2F*]{0,20}") {
            let table = table(&[("GET", "/a/{b}"), ("GET", "/a/{b=**}:c"), ("POST", "/a/b:c")]);
            let _ = table.lookup(&Method::GET, &path);
        }
    }
}
