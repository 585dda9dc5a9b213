//! A binding as a store's text: version, epoch, epoch that was open last (0 if none is known), whether
//! it was open, node. Stores may be written to by others, so that anything may stand there.

use crate::model::{Epoch, NodeId};

use super::SharedBinding;

/// The version of the text, which stands at its beginning.
const VERSION: &str = "1";
/// Words of the text.
pub const WORDS: usize = 5;
/// Bytes of the longest text that is read.
const MAX_TEXT: usize = 128;

/// The text of a binding.
pub fn write(binding: &SharedBinding) -> String {
    let SharedBinding { node, epoch, opened, was_open } = binding;
    let open = if *was_open { "open" } else { "new" };
    format!("{VERSION} {epoch} {} {open} {node}", opened.map_or(0, Epoch::get))
}

/// `None` for anything else, also for the text of a later version.
pub fn read(text: &[u8]) -> Option<SharedBinding> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= MAX_TEXT)?;
    let mut words = text.split(' ');
    let mut next = || words.next();
    let (version, epoch, opened, open, node) = (next()?, next()?, next()?, next()?, next()?);
    if version != VERSION || words.next().is_some() {
        return None;
    }
    let was_open = match open {
        "open" => true,
        "new" => false,
        _ => return None,
    };
    let epoch = Epoch::parse(epoch)?;
    let opened = if opened == "0" { None } else { Some(Epoch::parse(opened)?) };
    Some(SharedBinding { node: NodeId::parse(node).ok()?, epoch, opened, was_open })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_comes_back_and_nothing_else_does() {
        for (was_open, opened) in [(true, Epoch::new(5)), (true, None), (false, None)] {
            let (node, epoch) = (NodeId::parse("node-1").unwrap(), Epoch::nearest(u64::MAX));
            let binding = SharedBinding { node, epoch, opened, was_open };
            assert_eq!(read(write(&binding).as_bytes()), Some(binding));
        }
        let long = format!("1 7 0 open {}", "n".repeat(200));
        for text in [
            "",
            "1",
            "1 7 0 open",
            "2 7 0 open n",
            "1 -7 0 open n",
            "1 0 0 open n",
            "1 7 x open n",
            "1 7 0 shut n",
            "1 7 0 open n n",
            "1 7 0 open a/b",
            "1 99999999999999999999 0 open n",
            "1 9007199254740992 0 open n",
            &long,
        ] {
            assert_eq!(read(text.as_bytes()), None, "{text}");
        }
        assert_eq!(read(b"1 7 0 open \xff"), None);
    }
}
