//! The place of a value in the file: its path for the operator, its pattern for the
//! table of known keys, and its offset.

use std::cell::RefCell;
use std::rc::Rc;

/// Characters of a key or value that a finding repeats; longer ones are cut.
const MAX_ECHO: usize = 60;

/// Most mistakes of one entry that its reason names.
const MAX_PROBLEMS: usize = 8;

#[derive(Debug, Clone)]
pub(in crate::config) struct Place {
    /// `mcpServers.example.args[0]`
    pub path: String,
    /// `mcpServers.*.args[]`: the path without chosen names and numbers.
    pub pattern: String,
    /// Byte offset in the text.
    pub at: usize,
    pub stops: Stops,
}

/// What a mistake at a place stops.
#[derive(Debug, Clone)]
pub(in crate::config) enum Stops {
    /// The load: the gateway does not start.
    Load,
    /// One entry, such as a server; the others run.
    Entry(Rc<EntryProblems>),
    /// The value alone, whose default counts.
    Value,
    /// Nothing, since this configuration does not use the value.
    Nothing,
}

/// The mistakes of one entry.
#[derive(Debug)]
pub(in crate::config) struct EntryProblems {
    /// The entry's path.
    path: String,
    /// Follows the advice of a finding: what becomes of the entry.
    pub until: &'static str,
    found: RefCell<Vec<String>>,
}

impl EntryProblems {
    pub fn new(place: &Place, until: &'static str) -> Rc<Self> {
        Rc::new(Self { path: place.path.clone(), until, found: RefCell::default() })
    }

    /// Adds a mistake. The reason names the place within the entry.
    pub fn add(&self, place: &Place, message: &str) {
        let within = place.path.strip_prefix(&self.path).unwrap_or("").trim_start_matches('.');
        let problem = match within {
            "" => message.to_owned(),
            within => format!("{within} {message}"),
        };
        let mut found = self.found.borrow_mut();
        if found.len() < MAX_PROBLEMS && !found.contains(&problem) {
            found.push(problem);
        }
    }

    /// How many mistakes were found so far.
    pub fn count(&self) -> usize {
        self.found.borrow().len()
    }

    /// Why the entry cannot be used; `None` if it can.
    pub fn reason(&self) -> Option<String> {
        let found = self.found.borrow();
        (!found.is_empty()).then(|| found.join("; "))
    }
}

impl Place {
    pub fn root() -> Self {
        Self { path: String::new(), pattern: String::new(), at: 0, stops: Stops::Load }
    }

    /// The same place, whose mistakes stop nothing.
    pub fn lenient(mut self) -> Self {
        self.stops = Stops::Nothing;
        self
    }

    /// The same place, whose mistakes stop the entry that it is in.
    pub fn of_entry(mut self, problems: &Rc<EntryProblems>) -> Self {
        self.stops = Stops::Entry(Rc::clone(problems));
        self
    }

    pub fn is_lenient(&self) -> bool {
        matches!(self.stops, Stops::Nothing)
    }

    /// The place of a key whose name is fixed.
    pub fn key(&self, name: &str, at: usize) -> Self {
        Self {
            path: format!("{}{}", self.path, segment(name, self.path.is_empty())),
            pattern: join(&self.pattern, name),
            at,
            stops: self.stops.clone(),
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
            stops: self.stops.clone(),
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
