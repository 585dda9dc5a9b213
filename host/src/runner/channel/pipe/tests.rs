use futures_util::FutureExt as _;

use crate::runner::channel::sink::MessageSink as _;

use crate::runner::channel::timeout::Timeouts;
use crate::runner::remote::left_calls::{LeftCalls, LeftOfKey};
use crate::streams::{Bounds, KeptAnswers};

use super::*;

const ONE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"x"}"#;
const TWO: &str = r#"{"jsonrpc":"2.0","id":2,"method":"x"}"#;

fn pipe() -> (Arc<Pipe>, Unwritten) {
    let rules = SessionLimits {
        line: 1000,
        in_flight: 8,
        kept: Bounds { events: 8, bytes: 1000 },
        keep_alive: std::time::Duration::from_secs(15),
        timeouts: Timeouts::default(),
    };
    let kept = KeptAnswers::new(usize::MAX).of(None);
    let (calls, notes) = (LeftCalls::new("calls"), LeftCalls::new("notes"));
    let left = LeftOfKey { calls, notes, key: None };
    let terms = SessionTerms {
        limits: rules,
        kept,
        left,
        has_client: true,
        asks_in_calls: false,
        readings: Arc::default(),
        errors: Arc::default(),
    };
    Pipe::new(&ServerName::parse("s").unwrap(), terms)
}

/// The outcome of messages to a server that goes away before it has read `unread`.
async fn outcome(texts: &[&'static str], unread: &str) -> Option<Outcome> {
    let (pipe, mut outbox) = pipe();
    let envelopes: Vec<Envelope<'_>> =
        texts.iter().map(|text| Envelope::parse(text.as_bytes()).unwrap()).collect();
    let messages: Vec<(Bytes, &Envelope<'_>)> =
        texts.iter().map(|text| Bytes::from_static(text.as_bytes())).zip(&envelopes).collect();
    let posting = pipe.post_all(&messages, false, None);
    let dying = async {
        for _ in texts {
            drop(outbox.recv().await.unwrap());
        }
        pipe.unsent(unread.as_bytes());
        pipe.end();
    };
    let (response, ()) = tokio::join!(posting, dying);
    Outcome::read(response.headers())
}

#[tokio::test]
async fn only_what_was_surely_not_read_may_be_sent_again() {
    assert_eq!(outcome(&[ONE], "").await, Some(Outcome::Sent));
    assert_eq!(outcome(&[ONE], ONE).await, Some(Outcome::UnknownSession));
    // One of two was read, and may have run.
    assert_eq!(outcome(&[ONE, TWO], TWO).await, Some(Outcome::Sent));
    assert_eq!(outcome(&[ONE, TWO], ONE).await, Some(Outcome::Sent));
}

fn parsed(text: &'static str) -> (Bytes, Envelope<'static>) {
    (Bytes::from_static(text.as_bytes()), Envelope::parse(text.as_bytes()).unwrap())
}

#[tokio::test]
async fn a_line_that_is_too_long_fails_the_call_that_it_answers() {
    let long = "x".repeat(2000);
    for (head, tail, remains) in [
        (r#"{"jsonrpc":"2.0","id":1,"result":{"a":""#, "\"}}", vec!["2"]),
        (r#"{"result":{"a":""#, r#""},"id":2}"#, vec!["1"]),
        (r#"{"result":{"a":""#, "\"}}", vec![]),
        (r#"{"id":1,"method":"x","params":{"a":""#, "\"}}", vec!["1", "2"]),
    ] {
        let (pipe, _outbox) = pipe();
        for text in [ONE, TWO] {
            pipe.mailbox().expect(&[&parsed(text).1], 8, Asker::Client).unwrap();
        }
        pipe.overflows(format!("{head}{long}").as_bytes(), "too long");
        pipe.overflowed(format!("{long}{tail}").as_bytes());
        let mut ids = pipe.mailbox().ids();
        ids.sort();
        assert_eq!(ids, remains, "{head} {tail}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_before_its_request_is_sent_leaves_nothing() {
    let (pipe, mut outbox) = pipe();
    let (message, one) = parsed(ONE);
    let mut posting = Box::pin(pipe.post(message.clone(), &one, true));
    while !pipe.is_working() || outbox.is_empty() {
        assert!(posting.as_mut().now_or_never().is_none());
    }
    drop(posting);
    assert!(pipe.is_working(), "what was sent runs on");
    drop(outbox.recv().await.unwrap());
    while let Some(place) = pipe.to_server.reserve(1).now_or_never() {
        place.unwrap().send(message.clone(), None);
    }
    let (message, two) = parsed(TWO);
    let mut posting = Box::pin(pipe.post(message, &two, true));
    assert!(posting.as_mut().now_or_never().is_none());
    assert_eq!(pipe.mailbox().ids().len(), 2);
    drop(posting);
    assert_eq!(pipe.mailbox().ids(), ["1"]);
}

#[tokio::test]
async fn the_last_words_of_a_server_wait_for_no_reader() {
    let (pipe, _outbox) = pipe();
    let stream = pipe.mailbox().expect(&[&parsed(ONE).1], 8, Asker::Client).unwrap();
    let _reader = stream.read_on();
    let log = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#;
    let mut taking = Box::pin(async {
        for _ in 0..100 {
            pipe.take(Bytes::from_static(log.as_bytes())).await;
        }
    });
    assert!(taking.as_mut().now_or_never().is_none());
    pipe.hurry();
    taking.await;
}

#[tokio::test]
async fn a_question_that_nobody_reads_is_answered_in_the_end() {
    let (pipe, mut outbox) = pipe();
    let _listens_and_does_not_read = Arc::clone(pipe.mailbox().unrelated()).read_on();
    for id in 0..100 {
        let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"roots/list"}}"#);
        pipe.take(text.into()).await;
    }
    let (answer, _) = outbox.recv().await.unwrap();
    let answer = Envelope::parse(&answer).unwrap();
    assert!(answer.id_text() == Some("0") && answer.error.is_some());
    let late = r#"{"jsonrpc":"2.0","id":0,"result":{}}"#;
    assert!(!pipe.mailbox().questions.close_with(&parsed(late).1));
}

#[tokio::test]
async fn what_finds_the_server_gone_is_sent_again() {
    let (pipe, outbox) = pipe();
    drop(outbox);
    let envelope = Envelope::parse(ONE.as_bytes()).unwrap();
    let response = pipe.post(Bytes::from_static(ONE.as_bytes()), &envelope, true).await;
    assert_eq!(Outcome::read(response.headers()), Some(Outcome::UnknownSession));
}

#[tokio::test]
async fn what_nobody_waits_for_is_taken_back_once() {
    let (pipe, mut outbox) = pipe();
    let (message, one) = parsed(r#"{"jsonrpc":"2.0","id":"own","method":"tools/list"}"#);
    let mut posting = Box::pin(pipe.post(message, &one, false));
    assert!(posting.as_mut().now_or_never().is_none());
    assert!(outbox.recv().await.is_some());
    drop(posting);
    assert!(pipe.is_working(), "a client may come back to it");
    for _ in 0..2 {
        pipe.take_back("\"own\"");
    }
    assert!(!pipe.is_working());
    let (told, _) = outbox.try_recv().unwrap();
    let told: serde_json::Value = serde_json::from_slice(&told).unwrap();
    assert_eq!(told["method"], methods::CANCELLED);
    assert_eq!(told["params"]["requestId"], "own");
    assert!(outbox.try_recv().is_err());
}
