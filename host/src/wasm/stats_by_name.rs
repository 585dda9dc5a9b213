//! Counts by the strategy that has decided. The counters are those of all strategies together, and go on
//! when another one takes over.

use super::stats::Stats;

/// Most strategies that are told apart; a reload may bring any number of them.
const MOST: usize = 64;
/// The name of the others.
const OTHERS: &str = "(others)";

/// What strategies have counted that were replaced.
#[derive(Debug, Clone, Default)]
pub(super) struct StatsByName {
    replaced: Vec<(String, Stats)>,
    /// All counts when the current one took over.
    since: Stats,
}

impl StatsByName {
    /// Another strategy takes over from the one with this name; `all` are all counts now.
    pub(super) fn hand_over(&mut self, name: &str, all: Stats) {
        let counted = all.since(&self.since);
        let known = self.replaced.iter().position(|(known, _)| known == name);
        let name = if known.is_none() && self.replaced.len() >= MOST { OTHERS } else { name };
        match self.replaced.iter_mut().find(|(known, _)| known == name) {
            Some((_, stats)) => *stats = stats.plus(&counted),
            None => self.replaced.push((name.to_owned(), counted)),
        }
        self.since = all;
    }

    /// The counts of each, with those of the current one until now.
    pub(super) fn with_current(&self, name: &str, all: Stats) -> Vec<(String, Stats)> {
        let mut now = self.clone();
        now.hand_over(name, all);
        now.replaced
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(decisions: u64) -> Stats {
        Stats { decisions, ..Stats::default() }
    }

    fn counts(stats: &StatsByName, name: &str, all: u64) -> Vec<(String, u64)> {
        let counts = stats.with_current(name, decided(all)).into_iter();
        counts.map(|(name, stats)| (name, stats.decisions)).collect()
    }

    #[test]
    fn each_strategy_has_its_own_counts_and_goes_on_with_them() {
        let mut stats = StatsByName::default();
        assert_eq!(counts(&stats, "a", 3), [("a".to_owned(), 3)]);
        stats.hand_over("a", decided(3));
        assert_eq!(counts(&stats, "b", 5), [("a".to_owned(), 3), ("b".to_owned(), 2)]);
        stats.hand_over("b", decided(5));
        assert_eq!(counts(&stats, "a", 9), [("a".to_owned(), 7), ("b".to_owned(), 2)]);
    }

    #[test]
    fn the_number_of_names_is_bounded() {
        let mut stats = StatsByName::default();
        for number in 0..=MOST as u64 + 5 {
            stats.hand_over(&number.to_string(), decided(number + 1));
        }
        let counts = counts(&stats, "0", MOST as u64 + 6);
        assert_eq!(counts.len(), MOST + 1);
        assert_eq!(counts.last(), Some(&(OTHERS.to_owned(), 6)));
    }
}
