//! The search: every secret, in every spelling, in everything that was read.

use aho_corasick::AhoCorasick;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

/// A secret as it could be written: plain, percent-encoded, in hex, in base64
/// at any offset, all of these once more in hex, and as Rust prints bytes.
fn spellings(secret: &[u8]) -> Vec<Vec<u8>> {
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    let percent: String = secret.iter().map(|byte| format!("%{byte:02X}")).collect();
    let form: String = url::form_urlencoded::byte_serialize(secret).collect();
    let mut all: Vec<Vec<u8>> = vec![secret.to_owned()];
    all.extend([percent.to_lowercase(), percent, form].map(String::into_bytes));
    for padding in 0..3_usize {
        let padded = [&[0; 2][..padding], secret].concat();
        for text in [
            STANDARD_NO_PAD.encode(&padded),
            URL_SAFE_NO_PAD.encode(&padded),
        ] {
            // Without what the neighbours' bits would change.
            let own = &text[(padding * 8).div_ceil(6)..text.len() - 1];
            all.push(own.as_bytes().to_owned());
        }
    }
    for index in 0..all.len() {
        let encoded = hex(&all[index]);
        all.extend([encoded.to_uppercase(), encoded].map(String::into_bytes));
    }
    let decimals: Vec<String> = secret.iter().map(ToString::to_string).collect();
    all.extend([", ", ",", " "].map(|between| decimals.join(between).into_bytes()));
    all
}

/// What was met on the way: secrets, and everything that may be read by others.
#[derive(Default)]
pub struct Search {
    secrets: Vec<(String, Vec<u8>)>,
    readable: Vec<(String, Vec<u8>)>,
}

impl Search {
    /// A secret.
    pub fn met(&mut self, what: &str, secret: &str) {
        self.met_bytes(what, secret.as_bytes());
    }

    fn met_bytes(&mut self, what: &str, secret: &[u8]) {
        assert!(secret.len() >= 16, "{what} is too short to search for");
        self.secrets.push((what.to_owned(), secret.to_owned()));
    }

    /// A secret that stands for bytes, in base64: they must not be found either.
    pub fn met_key(&mut self, what: &str, text: &str) {
        let encoded = text.trim().trim_start_matches("whsec_");
        let encoded = encoded.trim_start_matches("dromos_").trim_end_matches('=');
        self.met(what, encoded);
        let bytes = STANDARD_NO_PAD
            .decode(encoded)
            .or_else(|_| URL_SAFE_NO_PAD.decode(encoded));
        self.met_bytes(&format!("the bytes of {what}"), &bytes.unwrap());
    }

    /// Something that others may read.
    pub fn read(&mut self, place: impl Into<String>, content: impl Into<Vec<u8>>) {
        self.readable.push((place.into(), content.into()));
    }

    /// A place must have been read, and hold this: else the search would find
    /// nothing there whatever there is.
    #[track_caller]
    pub fn assert_holds(&self, place: &str, text: &str) {
        let mut its = self
            .readable
            .iter()
            .filter(|(name, _)| name.starts_with(place));
        let holds = |content: &Vec<u8>| String::from_utf8_lossy(content).contains(text);
        let places: Vec<&String> = self.readable.iter().map(|(name, _)| name).collect();
        assert!(
            its.any(|(_, content)| holds(content)),
            "{place} does not hold {text}; there are {places:?}"
        );
    }

    /// Searches everything for everything; what was found, where.
    pub fn hits(&self) -> Vec<String> {
        let mut names = vec![];
        let mut patterns = vec![];
        for (what, secret) in &self.secrets {
            for spelling in spellings(secret) {
                names.push(what);
                patterns.push(spelling);
            }
        }
        let search = AhoCorasick::new(&patterns).unwrap();
        let mut hits: Vec<String> = vec![];
        let mut bytes = 0;
        for (place, content) in &self.readable {
            bytes += content.len();
            for found in search.find_iter(content) {
                let from = found.start().saturating_sub(120);
                let around = &content[from..(found.end() + 40).min(content.len())];
                let what = names[found.pattern().as_usize()];
                hits.push(format!(
                    "{what} in {place}: {}",
                    String::from_utf8_lossy(around)
                ));
            }
        }
        println!(
            "{} secrets in {} spellings, {} places with {bytes} bytes: {} hits",
            self.secrets.len(),
            patterns.len(),
            self.readable.len(),
            hits.len()
        );
        hits
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn search_in(content: impl Into<Vec<u8>>) -> Search {
        let mut search = Search::default();
        search.met("it", "marker-secret/+?=0123456789");
        search.read("here", content);
        search
    }

    #[test]
    fn the_search_knows_every_spelling() {
        let secret = "marker-secret/+?=0123456789";
        for around in ["", "x", "xy"] {
            let text = format!("{around}{secret} and more");
            let encoded = STANDARD_NO_PAD.encode(&text);
            let url_safe = URL_SAFE_NO_PAD.encode(&text);
            let hex =
                |text: &str| -> String { text.bytes().map(|byte| format!("{byte:02x}")).collect() };
            let percent: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
            let all_percent: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let debug = format!("{:?}", text.as_bytes());
            let hex = [hex(&text), hex(&encoded).to_uppercase()];
            let others = [text, encoded, url_safe, percent, all_percent, debug];
            for found in others.into_iter().chain(hex) {
                assert_eq!(search_in(found.clone()).hits().len(), 1, "{found}");
            }
        }
        assert!(search_in("marker-secret").hits().is_empty());
    }

    #[test]
    fn a_key_is_found_as_its_text_and_as_its_bytes() {
        let key = [0xfb; 32];
        let text = STANDARD.encode(key);
        let hex: String = key.iter().map(|byte| format!("{byte:02X}")).collect();
        let debug = format!("{key:?}");
        let written = [text.as_bytes(), &key, hex.as_bytes(), debug.as_bytes()];
        for content in written {
            for given in [&text, &format!("whsec_{text}")] {
                let mut search = Search::default();
                search.met_key("a key", given);
                search.read("here", content);
                assert!(!search.hits().is_empty(), "{content:?}");
            }
        }
    }
}
