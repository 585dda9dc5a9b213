//! Writes the lines of a log on a thread of its own. Whoever has a line puts what it is made of into
//! a bounded channel, and never waits: the thread is not woken for each, but looks by itself. What
//! does not fit, or cannot be written, is lost and counted.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use crate::sync::Seldom;

use super::fields::{Fields, Line, LineForm};
use super::log_file::LogFile;
use super::target::LogTarget;

/// Lines that wait to be written. With [`LOOK`] that is 160,000 calls a second.
const WAITING: usize = 8192;
/// How often the thread looks for lines.
const LOOK: Duration = Duration::from_millis(50);
/// Bytes that are written at once.
const AT_ONCE: usize = 64 * 1024;
/// Longest time for the last lines, at the end of the process.
const LAST: Duration = Duration::from_secs(2);

/// Where the lines of a log go, and how they look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineSettings {
    pub target: LogTarget,
    pub form: LineForm,
}

/// What became of the lines of a log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogCounts {
    pub written: u64,
    /// Lines for which the channel had no room.
    pub overflowed: u64,
    /// Lines that could not be written.
    pub failed: u64,
}

#[derive(Debug, Default)]
struct Shared {
    written: AtomicU64,
    overflowed: AtomicU64,
    failed: AtomicU64,
    is_ending: AtomicBool,
    has_ended: AtomicBool,
    complaints: Seldom,
}

/// A log, for those who have lines.
#[derive(Debug)]
pub struct LineWriter<T> {
    lines: SyncSender<T>,
    shared: Arc<Shared>,
}

impl<T: Line> LineWriter<T> {
    /// Starts the thread of a log.
    ///
    /// # Errors
    /// If the file cannot be opened, or there can be no thread.
    pub fn start(settings: LineSettings) -> io::Result<Self> {
        let sink = match &settings.target {
            LogTarget::Stdout => Sink::Stdout,
            LogTarget::File { path, most, keep } => {
                Sink::File(LogFile::open(path, *most, *keep).map_err(|error| {
                    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
                })?)
            }
        };
        let (lines, waiting) = sync_channel(WAITING);
        let shared = Arc::<Shared>::default();
        let mut writing =
            Writing { waiting, sink, form: settings.form, shared: Arc::clone(&shared) };
        let thread = std::thread::Builder::new().name(format!("mooring-{}", T::LOG));
        thread.spawn(move || writing.run())?;
        Ok(Self { lines, shared })
    }

    /// Has a line written, unless too many wait already.
    pub fn add(&self, line: T) {
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.lines.try_send(line)
        {
            self.shared.overflowed.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[must_use]
    pub fn counts(&self) -> LogCounts {
        let Shared { written, overflowed, failed, .. } = &*self.shared;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        LogCounts { written: read(written), overflowed: read(overflowed), failed: read(failed) }
    }

    /// Waits until the lines of before are written, for a bounded time. Later ones are lost.
    pub fn end(&self) {
        self.shared.is_ending.store(true, Ordering::Release);
        let began = Instant::now();
        while !self.shared.has_ended.load(Ordering::Acquire) && began.elapsed() < LAST {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

enum Sink {
    Stdout,
    File(LogFile),
}

/// The thread's part.
struct Writing<T> {
    waiting: Receiver<T>,
    sink: Sink,
    form: LineForm,
    shared: Arc<Shared>,
}

impl<T: Line> Writing<T> {
    fn run(&mut self) {
        let mut bytes = Vec::with_capacity(AT_ONCE);
        loop {
            // Before the look: what came until then is written.
            let is_last = self.shared.is_ending.load(Ordering::Acquire);
            let mut count = 0;
            while let Ok(line) = self.waiting.try_recv() {
                Fields::write(self.form, &line, &mut bytes);
                count += 1;
                if bytes.len() >= AT_ONCE {
                    self.write(&mut bytes, &mut count);
                }
            }
            self.write(&mut bytes, &mut count);
            if is_last {
                self.shared.has_ended.store(true, Ordering::Release);
                return;
            }
            std::thread::sleep(LOOK);
        }
    }

    fn write(&mut self, bytes: &mut Vec<u8>, count: &mut u64) {
        if bytes.is_empty() {
            return;
        }
        let written = match &mut self.sink {
            Sink::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(bytes).and_then(|()| stdout.flush())
            }
            Sink::File(file) => file.add(bytes),
        };
        let counter = match written {
            Ok(()) => &self.shared.written,
            Err(error) => {
                let complaint = || format!("the {} log loses lines: {error}", T::LOG);
                self.shared.complaints.warn(complaint);
                &self.shared.failed
            }
        };
        counter.fetch_add(std::mem::take(count), Ordering::Relaxed);
        bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Numbered(u32);

    impl Line for Numbered {
        const LOG: &'static str = "test";

        fn is_trouble(&self) -> bool {
            false
        }

        fn tell(&self, fields: &mut Fields<'_>) {
            fields.number("n", u64::from(self.0));
            fields.text("odd", "a \"b\"\u{1b}[0m");
            fields.word("word", "w");
        }
    }

    #[test]
    fn all_lines_are_written_before_the_end() {
        let path =
            std::env::temp_dir().join(format!("mooring-lines-{}", crate::model::SessionId::mint()));
        let target = LogTarget::File { path: path.clone(), most: 1 << 30, keep: 1 };
        let log = LineWriter::start(LineSettings { target, form: LineForm::Json }).unwrap();
        for number in 0..5000 {
            log.add(Numbered(number));
        }
        log.end();
        let text = std::fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(line["n"], number);
            assert!(line["odd"].as_str().unwrap().starts_with("a \"b\""), "{line}");
            assert_eq!(line["word"], "w");
        }
        let counts = log.counts();
        assert_eq!((counts.written, counts.overflowed, counts.failed), (5000, 0, 0));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let folder =
            std::env::temp_dir().join(format!("mooring-lost-{}", crate::model::SessionId::mint()));
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("log");
        let target = LogTarget::File { path: path.clone(), most: 1 << 30, keep: 1 };
        let log = LineWriter::start(LineSettings { target, form: LineForm::Text }).unwrap();
        // Nothing can be written where a folder is.
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        let many = 100_000;
        for number in 0..many {
            log.add(Numbered(number));
        }
        log.end();
        let counts = log.counts();
        assert_eq!(counts.written, 0);
        assert!(counts.overflowed > 0 && counts.failed > 0, "{counts:?}");
        assert_eq!(counts.overflowed + counts.failed, u64::from(many));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_text_form_has_quotes_where_they_are_needed() {
        let mut line = Vec::new();
        Fields::write(LineForm::Text, &Numbered(1), &mut line);
        let text = String::from_utf8(line).unwrap();
        assert!(text.starts_with("n=1 odd=\"a \\\"b\\\""), "{text}");
        assert!(text.ends_with(" word=w\n"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}
