//! Where a stream that is relayed unread may be interrupted: between two events.

/// Ends an event of which only a part has been relayed: clients take no event of this name for a
/// message, and remember no id of it.
const CUT: &[u8] = b"\nid\nevent: cut\n\n";

/// Whether what was relayed so far ends with a whole event.
#[derive(Default)]
pub struct EventEnds {
    /// Line breaks at the end; `None` before anything was relayed.
    breaks: Option<usize>,
}

impl EventEnds {
    /// Takes note of what is relayed.
    pub fn note(&mut self, relayed: &[u8]) {
        let at_end = relayed.iter().rev().take_while(|byte| **byte == b'\n').count();
        let before = if at_end == relayed.len() { self.breaks.unwrap_or(2) } else { 0 };
        self.breaks = Some((before + at_end).min(2));
    }

    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.breaks.is_none_or(|breaks| breaks >= 2)
    }

    /// What makes it whole, if it is not.
    pub fn cut(&mut self) -> Option<&'static [u8]> {
        self.breaks.replace(2).is_some_and(|breaks| breaks < 2).then_some(CUT)
    }
}

#[cfg(test)]
mod tests {
    use crate::protocol::sse;

    use super::*;

    #[test]
    fn an_event_that_is_not_whole_is_ended_without_a_message() {
        for (frames, is_cut) in [
            (&[][..], false),
            (&["data: a\n\n"][..], false),
            (&["data: a\n", "\n"][..], false),
            (&["data: a", "\n\n"][..], false),
            (&[": alive\n\n", "data: a\n"][..], true),
            (&["id: 1\ndata: {\"a"][..], true),
        ] {
            let mut ends = EventEnds::default();
            frames.iter().for_each(|frame| ends.note(frame.as_bytes()));
            let mut decoder = sse::EventDecoder::new(10_000);
            let mut messages = Vec::new();
            let end = ends.cut();
            assert_eq!(end.is_some(), is_cut, "{frames:?}");
            let text = [frames.concat().as_bytes(), end.unwrap_or_default()].concat();
            let next = [&text[..], &sse::event(b"{}")].concat();
            decoder.feed(&next, |event| messages.push(event)).unwrap();
            let notice = messages.last().unwrap();
            assert!(notice.has_message() && notice.data.starts_with(b"{"), "{frames:?}");
            let cut: Vec<_> = messages.iter().filter(|event| event.name == "cut").collect();
            assert!(cut.iter().all(|event| !event.has_message()), "{frames:?}");
            assert_eq!(ends.cut(), None, "{frames:?}");
        }
    }
}
