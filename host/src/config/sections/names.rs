//! How a tool's name is composed where several servers share one endpoint.

use crate::config::reader::section::Section;

/// Longer separators eat the 60 characters that model APIs leave for a name.
const MAX_SEPARATOR: usize = 8;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Between server and tool; printable ASCII, one to eight characters.
    pub separator: String,
    pub prefix: Prefix,
}

/// When a tool carries its server's name in front.
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
        separator: separator(system).unwrap_or_else(|| "-".to_owned()),
        prefix: system.choice("namePrefix", "prefix mode", &choices).unwrap_or(Prefix::Always),
    }
}

fn separator(system: &Section<'_>) -> Option<String> {
    let item = system.get("nameSeparator")?;
    let text = item.text()?;
    let printable = text.bytes().all(|b| b.is_ascii_graphic());
    if printable && (1..=MAX_SEPARATOR).contains(&text.len()) {
        return Some(text);
    }
    let advice = format!("use 1 to {MAX_SEPARATOR} printable ASCII characters, such as -");
    item.refuse("cannot separate names", advice);
    None
}
