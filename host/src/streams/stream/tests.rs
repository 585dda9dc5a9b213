use super::reader::Reader;
use super::*;

const BOUNDS: Bounds = Bounds { events: 4, bytes: 1000 };

fn put(stream: &Stream, texts: &[&'static str]) {
    for text in texts {
        stream.put(Bytes::from_static(text.as_bytes()), Part::Notice);
    }
}

fn read(reader: &mut Reader) -> Vec<(u64, String)> {
    let mut cx = Context::from_waker(Waker::noop());
    let mut read = Vec::new();
    while let Poll::Ready(Some(item)) = reader.poll_next(&mut cx) {
        read.push((item.number, String::from_utf8_lossy(&item.message).into_owned()));
    }
    read
}

fn texts(reader: &mut Reader) -> String {
    read(reader).into_iter().map(|(_, text)| text).collect()
}

#[test]
fn who_comes_back_reads_what_came_after_its_last_event() {
    let stream = Stream::new(1, Some(1), BOUNDS);
    stream.publish();
    let mut reader = stream.read_on();
    put(&stream, &["a", "b"]);
    assert_eq!(read(&mut reader), [(1, "a".into()), (2, "b".into())]);
    drop(reader);
    put(&stream, &["c"]);
    stream.put("d".into(), Part::Answer);
    let mut again = stream.read_after(1);
    assert_eq!(texts(&mut again), "bcd");
    assert!(!again.has_gap);
    assert!(matches!(again.poll_next(&mut Context::from_waker(Waker::noop())), Poll::Ready(None)));
}

#[test]
fn a_second_reader_takes_over() {
    let stream = Stream::new(0, None, BOUNDS);
    let mut first = stream.read_on();
    let mut second = stream.read_on();
    put(&stream, &["a"]);
    assert!(matches!(first.poll_next(&mut Context::from_waker(Waker::noop())), Poll::Ready(None)));
    drop(first);
    assert!(stream.is_attached());
    assert_eq!(texts(&mut second), "a");
}

#[test]
fn what_nobody_reads_is_bounded_and_answers_are_never_dropped() {
    let stream = Stream::new(0, None, BOUNDS);
    stream.put("A".into(), Part::Answer);
    put(&stream, &["a", "b", "c", "d", "e"]);
    let mut reader = stream.read_on();
    assert!(reader.has_gap);
    assert_eq!(texts(&mut reader), "Acde");
}

#[test]
fn questions_are_dropped_last_and_it_is_said_which() {
    let stream = Stream::new(0, None, BOUNDS);
    let ask = |text: &'static str| stream.put(text.into(), Part::Question);
    assert!(ask("q").is_empty());
    put(&stream, &["a", "b", "c", "d"]);
    for text in ["r", "s", "t"] {
        assert!(ask(text).is_empty());
    }
    assert_eq!(ask("u"), ["q"]);
    assert_eq!(texts(&mut stream.read_on()), "rstu");
}

#[test]
fn bytes_are_bounded_too_and_a_large_message_passes_alone() {
    let stream = Stream::new(0, None, Bounds { events: 9, bytes: 10 });
    put(&stream, &["aaaa", "bbbb", "cccccccccccccccc"]);
    assert_eq!(texts(&mut stream.read_on()), "cccccccccccccccc");
}

#[test]
fn unpublished_streams_forget_what_was_read() {
    let stream = Stream::new(1, Some(1), BOUNDS);
    put(&stream, &["a"]);
    assert_eq!(texts(&mut stream.read_on()), "a");
    assert_eq!(texts(&mut stream.read_after(0)), "");
}

#[tokio::test]
async fn the_writer_waits_for_a_slow_reader_and_for_nobody_else() {
    let stream = Stream::new(1, Some(1), Bounds { events: 1000, bytes: 1000 });
    let mut reader = stream.read_on();
    for _ in 0..AHEAD {
        stream.push("a".into(), Part::Notice).await;
    }
    let writer = tokio::spawn({
        let stream = Arc::clone(&stream);
        async move { stream.push("b".into(), Part::Notice).await }
    });
    tokio::task::yield_now().await;
    assert!(!writer.is_finished());
    reader.next().await.unwrap();
    writer.await.unwrap();
    drop(reader);
    for _ in 0..AHEAD {
        stream.push("c".into(), Part::Notice).await;
    }
}

#[tokio::test]
async fn an_answer_alone_is_told_apart_from_an_answer_after_something() {
    let stream = Stream::new(1, Some(1), BOUNDS);
    let mut reader = stream.read_on();
    stream.put("x".into(), Part::Answer);
    assert_eq!(reader.only_answer().await.as_deref(), Some(&b"x"[..]));
    let stream = Stream::new(1, Some(1), BOUNDS);
    let mut reader = stream.read_on();
    put(&stream, &["a"]);
    stream.put("x".into(), Part::Answer);
    assert_eq!(reader.only_answer().await, None);
    assert_eq!(texts(&mut reader), "ax");
}
