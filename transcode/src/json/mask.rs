//! `google.protobuf.FieldMask` as one string of comma-separated paths.

/// Reads paths. proto3 JSON spells them in lowerCamelCase; the original
/// snake_case is taken as well, since that is what our own answers show.
pub(crate) fn parse(text: &str) -> Option<Vec<String>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    text.split(',').map(path).collect()
}

fn path(text: &str) -> Option<String> {
    let name = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    // AIP-134: an asterisk stands for all fields.
    (text == "*" || text.split('.').all(name)).then(|| snake(text))
}

/// Writes paths in lowerCamelCase; one whose spelling would not survive the
/// way there and back is written as it is.
pub(crate) fn write<'a>(paths: impl Iterator<Item = &'a str>) -> String {
    let mut out = String::new();
    for path in paths {
        if !out.is_empty() {
            out.push(',');
        }
        let camel = camel(path);
        out.push_str(if snake(&camel) == path { &camel } else { path });
    }
    out
}

fn snake(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 4);
    for c in text.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

fn camel(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut raise = false;
    for c in text.chars() {
        match c {
            '_' => raise = true,
            c if raise => {
                out.push(c.to_ascii_uppercase());
                raise = false;
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_read() {
        assert_eq!(
            parse("displayName,oauth2.client_id").unwrap(),
            ["display_name", "oauth2.client_id"]
        );
        assert_eq!(parse("").unwrap(), Vec::<String>::new());
        assert_eq!(parse("*").unwrap(), ["*"]);
        for bad in ["a,", "a..b", "a b", ".", "a,,b", "a.*", "**"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn paths_are_written_in_camel_case_where_that_can_be_read_back() {
        let paths = ["display_name", "a_b.c_d", "foo_3_bar"];
        let text = write(paths.into_iter());
        assert_eq!(text, "displayName,aB.cD,foo_3_bar");
        assert_eq!(parse(&text).unwrap(), paths);
    }
}
