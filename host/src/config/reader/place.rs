//! The place of a value in the file: its path for the operator, its pattern for the
//! table of known keys, and its offset.

/// Characters of a key or value that a finding repeats; longer ones are cut.
const MAX_ECHO: usize = 60;

#[derive(Debug, Clone)]
pub(in crate::config) struct Place {
    /// `mcpServers.example.args[0]`
    pub path: String,
    /// `mcpServers.*.args[]`: the path without chosen names and numbers.
    pub pattern: String,
    /// Byte offset in the text.
    pub at: usize,
    /// Whether this configuration does not use the value: mistakes are then warnings.
    pub lenient: bool,
}

impl Place {
    pub fn root() -> Self {
        Self { path: String::new(), pattern: String::new(), at: 0, lenient: false }
    }

    /// The place of a key whose name is fixed.
    pub fn key(&self, name: &str, at: usize) -> Self {
        Self {
            path: format!("{}{}", self.path, segment(name, self.path.is_empty())),
            pattern: join(&self.pattern, name),
            at,
            lenient: self.lenient,
        }
    }

    /// The place of an entry whose name the operator chose: a server, a variable, a
    /// header.
    pub fn entry(&self, name: &str, at: usize) -> Self {
        Self { pattern: join(&self.pattern, "*"), ..self.key(name, at) }
    }

    /// The place of an element that the operator wrote with a name, in an object instead of a list.
    pub fn named_index(&self, name: &str, at: usize) -> Self {
        Self { pattern: format!("{}[]", self.pattern), ..self.key(name, at) }
    }

    pub fn index(&self, index: usize, at: usize) -> Self {
        Self {
            path: format!("{}[{index}]", self.path),
            pattern: format!("{}[]", self.pattern),
            at,
            lenient: self.lenient,
        }
    }
}

/// The operator's text in quotes, escaped and cut to [`MAX_ECHO`] characters.
pub(in crate::config) fn quote(text: &str) -> String {
    if text.chars().count() <= MAX_ECHO {
        return format!("{text:?}");
    }
    let cut: String = text.chars().take(MAX_ECHO).collect();
    format!("{:?}", cut + "…")
}

fn join(pattern: &str, name: &str) -> String {
    if pattern.is_empty() { name.to_owned() } else { format!("{pattern}.{name}") }
}

/// `.name`, or `["a name"]` if the name would be ambiguous after a dot.
fn segment(name: &str, first: bool) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-$@".contains(c);
    if name.is_empty() || !name.chars().all(plain) || name.chars().count() > MAX_ECHO {
        format!("[{}]", quote(name))
    } else if first {
        name.to_owned()
    } else {
        format!(".{name}")
    }
}
