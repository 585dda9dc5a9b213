//! How tool names are composed where several servers share one endpoint.

use crate::config::reader::section::Section;
use crate::model::DEFAULT_SEPARATOR;

/// Characters of the separator: model APIs allow about 60 for the whole name.
const MAX_SEPARATOR: usize = 8;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Text between server and tool: 1 to 8 printable ASCII characters.
    pub separator: String,
    pub prefix: Prefix,
}

/// When a tool's name begins with its server's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefix {
    Always,
    /// Only if two servers offer the same name.
    OnCollision,
    Never,
}

pub(in crate::config) fn read(system: &Section<'_>) -> Names {
    let choices = [
        ("always", Prefix::Always),
        ("on-collision", Prefix::OnCollision),
        ("never", Prefix::Never),
    ];
    Names {
        separator: separator(system).unwrap_or_else(|| DEFAULT_SEPARATOR.to_owned()),
        prefix: system
            .clone()
            .with_defaults()
            .choice("namePrefix", "prefix mode", &choices)
            .unwrap_or(Prefix::Always),
    }
}

/// What is no text names no other separator, so that the default counts. A text that cannot be one
/// may stand in names of hidden tools, and stops the start.
fn separator(system: &Section<'_>) -> Option<String> {
    let text = system.clone().with_defaults().get("nameSeparator")?.text()?;
    if text.is_empty() {
        return None;
    }
    let item = system.get("nameSeparator")?;
    let printable = text.bytes().all(|b| b.is_ascii_graphic());
    if printable && (1..=MAX_SEPARATOR).contains(&text.len()) {
        return Some(text);
    }
    let advice = format!("use 1 to {MAX_SEPARATOR} printable ASCII characters, such as -");
    item.refuse("cannot separate names", advice);
    None
}
