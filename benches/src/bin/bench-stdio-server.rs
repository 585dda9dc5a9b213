//! The echo server over stdio: one thread, one message per line, no runtime.

#![forbid(unsafe_code)]

use std::io::{self, BufRead, BufReader, Write};

use mooring_benches::echo::Message;

fn main() -> io::Result<()> {
    let mut input = BufReader::with_capacity(64 * 1024, io::stdin().lock());
    let mut output = io::stdout().lock();
    let (mut line, mut answers) = (Vec::new(), Vec::new());
    while input.read_until(b'\n', &mut line)? > 0 {
        if let Some(message) = Message::parse(&line).filter(Message::is_request) {
            message.answer(&mut answers);
            answers.push(b'\n');
        }
        line.clear();
        // Messages that arrived together are answered in one write. It ends in a newline, so the
        // line-buffered stdout writes it whole.
        if input.buffer().is_empty() {
            output.write_all(&answers)?;
            output.flush()?;
            answers.clear();
        }
    }
    Ok(())
}
