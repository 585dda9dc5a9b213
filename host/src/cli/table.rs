//! A table for people: columns below each other, every cell made visible.

use crate::model::visible::visible;

/// Bytes of a cell: as long as names may be.
const MAX_CELL: usize = 128;

/// The rows below their head, with two blanks between columns. Ends with a line break.
#[must_use]
pub fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let head = head.map(str::to_owned);
    let rows: Vec<[String; N]> = std::iter::once(&head)
        .chain(rows)
        .map(|row| row.clone().map(|cell| shown(&cell)))
        .collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// What stands in a cell for something unknown.
#[must_use]
pub fn known(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

/// A number of bytes, with one decimal.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["K", "M", "G", "T"];
    let mut tenths = bytes.saturating_mul(10) / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{}{}", tenths / 10, tenths % 10, UNITS.get(unit).unwrap_or(&""))
}

/// A time in its two largest units.
#[must_use]
pub fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

fn shown(cell: &str) -> String {
    visible(cell, MAX_CELL).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_are_for_people() {
        for (size, expect) in [(0, "0.0K"), (1536, "1.5K"), (10 << 20, "10.0M"), (3 << 30, "3.0G")]
        {
            assert_eq!(bytes(size), expect);
        }
        for (seconds, expect) in [(0, "0s"), (61, "1m1s"), (3600, "1h0m"), (200_000, "2d7h")] {
            assert_eq!(age(seconds), expect);
        }
    }

    #[test]
    fn columns_stand_below_each_other_and_control_nothing() {
        let rows = [["a\u{1b}".to_owned(), "1".to_owned()], ["b".to_owned(), known(None)]];
        assert_eq!(table(["NAME", "N"], &rows), "NAME     N\na\\u{1b}  1\nb        -\n");
    }
}
