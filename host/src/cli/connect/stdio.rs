//! The host's side: lines of stdin, lines of stdout, and signals.

use std::io::{BufRead as _, Read as _, Write as _};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

/// Bytes of a line: more than any gateway takes by default.
const MAX_LINE: u64 = 64 << 20;
/// Lines that wait in each direction.
const WAITING: usize = 64;

/// A line of stdin.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// Without space around it.
    Text(String),
    /// Nothing that can be a message, and why.
    Wrong(String),
    /// Stdin cannot be read any more.
    Failed(String),
}

/// The lines of stdin, without empty ones.
pub struct Input {
    pub lines: mpsc::Receiver<Line>,
    /// Whether the host has closed it: what is left is in `lines`.
    pub closed: watch::Receiver<bool>,
}

impl Input {
    pub fn start() -> Self {
        let (sender, lines) = mpsc::channel(WAITING);
        let (closing, closed) = watch::channel(false);
        // Reading from stdin blocks, and nothing ends it but the host.
        std::thread::spawn(move || {
            let mut input = std::io::stdin().lock();
            while let Some(line) = next_line(&mut input) {
                let is_last = matches!(line, Line::Failed(_));
                if sender.blocking_send(line).is_err() || is_last {
                    break;
                }
            }
            closing.send_replace(true);
        });
        Self { lines, closed }
    }
}

fn next_line(input: &mut impl std::io::BufRead) -> Option<Line> {
    let failed = |error| Line::Failed(format!("cannot read stdin: {error}"));
    loop {
        let mut line = Vec::new();
        match input.by_ref().take(MAX_LINE + 1).read_until(b'\n', &mut line) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(error) => return Some(failed(error)),
        }
        if line.len() as u64 > MAX_LINE {
            if line.last() != Some(&b'\n')
                && let Err(error) = input.skip_until(b'\n')
            {
                return Some(failed(error));
            }
            let why = format!("the line has more than {} MiB", MAX_LINE >> 20);
            return Some(Line::Wrong(why));
        }
        let Ok(line) = String::from_utf8(line) else {
            return Some(Line::Wrong("the line is not UTF-8".to_owned()));
        };
        // Some programs begin what they write with a byte order mark.
        match line.trim_start_matches('\u{feff}').trim() {
            "" => {}
            text => return Some(Line::Text(text.to_owned())),
        }
    }
}

/// The lines of stdout. Clones write to the same one, a whole line at a time.
#[derive(Clone)]
pub struct Output {
    lines: mpsc::Sender<Vec<u8>>,
    /// Whether everything was written, or nothing can be any more.
    done: watch::Receiver<bool>,
}

impl Output {
    pub fn start() -> Self {
        let (lines, mut waiting) = mpsc::channel::<Vec<u8>>(WAITING);
        let (finished, done) = watch::channel(false);
        std::thread::spawn(move || {
            let mut output = std::io::stdout().lock();
            while let Some(line) = waiting.blocking_recv() {
                if line.is_empty() || output.write_all(&line).and_then(|()| output.flush()).is_err()
                {
                    break;
                }
            }
            finished.send_replace(true);
        });
        Self { lines, done }
    }

    /// Writes a message as one line.
    pub async fn say(&self, message: &[u8]) {
        let mut line = Vec::with_capacity(message.len() + 1);
        // Between the members of a message a line break is only space, and inside of a text JSON
        // has none.
        line.extend(
            message.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }),
        );
        if line.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        line.push(b'\n');
        // The host may have gone.
        let _ = self.lines.send(line).await;
    }

    /// Waits until stdout takes nothing any more.
    pub async fn closed(&self) {
        let mut done = self.done.clone();
        let _ = done.wait_for(|done| *done).await;
    }

    /// Waits until all that was said is written.
    pub async fn written(self) {
        // An empty line ends the thread.
        let _ = self.lines.send(Vec::new()).await;
        self.closed().await;
    }
}

/// The signals that end a program.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub fn watch() -> Result<Self, String> {
        let watch = |kind| signal(kind).map_err(|error| format!("cannot watch signals: {error}"));
        Ok(Self {
            terminate: watch(SignalKind::terminate())?,
            interrupt: watch(SignalKind::interrupt())?,
        })
    }

    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_without_empty_ones_and_what_is_no_text_is_said() {
        let mut input = &b"\xef\xbb\xbf{\"a\":1}\r\n\n  \n\xff\n{\"b\":2}"[..];
        assert_eq!(next_line(&mut input), Some(Line::Text("{\"a\":1}".to_owned())));
        assert_eq!(next_line(&mut input), Some(Line::Wrong("the line is not UTF-8".to_owned())));
        assert_eq!(next_line(&mut input), Some(Line::Text("{\"b\":2}".to_owned())));
        assert_eq!(next_line(&mut input), None);
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over() {
        let long = std::io::repeat(b'x').take(MAX_LINE + 10).chain(&b"\n{}\n"[..]);
        let mut input = std::io::BufReader::new(long);
        let first = next_line(&mut input);
        assert!(matches!(&first, Some(Line::Wrong(why)) if why.contains("64 MiB")), "{first:?}");
        assert_eq!(next_line(&mut input), Some(Line::Text("{}".to_owned())));
    }
}
