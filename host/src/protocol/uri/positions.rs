//! Positions in a text behind what part of a template takes.

/// A text whose positions are marked. All ways through a template are followed at once, so that
/// no text takes longer than its length times the template's.
pub(super) struct Positions<'a> {
    pub text: &'a [u8],
}

impl Positions<'_> {
    pub fn behind(&self, from: &[bool], literal: &[u8]) -> Vec<bool> {
        let mut to = vec![false; from.len()];
        for (at, _) in from.iter().enumerate().filter(|(_, marked)| **marked) {
            let fits = self.text.get(at..).is_some_and(|rest| rest.starts_with(literal));
            if fits && let Some(end) = to.get_mut(at + literal.len()) {
                *end = true;
            }
        }
        to
    }

    /// The positions behind one or more bytes of a kind, never inside `%XX`.
    pub fn run(&self, from: &[bool], is_kind: impl Fn(u8) -> bool) -> Vec<bool> {
        let mut to = vec![false; from.len()];
        let mut is_open = false;
        for (at, byte) in self.text.iter().enumerate() {
            is_open = (is_open || from.get(at) == Some(&true)) && is_kind(*byte);
            let end = at + 1;
            let inside = |back: usize| end.checked_sub(back).and_then(|at| self.text.get(at));
            let is_inside = inside(1) == Some(&b'%') || inside(2) == Some(&b'%');
            if is_open
                && !is_inside
                && let Some(end) = to.get_mut(end)
            {
                *end = true;
            }
        }
        to
    }

    /// Like [`Self::run`], without regard to `%XX`.
    pub fn through(&self, from: &[bool], is_kind: impl Fn(u8) -> bool) -> Vec<bool> {
        let mut to = vec![false; from.len()];
        let mut is_open = false;
        for (at, byte) in self.text.iter().enumerate() {
            is_open = (is_open || from.get(at) == Some(&true)) && is_kind(*byte);
            if let Some(end) = to.get_mut(at + 1) {
                *end = is_open;
            }
        }
        to
    }
}

/// The positions marked in either.
pub(super) fn or(one: &[bool], other: &[bool]) -> Vec<bool> {
    one.iter().zip(other).map(|(one, other)| *one || *other).collect()
}
