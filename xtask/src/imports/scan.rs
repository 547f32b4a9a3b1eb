//! Reads Rust source just far enough to find every path in it, `use` trees
//! expanded, without comments, strings and test code.

/// A path as the source names it, for instance `crate::domain::Id`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedPath {
    /// Its line, from 1.
    pub line: usize,
    /// Its segments; `*` ends a glob.
    pub segments: Vec<String>,
    /// Whether it stands in a `use` or begins with `::`.
    is_import: bool,
    /// The modules inside the file that it stands in.
    pub inside: Vec<String>,
}

impl UsedPath {
    /// Whether its first segment may be a module or a crate. A single word
    /// outside an import may be anything: a variable, the crate of `pub(crate)`.
    pub fn leads_somewhere(&self) -> bool {
        self.is_import || self.segments.len() > 1
    }
}

/// What a file uses.
#[derive(Debug)]
pub struct Source {
    /// Every path outside test code.
    pub paths: Vec<UsedPath>,
    /// The modules that `#[cfg(test)] mod name;` puts into other files.
    pub test_modules: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    /// `::`
    Separator,
    Sign(char),
}

type Tokens = Vec<(usize, Token)>;

impl Source {
    /// Reads a file.
    pub fn read(text: &str) -> Self {
        let tokens = tokens(text);
        if starts_with(&tokens, "#![cfg(test)]") {
            return Self {
                paths: Vec::new(),
                test_modules: Vec::new(),
            };
        }
        let (tokens, test_modules) = without_tests(tokens);
        Self {
            paths: paths(&tokens),
            test_modules,
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Comments and literals vanish; everything else becomes a token.
fn tokens(text: &str) -> Tokens {
    let mut tokens = Tokens::new();
    let mut line = 1;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(length) = literal(rest) {
            length
        } else if is_word(c) {
            let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            let word = rest[..length].trim_start_matches("r#");
            tokens.push((line, Token::Word(word.to_owned())));
            length
        } else if rest.starts_with("::") {
            tokens.push((line, Token::Separator));
            2
        } else {
            if !c.is_whitespace() {
                tokens.push((line, Token::Sign(c)));
            }
            c.len_utf8()
        };
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// The length of the string, byte string, raw string or character that the
/// text begins with. A lifetime is no literal.
fn literal(text: &str) -> Option<usize> {
    let prefix = text
        .find(|c| !matches!(c, 'b' | 'c' | 'r'))
        .filter(|length| *length <= 2)?;
    let body = &text[prefix..];
    if text[..prefix].ends_with('r') {
        let hashes = body.find(|c| c != '#')?;
        if !body[hashes..].starts_with('"') {
            return None;
        }
        let end = format!("\"{}", &body[..hashes]);
        let start = prefix + hashes + 1;
        return Some(
            text[start..]
                .find(&end)
                .map_or(text.len(), |at| start + at + end.len()),
        );
    }
    let quote = body.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let mut escaped = false;
    for (at, c) in body.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Some(prefix + at + 1),
            // 'a without a closing quote: a lifetime, or a loop's label.
            _ if quote == '\'' && !body[1..].starts_with('\\') && at > 1 => return None,
            _ => {}
        }
    }
    Some(text.len())
}

/// Whether the tokens begin as the source `pattern` does.
fn starts_with(tokens: &[(usize, Token)], pattern: &str) -> bool {
    let pattern = self::tokens(pattern);
    tokens.len() >= pattern.len()
        && tokens
            .iter()
            .zip(&pattern)
            .all(|((_, token), (_, wanted))| token == wanted)
}

/// Drops every item under `#[cfg(test)]`; names those that are modules in
/// other files.
fn without_tests(tokens: Tokens) -> (Tokens, Vec<String>) {
    let mut kept = Tokens::new();
    let mut test_modules = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if !starts_with(&tokens[at..], "#[cfg(test)]") {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        let item = &tokens[at..];
        let length = item_length(item);
        if let [
            ..,
            (_, Token::Word(keyword)),
            (_, Token::Word(name)),
            (_, Token::Sign(';')),
        ] = &item[..length]
            && keyword == "mod"
        {
            test_modules.push(name.clone());
        }
        at += length;
    }
    (kept, test_modules)
}

/// How many tokens the item takes, its attributes included: up to the `;`,
/// the `,` of a field or the closing `}` outside all brackets.
fn item_length(tokens: &[(usize, Token)]) -> usize {
    let mut depth = 0_usize;
    let mut angles = 0_usize;
    let mut before = None;
    for (at, (_, token)) in tokens.iter().enumerate() {
        match token {
            Token::Sign('(' | '[' | '{') => depth += 1,
            Token::Sign(')' | ']' | '}') if depth == 0 => return at,
            Token::Sign(close @ (')' | ']' | '}')) => {
                depth -= 1;
                if depth == 0 && *close == '}' && !starts_with(&tokens[at + 1..], ";") {
                    return at + 1;
                }
            }
            Token::Sign('<') => angles += 1,
            Token::Sign('>') if !matches!(before, Some(&Token::Sign('-' | '='))) => {
                angles = angles.saturating_sub(1);
            }
            Token::Sign(',') if depth == 0 && angles == 0 => return at + 1,
            Token::Sign(';') if depth == 0 => return at + 1,
            _ => {}
        }
        before = Some(token);
    }
    tokens.len()
}

fn paths(tokens: &[(usize, Token)]) -> Vec<UsedPath> {
    let mut found = Vec::new();
    let mut modules = Modules::default();
    let mut at = 0;
    while at < tokens.len() {
        let before = at.checked_sub(1).map(|before| &tokens[before].1);
        modules.pass(before, &tokens[at..]);
        let is_use = matches!(&tokens[at].1, Token::Word(word) if word == "use");
        let is_global = tokens[at].1 == Token::Separator && before != Some(&Token::Sign('>'));
        let is_import = is_use || is_global;
        let start = at + usize::from(is_import);
        let reader = Reader {
            tokens,
            is_import,
            inside: &modules.open,
        };
        at = reader.tree(start, &[], &mut found).max(at + 1);
    }
    found
}

/// The inline modules around the current token.
#[derive(Default)]
struct Modules {
    open: Vec<String>,
    /// The brace depth inside each.
    depths: Vec<usize>,
    depth: usize,
}

impl Modules {
    fn pass(&mut self, before: Option<&Token>, tokens: &[(usize, Token)]) {
        match tokens {
            [
                (_, Token::Word(keyword)),
                (_, Token::Word(name)),
                (_, Token::Sign('{')),
                ..,
            ] if keyword == "mod" => {
                self.enter(name);
            }
            // diesel's `table!` makes a module of what it holds.
            [(_, Token::Sign('!')), (_, Token::Sign('{')), ..] if matches!(before, Some(Token::Word(name)) if name == "table") =>
            {
                self.enter("table!");
            }
            [(_, Token::Sign('{')), ..] => self.depth += 1,
            [(_, Token::Sign('}')), ..] => {
                if self.depths.last() == Some(&self.depth) {
                    self.depths.pop();
                    self.open.pop();
                }
                self.depth = self.depth.saturating_sub(1);
            }
            _ => {}
        }
    }

    fn enter(&mut self, name: &str) {
        self.open.push(name.to_owned());
        self.depths.push(self.depth + 1);
    }
}

struct Reader<'a> {
    tokens: &'a [(usize, Token)],
    is_import: bool,
    inside: &'a [String],
}

impl Reader<'_> {
    /// Reads the path or `use` tree at `at`, if there is one; answers where it
    /// ends.
    fn tree(&self, mut at: usize, prefix: &[String], found: &mut Vec<UsedPath>) -> usize {
        let token = |at: usize| self.tokens.get(at).map(|(_, token)| token);
        let mut segments = prefix.to_vec();
        let start = at;
        // Inside an import, a tree may begin with `::`.
        if self.is_import && token(at) == Some(&Token::Separator) {
            at += 1;
        }
        loop {
            match token(at) {
                Some(Token::Word(word)) => segments.push(word.clone()),
                Some(Token::Sign('*')) if self.is_import => segments.push("*".to_owned()),
                Some(Token::Sign('{')) if self.is_import => {
                    return self.group(at + 1, &segments, found);
                }
                _ => break,
            }
            at += 1;
            if token(at) != Some(&Token::Separator) {
                break;
            }
            at += 1;
        }
        if segments.len() > prefix.len() {
            found.push(UsedPath {
                line: self.tokens[start].0,
                segments,
                is_import: self.is_import,
                inside: self.inside.to_vec(),
            });
        }
        at
    }

    /// Reads the trees between `{` and `}`.
    fn group(&self, mut at: usize, prefix: &[String], found: &mut Vec<UsedPath>) -> usize {
        while let Some((_, token)) = self.tokens.get(at) {
            match token {
                Token::Sign('}') => return at + 1,
                Token::Sign(_) => at += 1,
                Token::Word(word) if word == "as" => at += 2,
                Token::Word(_) | Token::Separator => at = self.tree(at, prefix, found),
            }
        }
        at
    }
}
