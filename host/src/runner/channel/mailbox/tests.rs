use std::task::{Context, Poll, Waker};

use crate::runner::channel::mailbox::kept_streams;
use crate::streams::KeptAnswers;

use super::*;

const BOUNDS: Bounds = Bounds { events: 256, bytes: 1 << 20 };

fn mailbox() -> Mailbox {
    Mailbox::new(BOUNDS, KeptAnswers::new(usize::MAX).of(None))
}

fn expect(mailbox: &mut Mailbox, text: &str) -> Arc<Stream> {
    mailbox.expect(&[&Envelope::parse(text.as_bytes()).unwrap()], 8, Asker::Client).unwrap()
}

fn deliver(mailbox: &mut Mailbox, text: &'static str) -> &'static str {
    let line = Bytes::from_static(text.as_bytes());
    match mailbox.deliver(None, line.clone(), &Envelope::parse(&line).unwrap()) {
        Delivery::To(stream, message, part) => {
            stream.put(message, part);
            "sent"
        }
        Delivery::Reply(_) => "reply",
        Delivery::Done => "done",
    }
}

fn texts(stream: &Arc<Stream>) -> Vec<String> {
    let mut reader = stream.read_on();
    let mut cx = Context::from_waker(Waker::noop());
    std::iter::from_fn(|| match reader.poll_next(&mut cx) {
        Poll::Ready(Some(item)) => Some(String::from_utf8(item.message.to_vec()).unwrap()),
        _ => None,
    })
    .collect()
}

#[test]
fn responses_go_by_id_and_progress_by_token() {
    let mut mailbox = mailbox();
    let one = expect(
        &mut mailbox,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"progressToken":"t"}}}"#,
    );
    let two = expect(
        &mut mailbox,
        r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"_meta":{"progressToken":0}}}"#,
    );
    deliver(
        &mut mailbox,
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":0,"progress":1}}"#,
    );
    deliver(&mut mailbox, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    deliver(&mut mailbox, r#"{"jsonrpc":"2.0","id":"\u0061","result":{}}"#);
    assert_eq!(texts(&one).len(), 1);
    assert_eq!(texts(&two).len(), 2);
    assert!(one.has_ended() && two.has_ended());
    assert!(mailbox.in_flight.is_empty());
}

#[test]
fn an_id_in_flight_is_not_taken_twice_and_a_refused_batch_leaves_nothing() {
    let mut mailbox = mailbox();
    let text = r#"{"jsonrpc":"2.0","id":1,"method":"x"}"#;
    let other = r#"{"jsonrpc":"2.0","id":2,"method":"x"}"#;
    let _first = expect(&mut mailbox, text);
    let envelope = Envelope::parse(text.as_bytes()).unwrap();
    let other = Envelope::parse(other.as_bytes()).unwrap();
    let second = mailbox.expect(&[&other, &envelope], 8, Asker::Client);
    assert_eq!(second.err(), Some(MailboxRefusal::DuplicateId));
    assert_eq!(mailbox.in_flight.len(), 1);
    assert_eq!(
        mailbox.expect(&[&other, &other], 2, Asker::Client).err(),
        Some(MailboxRefusal::TooMany)
    );
}

#[test]
fn what_nobody_listens_for_waits_for_the_stream() {
    let mut mailbox = mailbox();
    let changed = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
    assert_eq!(deliver(&mut mailbox, changed), "done");
    assert_eq!(texts(mailbox.unrelated()), [changed]);
}

#[test]
fn a_question_goes_to_the_newest_request_that_somebody_reads() {
    let mut mailbox = mailbox();
    let one = expect(&mut mailbox, r#"{"jsonrpc":"2.0","id":1,"method":"x"}"#);
    let two = expect(&mut mailbox, r#"{"jsonrpc":"2.0","id":2,"method":"x"}"#);
    let question = r#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage"}"#;
    let reader = one.read_on();
    deliver(&mut mailbox, question);
    drop(reader);
    assert_eq!(texts(&one), [question]);
    assert!(texts(&two).is_empty());
    deliver(&mut mailbox, question);
    assert_eq!(texts(mailbox.unrelated()), [question]);
}

#[test]
fn a_batch_is_one_stream_that_ends_with_its_last_answer() {
    let mut mailbox = mailbox();
    let messages = [1, 2].map(|id| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"x"}}"#));
    let envelopes = messages.each_ref().map(|m| Envelope::parse(m.as_bytes()).unwrap());
    let stream = mailbox.expect(&[&envelopes[0], &envelopes[1]], 8, Asker::Client).unwrap();
    deliver(&mut mailbox, r#"{"jsonrpc":"2.0","id":2,"result":{}}"#);
    assert!(!stream.has_ended());
    deliver(&mut mailbox, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    assert!(stream.has_ended());
}

#[test]
fn streams_that_have_ended_are_kept_for_a_while_and_in_bounds() {
    let mut mailbox = mailbox();
    let mut numbers = Vec::new();
    for id in 0..2 * kept_streams::MOST {
        let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"x"}}"#);
        let stream = expect(&mut mailbox, &text);
        mailbox.publish(&stream);
        numbers.push(stream.number);
        mailbox.answer_for_server(&id.to_string(), 1, "x");
    }
    assert!(mailbox.published(numbers[0]).is_none());
    assert!(mailbox.published(*numbers.last().unwrap()).is_some());
    assert!(mailbox.published.iter().count() <= kept_streams::MOST);
}

#[test]
fn an_error_without_an_id_is_about_the_only_request() {
    let mut mailbox = mailbox();
    let one = expect(&mut mailbox, r#"{"jsonrpc":"2.0","id":1,"method":"x"}"#);
    let two = expect(&mut mailbox, r#"{"jsonrpc":"2.0","id":"b","method":"x"}"#);
    let error = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"?"}}"#;
    assert_eq!(deliver(&mut mailbox, error), "done");
    deliver(&mut mailbox, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    assert_eq!(deliver(&mut mailbox, error), "sent");
    assert!(one.has_ended());
    assert_eq!(texts(&two), [error.replace("null", "\"b\"")]);
}

#[test]
fn only_what_was_asked_is_answered_and_only_once() {
    let mut mailbox = mailbox();
    let answers = |mailbox: &mut Mailbox, id: &str| {
        let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#);
        mailbox.questions.close_with(&Envelope::parse(text.as_bytes()).unwrap())
    };
    for question in [
        r#"{"jsonrpc":"2.0","id":0,"method":"elicitation/create"}"#,
        r#"{"jsonrpc":"2.0","id":"a","method":"roots/list"}"#,
        r#"{"jsonrpc":"2.0","id":2,"method":"roots/list"}"#,
        r#"{"jsonrpc":"2.0","id":3,"method":"roots/list"}"#,
    ] {
        deliver(&mut mailbox, question);
    }
    assert!(!answers(&mut mailbox, "\"0\""));
    assert!(answers(&mut mailbox, "0") && !answers(&mut mailbox, "0"));
    assert!(answers(&mut mailbox, "\"\\u0061\""));
    deliver(
        &mut mailbox,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}"#,
    );
    assert!(!answers(&mut mailbox, "2"));
    mailbox.end("gone");
    assert!(!answers(&mut mailbox, "3"));
}

#[test]
fn a_ping_of_the_server_is_answered_here() {
    let mut mailbox = mailbox();
    assert_eq!(deliver(&mut mailbox, r#"{"jsonrpc":"2.0","id":9,"method":"ping"}"#), "reply");
}

#[test]
fn the_gateways_own_requests_take_their_answer_and_nobodys_place() {
    let mut mailbox = mailbox();
    let parsed = |text: &'static str| Envelope::parse(text.as_bytes()).unwrap();
    let early = parsed(r#"{"jsonrpc":"2.0","id":"own-0","method":"ping"}"#);
    mailbox.expect(&[&early], 2, Asker::Gateway).unwrap();
    assert!(mailbox.is_working() && !mailbox.works_for_client());
    deliver(&mut mailbox, r#"{"jsonrpc":"2.0","id":"own-0","result":{}}"#);
    let call = parsed(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#);
    let call = mailbox.expect(&[&call], 2, Asker::Client).unwrap();
    assert!(mailbox.works_for_client());
    let _reader = call.read_on();
    let own = [
        parsed(r#"{"jsonrpc":"2.0","id":"own-1","method":"tools/list"}"#),
        parsed(r#"{"jsonrpc":"2.0","id":"own-2","method":"prompts/list"}"#),
    ];
    let streams = own.each_ref().map(|own| mailbox.expect(&[own], 2, Asker::Gateway).unwrap());
    let _readers = streams.each_ref().map(Stream::read_on);
    let question = r#"{"jsonrpc":"2.0","id":"q","method":"roots/list"}"#;
    deliver(&mut mailbox, question);
    deliver(&mut mailbox, r#"{"jsonrpc":"2.0","id":"own-2","result":{}}"#);
    // The second has ended.
    for stream in [&streams[0], &streams[1], &call] {
        assert!(Arc::ptr_eq(
            &mailbox.place_notice_of(stream, "notifications/message").unwrap(),
            &call
        ));
    }
    assert_eq!(texts(&call), [question]);
    assert_eq!((texts(&streams[0]).len(), texts(&streams[1]).len()), (0, 1));
    let another = parsed(r#"{"jsonrpc":"2.0","id":2,"method":"tools/call"}"#);
    assert!(mailbox.expect(&[&another], 2, Asker::Client).is_ok(), "it is the client's second");
    let third = parsed(r#"{"jsonrpc":"2.0","id":3,"method":"tools/call"}"#);
    assert_eq!(mailbox.expect(&[&third], 2, Asker::Client).err(), Some(MailboxRefusal::TooMany));
    let more = parsed(r#"{"jsonrpc":"2.0","id":"own-3","method":"tasks/list"}"#);
    assert!(mailbox.expect(&[&more], 2, Asker::Gateway).is_ok());
    let most = parsed(r#"{"jsonrpc":"2.0","id":"own-4","method":"tasks/list"}"#);
    assert_eq!(mailbox.expect(&[&most], 2, Asker::Gateway).err(), Some(MailboxRefusal::TooMany));
    assert_eq!(mailbox.admits(&[&most], 2, Asker::Gateway).err(), Some(MailboxRefusal::TooMany));
}

#[test]
fn an_answer_without_an_id_fails_the_only_request() {
    let call = |id: u32| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"x"}}"#);
    let nothing = r#"{"jsonrpc":"2.0","result":{}}"#;
    let something = r#"{"jsonrpc":"2.0","result":{"content":[]}}"#;
    for (notices, message, goes) in [
        (0, something, "sent"),
        (0, nothing, "sent"),
        (1, something, "sent"),
        // It may be about the notification.
        (1, nothing, "done"),
    ] {
        let mut mailbox = mailbox();
        let one = expect(&mut mailbox, &call(1));
        (0..notices).for_each(|_| mailbox.sends_notice());
        assert_eq!(deliver(&mut mailbox, message), goes, "{notices} {message}");
        let told = texts(&one);
        assert_eq!(told.len(), usize::from(goes == "sent"));
        assert!(told.iter().all(|text| text.contains("-32603") && text.contains("\"id\":1")));
    }
    let mut mailbox = mailbox();
    let (one, two) = (expect(&mut mailbox, &call(1)), expect(&mut mailbox, &call(2)));
    assert_eq!(deliver(&mut mailbox, something), "done");
    assert!(!one.has_ended() && !two.has_ended(), "either may be meant");
}

#[test]
fn ids_that_a_server_may_mix_up_have_other_ones_there() {
    let mut mailbox = mailbox();
    let six = expect(&mut mailbox, r#"{"jsonrpc":"2.0","id":6,"method":"x"}"#);
    let text = expect(&mut mailbox, r#"{"jsonrpc":"2.0","id":"06","method":"x"}"#);
    let at_server = mailbox.renamed("\"06\"").unwrap();
    let answer = format!(r#"{{"jsonrpc":"2.0","id":{at_server},"result":{{"a":1}}}}"#);
    assert_eq!(deliver(&mut mailbox, answer.leak()), "sent");
    assert_eq!(texts(&text), [r#"{"jsonrpc":"2.0","id":"06","result":{"a":1}}"#]);
    assert!(!six.has_ended() && !mailbox.has_renamed());
    let other = expect(&mut mailbox, r#"{"jsonrpc":"2.0","id":"6","method":"x"}"#);
    let at_server = mailbox.renamed("\"6\"").unwrap();
    mailbox.answer_instead(&at_server, jsonrpc::error(Some(&at_server), -31002, "busy"));
    assert!(texts(&other)[0].contains(r#""id":"6","error":{"code":-31002"#));
    assert_eq!(other.instead(), Some(Reached::Settled));
    assert_eq!(deliver(&mut mailbox, r#"{"jsonrpc":"2.0","id":6,"result":{}}"#), "sent");
    assert!(six.has_ended() && six.instead().is_none());
}

/// That of a session which is the edge's.
fn inner() -> Mailbox {
    Mailbox { asks_in_calls: true, ..mailbox() }
}

const ASKS: &str = r#"{"jsonrpc":"2.0","id":"q","method":"elicitation/create"}"#;

fn call(id: u32, method: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}"}}"#)
}

#[test]
fn without_a_session_a_question_goes_to_a_request_whose_answer_may_ask() {
    let mut mailbox = inner();
    let list = expect(&mut mailbox, &call(3, "tools/list"));
    let calls = [1, 2].map(|id| expect(&mut mailbox, &call(id, "tools/call")));
    let mut readers = vec![calls[0].read_on(), calls[1].read_on(), list.read_on()];
    // Somebody hears the GET stream, and could not answer.
    let _listener = Arc::clone(mailbox.unrelated()).read_on();
    assert_eq!(deliver(&mut mailbox, ASKS), "sent");
    drop(readers.remove(0));
    assert_eq!(texts(&calls[0]), [ASKS], "it is the oldest");
    mailbox.publish(&calls[0]);
    assert_eq!(deliver(&mut mailbox, ASKS), "sent");
    drop(readers.remove(0));
    assert_eq!(texts(&calls[1]), [ASKS], "its client is there");
    assert!(texts(mailbox.unrelated()).is_empty() && texts(&list).is_empty());
}

#[test]
fn without_a_session_a_question_waits_for_a_request_that_can_bring_it() {
    let mut mailbox = inner();
    assert_eq!(deliver(&mut mailbox, ASKS), "done");
    let list = expect(&mut mailbox, &call(1, "tools/list"));
    assert!(texts(&list).is_empty());
    let one = expect(&mut mailbox, &call(2, "tools/call"));
    mailbox.publish(&one);
    assert_eq!(texts(&one), [ASKS]);
    // Its client thinks: what is asked meanwhile waits until the client comes back, and is not for
    // another call that begins only now.
    assert_eq!(deliver(&mut mailbox, ASKS), "done");
    let other = expect(&mut mailbox, &call(3, "tools/call"));
    mailbox.put_held(&list, None);
    assert!(texts(&one).is_empty() && texts(&other).is_empty() && texts(&list).is_empty());
    mailbox.put_held(&one, None);
    assert_eq!(texts(&one), [ASKS]);
    // A call that is entered late may have asked since it began.
    let began = now();
    assert_eq!(deliver(&mut mailbox, ASKS), "done");
    let text = call(4, "tools/call");
    let late = Envelope::parse(text.as_bytes()).unwrap();
    let late = mailbox.adopt(&[&late], began, Asker::Client).unwrap();
    assert_eq!(texts(&late), [ASKS]);
    let cancels =
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"q"}}"#;
    deliver(&mut mailbox, ASKS);
    deliver(&mut mailbox, cancels);
    mailbox.put_held(&one, None);
    assert!(texts(&one).iter().all(|text| text == cancels), "the server asks no more");
}

#[test]
fn without_a_session_a_question_that_no_request_can_bring_is_refused_at_once() {
    let mut mailbox = inner();
    let list = expect(&mut mailbox, &call(1, "tools/list"));
    let reader = list.read_on();
    assert_eq!(deliver(&mut mailbox, ASKS), "sent");
    drop(reader);
    assert_eq!(texts(&list), [ASKS], "from there the edge refuses it");
}

#[test]
fn a_question_on_the_get_stream_goes_to_a_call_if_nobody_hears_that() {
    let mut mailbox = mailbox();
    let get = Arc::clone(mailbox.unrelated());
    let question = || Bytes::from_static(ASKS.as_bytes());
    let place = |mailbox: &mut Mailbox| match mailbox.place_question_of(&get, question()) {
        Delivery::To(stream, ..) => stream.number,
        _ => panic!("it has a place"),
    };
    assert_eq!(place(&mut mailbox), GET);
    let call = expect(&mut mailbox, &call(1, "tools/call"));
    let _reader = call.read_on();
    assert_eq!(place(&mut mailbox), call.number);
    let _listener = get.read_on();
    assert_eq!(place(&mut mailbox), GET);
}

#[test]
fn what_is_known_to_be_about_a_request_goes_to_it() {
    let mut mailbox = inner();
    let calls = [1, 2].map(|id| expect(&mut mailbox, &call(id, "tools/call")));
    let _readers = calls.each_ref().map(Stream::read_on);
    let line = Bytes::from_static(ASKS.as_bytes());
    let envelope = Envelope::parse(&line).unwrap();
    let Delivery::To(stream, ..) = mailbox.deliver(Some("1"), line.clone(), &envelope) else {
        panic!("it has a place")
    };
    assert!(Arc::ptr_eq(&stream, &calls[0]), "though the other one is newer");
}

#[test]
fn without_a_session_a_notice_on_the_get_stream_reaches_the_call_that_it_came_for() {
    let log = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#;
    let (method, changed) = ("notifications/message", "notifications/tools/list_changed");
    let mut mailbox = inner();
    let get = Arc::clone(mailbox.unrelated());
    assert!(Arc::ptr_eq(&mailbox.place_notice_of(&get, changed).unwrap(), &get));
    assert!(mailbox.place_notice_of(&get, method).is_none(), "its call is still to be entered");
    mailbox.hold_notice(Bytes::from_static(b"{}"));
    let began = Instant::now();
    mailbox.hold_notice(Bytes::from_static(log.as_bytes()));
    let text = call(1, "tools/call");
    let envelope = Envelope::parse(text.as_bytes()).unwrap();
    let one = mailbox.adopt(&[&envelope], began, Asker::Client).unwrap();
    let reader = one.read_on();
    assert!(Arc::ptr_eq(&mailbox.place_notice_of(&get, method).unwrap(), &one));
    drop(reader);
    assert_eq!(texts(&one), [log], "and nothing of before");
}
