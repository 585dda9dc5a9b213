//! Tries the seeds of `fuzz/` as they are and changed at random, with the same changes every time.

use std::path::Path;

use super::{envelope, era, http1, meaning, sse};

/// Inputs made of one seed: enough to find what a fuzzer finds in its first second.
const CHANGES_OF_A_SEED: u64 = 5_000;
/// The most changes in one input: several, so that one can open the way for the next.
const MAX_CHANGES: u64 = 6;

#[test]
fn envelopes_hold_for_changed_seeds() {
    let words = [
        "\"",
        "\\",
        "\\u0061",
        "\\ud83d",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "null",
        "true",
        "-0",
        "1e400",
        "\"jsonrpc\":\"2.0\"",
        "\"id\":",
        "\"method\":",
        "\"result\":",
        "\"error\":",
        "\"params\":",
        "\"name\":",
        "\"uri\":",
        "\"ref\":",
        " ",
        "\n",
        "\r",
        "\t",
        "\u{0}",
        "\u{feff}",
        "\u{1f600}",
    ];
    try_all("envelope", &words, envelope::hold);
}

#[test]
fn meanings_hold_for_changed_seeds() {
    let words = [
        "\"",
        "\\",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "null",
        "1.0",
        "\"hidden\"",
        "\"jsonrpc\":\"2.0\"",
        ",\"id\":2",
        ",\"ID\":2",
        ",\"method\":\"a\"",
        ",\"Method\":\"a\"",
        ",\"params\":{\"name\":\"hidden\"}",
        ",\"Params\":{\"name\":\"hidden\"}",
        ",\"name\":\"hidden\"",
        ",\"Name\":\"hidden\"",
        ",\"n\\u0061me\":\"hidden\"",
        ",\"uri\":\"hidden\"",
        ",\"ta\u{17f}\u{212a}Id\":\"hidden\"",
        ",\"taskId\":\"hidden\"",
        ",\"requestId\":2",
        ",\"_meta\":{\"progressToken\":2}",
        ",\"ref\":{\"uri\":\"hidden\"}",
        ",\"type\":\"ref/prompt\"",
        "\\u0000",
        "\\ud800",
        "\u{17f}",
        "\u{212a}",
        "\u{131}",
        "\u{2028}",
        "\u{85}",
        "\n",
        "\r",
    ];
    try_all("meaning", &words, meaning::hold);
}

#[test]
fn eras_hold_for_changed_seeds() {
    let words = [
        "\"",
        "\\",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "null",
        "\"_meta\":",
        "\"params\":",
        "\"name\":",
        "\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\"",
        "\"io.modelcontextprotocol/clientCapabilities\":{}",
        "2026-07-28",
        "2025-11-25",
        "initialize",
        "\"result\":{}",
        "=?base64?",
        "?=",
        "\u{0}",
        "\u{e4}",
    ];
    try_all("era", &words, era::hold);
}

#[test]
fn event_streams_hold_for_changed_seeds() {
    let words = [
        "\n",
        "\r",
        "\r\n",
        "\n\n",
        ":",
        ": ",
        "data",
        "data:",
        "data: ",
        "event:",
        "id:",
        "retry:",
        "\u{0}",
        "\u{feff}",
        "+5",
        "7",
        "99999999999999999999999999",
        "{}",
    ];
    try_all("sse", &words, sse::hold);
}

#[test]
fn responses_hold_for_changed_seeds() {
    let words = [
        "HTTP/1.1 ",
        "HTTP/1.0 ",
        "100 Continue\r\n",
        "204 ",
        "Content-Length: ",
        "Transfer-Encoding: chunked\r\n",
        "Connection: close\r\n",
        "\r\n",
        "\r\n\r\n",
        "\n",
        "\r",
        ":",
        ",",
        ";",
        "0\r\n",
        "5\r\n",
        "ffffffffffffffff",
        "\u{0}",
        "\u{e4}",
    ];
    try_all("http1", &words, http1::hold);
}

fn try_all(target: &str, words: &[&str], property: fn(&[u8])) {
    let seeds = seeds(target);
    for (seed, name) in &seeds {
        eprintln!("{name}");
        property(seed);
        let mut random = Random(name.bytes().map(u64::from).sum());
        for _ in 0..CHANGES_OF_A_SEED {
            let mut input = seed.clone();
            for _ in 0..=random.below(MAX_CHANGES) {
                change(&mut input, words, &seeds, &mut random);
            }
            let tried = input.clone();
            if std::panic::catch_unwind(move || property(&tried)).is_err() {
                panic!("{name}: {:?} breaks a property", String::from_utf8_lossy(&input));
            }
        }
    }
}

fn seeds(target: &str) -> Vec<(Vec<u8>, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target);
    let mut seeds: Vec<(Vec<u8>, String)> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (std::fs::read(&path).unwrap(), path.display().to_string()))
        .collect();
    // A folder has no order, and the changes must be the same every time.
    seeds.sort_by(|(_, a), (_, b)| a.cmp(b));
    assert!(seeds.len() > 5, "{}", folder.display());
    seeds
}

fn change(input: &mut Vec<u8>, words: &[&str], seeds: &[(Vec<u8>, String)], random: &mut Random) {
    let place = random.index(input.len() + 1);
    let end = (place + random.index(12)).min(input.len());
    match random.below(6) {
        0 if place < input.len() => input[place] ^= 1 << random.below(8),
        1 => drop(input.drain(place..end)),
        2 => {
            let copied = input[place..end].to_vec();
            let to = random.index(input.len() + 1);
            input.splice(to..to, copied);
        }
        3 => {
            let (other, _) = &seeds[random.index(seeds.len())];
            let from = random.index(other.len() + 1);
            input.truncate(place);
            input.extend_from_slice(&other[from..]);
        }
        4 => input.insert(place, u8::try_from(random.below(256)).unwrap()),
        _ => {
            let word = words[random.index(words.len())];
            input.splice(place..place, word.bytes());
        }
    }
}

/// xorshift64: the same numbers from the same start.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        let mut x = self.0 | 1;
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.0 = x;
        (x >> 16) % bound
    }

    fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).unwrap()
    }
}
