//! The golden vectors in `testdata/`, which every language's client must pass.

use std::{collections::BTreeMap, fs, path::Path};

use dromos_strategy::{ApplyError, ConfigError, Strategy};
use http::request::Parts;
use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    name: String,
    strategy: Declared,
    credentials: Map<String, Value>,
    request: Request,
    expect: Expect,
    metadata: Option<ExpectMetadata>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    r#type: String,
    config: Map<String, Value>,
}

#[derive(Deserialize, Debug, PartialEq, Clone)]
#[serde(deny_unknown_fields)]
struct Request {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: String,
}

#[derive(Deserialize, Debug, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Expect {
    Request(Request),
    Error(Fault),
}

#[derive(Deserialize, Debug, PartialEq)]
#[serde(rename_all = "snake_case")]
enum ExpectMetadata {
    Entries(Vec<(String, String)>),
    Error(Fault),
}

#[derive(Deserialize, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
struct Fault {
    code: String,
    field: String,
}

impl From<ConfigError> for Fault {
    fn from(error: ConfigError) -> Self {
        Self {
            code: error.kind().as_str().to_owned(),
            field: error.field().to_owned(),
        }
    }
}

impl From<ApplyError> for Fault {
    fn from(error: ApplyError) -> Self {
        Self {
            code: error.kind().as_str().to_owned(),
            field: error.field().to_owned(),
        }
    }
}

impl Request {
    fn parts(&self) -> Parts {
        let mut builder = http::Request::builder()
            .method(self.method.as_str())
            .uri(&self.url);
        for (name, value) in &self.headers {
            builder = builder.header(name, value);
        }
        builder
            .body(())
            .expect("the vector's request is valid")
            .into_parts()
            .0
    }

    /// The same with what may differ between HTTP libraries evened out.
    fn normal(&self) -> (&str, &str, BTreeMap<String, Vec<&str>>, &str) {
        let mut headers: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (name, value) in &self.headers {
            headers.entry(name.to_lowercase()).or_default().push(value);
        }
        (&self.method, &self.url, headers, &self.body)
    }
}

fn pairs(headers: &http::HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| value.to_str().expect("visible ASCII").to_owned();
    headers
        .iter()
        .map(|(name, value)| (name.to_string(), text(value)))
        .collect()
}

fn sign(vector: &Vector) -> Result<Request, Fault> {
    let strategy = Strategy::parse(&vector.strategy.r#type, &vector.strategy.config)?;
    let mut parts = vector.request.parts();
    let before = pairs(&parts.headers);
    strategy
        .apply(&vector.credentials, &mut parts)
        .inspect_err(|_| {
            assert_eq!(
                pairs(&parts.headers),
                before,
                "a refused request stays as it was"
            );
        })?;
    Ok(Request {
        method: parts.method.to_string(),
        url: parts.uri.to_string(),
        headers: pairs(&parts.headers),
        body: vector.request.body.clone(),
    })
}

fn metadata(vector: &Vector) -> Result<Vec<(String, String)>, Fault> {
    let strategy = Strategy::parse(&vector.strategy.r#type, &vector.strategy.config)?;
    let entries = strategy.metadata(&vector.credentials)?;
    Ok(pairs(&entries.into_iter().collect()))
}

fn check(file: &str, vector: &Vector) {
    let name = format!("{file}: {}", vector.name);
    match (sign(vector), &vector.expect) {
        (Ok(signed), Expect::Request(expected)) => {
            assert_eq!(signed.normal(), expected.normal(), "{name}");
        }
        (Err(fault), Expect::Error(expected)) => assert_eq!(&fault, expected, "{name}"),
        (found, expected) => panic!("{name}: {found:?} where {expected:?} was expected"),
    }
    match (vector.metadata.as_ref(), metadata(vector)) {
        (None, _) => {}
        (Some(ExpectMetadata::Entries(expected)), Ok(entries)) => {
            assert_eq!(&entries, expected, "{name}");
        }
        (Some(ExpectMetadata::Error(expected)), Err(fault)) => {
            assert_eq!(&fault, expected, "{name}");
        }
        (Some(expected), found) => panic!("{name}: {found:?} where {expected:?} was expected"),
    }
}

fn vectors() -> BTreeMap<String, Vec<Vector>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let files = fs::read_dir(folder).expect("testdata/ is there");
    let paths = files.map(|entry| entry.expect("testdata/ can be read").path());
    paths
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .map(|path| {
            let text = fs::read_to_string(&path).expect("the file can be read");
            let name = path
                .file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            let vectors = serde_json::from_str(&text)
                .unwrap_or_else(|error| panic!("{name}.json is not a list of vectors: {error}"));
            (name, vectors)
        })
        .collect()
}

#[test]
fn every_golden_vector_holds() {
    let files = vectors();
    for (file, vectors) in &files {
        for vector in vectors {
            check(file, vector);
        }
    }
    let checked: usize = files.values().map(Vec::len).sum();
    assert!(checked > 0, "testdata/ holds no vectors");
    println!("{checked} vectors in {} files", files.len());
}

#[test]
fn every_strategy_has_vectors_that_sign_and_that_refuse() {
    let files = vectors();
    for kind in Strategy::kinds() {
        let own = files
            .get(kind)
            .unwrap_or_else(|| panic!("testdata/{kind}.json is missing"));
        assert!(
            own.iter()
                .any(|vector| matches!(vector.expect, Expect::Request(_))),
            "{kind}"
        );
        assert!(
            own.iter()
                .any(|vector| matches!(vector.expect, Expect::Error(_))),
            "{kind}"
        );
        let mut names: Vec<_> = own.iter().map(|vector| &vector.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), own.len(), "{kind}: two vectors share a name");
    }
}
