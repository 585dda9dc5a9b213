//! Where in the file something stands: the path that an operator reads, the
//! pattern that the table of known keys is written in, and the offset.

/// Longest key or value that is repeated in a finding.
const MAX_ECHO: usize = 60;

#[derive(Debug, Clone)]
pub(in crate::config) struct Place {
    /// `mcpServers.example.args[0]`
    pub path: String,
    /// `mcpServers.*.args[]`: the same with names and numbers taken out.
    pub pattern: String,
    /// Byte offset in the text.
    pub at: usize,
    /// Not in use in this configuration: mistakes here are warnings.
    pub lenient: bool,
}

impl Place {
    pub fn root() -> Self {
        Self { path: String::new(), pattern: String::new(), at: 0, lenient: false }
    }

    /// A key that Mooring names.
    pub fn key(&self, name: &str, at: usize) -> Self {
        Self {
            path: format!("{}{}", self.path, segment(name, self.path.is_empty())),
            pattern: join(&self.pattern, name),
            at,
            lenient: self.lenient,
        }
    }

    /// A key that the operator names: a server, a variable, a header.
    pub fn entry(&self, name: &str, at: usize) -> Self {
        Self { pattern: join(&self.pattern, "*"), ..self.key(name, at) }
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

/// What the operator wrote, in quotes, escaped and cut to a readable length.
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

/// `.name`, or `["a name"]` where a dot would mislead.
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
