//! As much of HTML as it takes to find forms and links.

/// A piece of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Open(Tag),
    Close(String),
    Text(String),
}

/// An opening tag. Names are in lower case, values unescaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) name: String,
    attributes: Vec<(String, String)>,
}

impl Tag {
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(attribute, _)| attribute == name)
            .map(|(_, value)| value.as_str())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.attribute(name).is_some()
    }
}

/// Cuts a document into tags and text. Comments, doctypes, scripts and styles are left out.
pub(super) fn tokens(document: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = document;
    while let Some(start) = rest.find('<') {
        push_text(&mut tokens, &rest[..start]);
        rest = &rest[start..];
        if let Some(comment) = rest.strip_prefix("<!--") {
            rest = comment.find("-->").map_or("", |end| &comment[end + 3..]);
        } else if rest.starts_with("<!") || rest.starts_with("<?") {
            rest = rest.find('>').map_or("", |end| &rest[end + 1..]);
        } else if let Some(closing) = rest.strip_prefix("</") {
            let (inside, after) = closing.split_once('>').unwrap_or((closing, ""));
            tokens.push(Token::Close(inside.trim().to_ascii_lowercase()));
            rest = after;
        } else if rest[1..].starts_with(|first: char| first.is_ascii_alphabetic()) {
            let (tag, after) = tag(&rest[1..]);
            rest = after;
            let name = tag.name.clone();
            tokens.push(Token::Open(tag));
            if matches!(name.as_str(), "script" | "style" | "textarea" | "title") {
                let end = find_close(rest, &name);
                if matches!(name.as_str(), "textarea" | "title") {
                    push_text(&mut tokens, &rest[..end]);
                }
                rest = &rest[end..];
            }
        } else {
            push_text(&mut tokens, "<");
            rest = &rest[1..];
        }
    }
    push_text(&mut tokens, rest);
    tokens
}

fn push_text(tokens: &mut Vec<Token>, text: &str) {
    if !text.is_empty() {
        tokens.push(Token::Text(unescape(text)));
    }
}

/// Where `</name` begins, or the end of the document.
fn find_close(document: &str, name: &str) -> usize {
    let close = format!("</{name}");
    // Lower-casing ASCII keeps every position where it is.
    document
        .to_ascii_lowercase()
        .find(&close)
        .unwrap_or(document.len())
}

/// Reads a tag whose `<` has been read; gives what follows its `>`.
fn tag(text: &str) -> (Tag, &str) {
    let name_end = text
        .find(|c: char| c.is_ascii_whitespace() || c == '/' || c == '>')
        .unwrap_or(text.len());
    let mut tag = Tag {
        name: text[..name_end].to_ascii_lowercase(),
        attributes: Vec::new(),
    };
    let mut rest = &text[name_end..];
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
        if rest.is_empty() {
            return (tag, rest);
        }
        if let Some(after) = rest.strip_prefix('>') {
            return (tag, after);
        }
        // An attribute's name may begin with `=`, however odd; so at least one character is always read.
        let first = rest.chars().next().map_or(0, char::len_utf8);
        let end = |c: char| c.is_ascii_whitespace() || matches!(c, '/' | '>' | '=');
        let name_end = rest[first..]
            .find(end)
            .map_or(rest.len(), |end| first + end);
        let name = rest[..name_end].to_ascii_lowercase();
        rest = rest[name_end..].trim_start();
        let mut value = String::new();
        if let Some(after) = rest.strip_prefix('=') {
            let (raw, after) = attribute_value(after.trim_start());
            value = unescape(raw);
            rest = after;
        }
        tag.attributes.push((name, value));
    }
}

fn attribute_value(text: &str) -> (&str, &str) {
    for quote in ['"', '\''] {
        if let Some(inside) = text.strip_prefix(quote) {
            return inside.split_once(quote).unwrap_or((inside, ""));
        }
    }
    let end = text
        .find(|c: char| c.is_ascii_whitespace() || c == '>')
        .unwrap_or(text.len());
    text.split_at(end)
}

/// Resolves character references: the numeric ones and the named ones that markup needs. Others stay as they are.
pub(super) fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('&') {
        plain.push_str(&rest[..start]);
        rest = &rest[start..];
        let reference = rest[1..]
            .split_once(';')
            .and_then(|(name, after)| Some((character(name)?, after)));
        match reference {
            Some((character, after)) => {
                plain.push(character);
                rest = after;
            }
            None => {
                plain.push('&');
                rest = &rest[1..];
            }
        }
    }
    plain.push_str(rest);
    plain
}

fn character(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16),
            None => number.parse(),
        };
        return char::from_u32(code.ok()?);
    }
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => '\u{a0}',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_tag(document: &str) -> Tag {
        match tokens(document).into_iter().next() {
            Some(Token::Open(tag)) => tag,
            other => panic!("no tag but {other:?}"),
        }
    }

    #[test]
    fn attributes_are_read_in_every_notation() {
        let tag = first_tag("<INPUT type=text NAME='a b' value=\"1 &lt; 2\" required data-x = y/>");
        assert_eq!(tag.name, "input");
        assert_eq!(tag.attribute("name"), Some("a b"));
        assert_eq!(tag.attribute("value"), Some("1 < 2"));
        assert_eq!(tag.attribute("type"), Some("text"));
        assert!(tag.has("required") && tag.has("data-x") && !tag.has("checked"));
    }

    #[test]
    fn references_are_resolved_once() {
        assert_eq!(unescape("/a?b=1&amp;c=2&#38;d&#x3D;3"), "/a?b=1&c=2&d=3");
        assert_eq!(unescape("&amp;lt; & &unknown; &"), "&lt; & &unknown; &");
    }

    #[test]
    fn comments_scripts_and_styles_hold_no_tags() {
        let document = "<!doctype html><!-- <form> --><script>if (a<b) '<form>'</SCRIPT><style>a>b{}</style><p>x";
        let opened: Vec<String> = tokens(document)
            .into_iter()
            .filter_map(|token| match token {
                Token::Open(tag) => Some(tag.name),
                _ => None,
            })
            .collect();
        assert_eq!(opened, ["script", "style", "p"]);
    }

    #[test]
    fn broken_markup_ends() {
        for document in [
            "<",
            "<a",
            "<a href=",
            "<a =>",
            "<a href='x",
            "<!--",
            "</",
            "a < b",
            "<a ==é>",
        ] {
            assert!(tokens(document).len() < 4, "{document}");
        }
    }
}
