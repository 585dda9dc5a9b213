use super::*;

struct Board {
    id_map: IdMap,
    seats: [SeatId; 2],
}

/// What the process receives of a client's message, or `here` and the gateway's answer.
fn ask(id_map: &mut IdMap, seat: SeatId, text: &str) -> String {
    let message = Bytes::copy_from_slice(text.as_bytes());
    let envelope = Envelope::parse(&message).unwrap();
    match id_map.ask(seat, &message, &envelope) {
        ClientVerdict::Send(message) => String::from_utf8(message.to_vec()).unwrap(),
        ClientVerdict::Answer(answer) => {
            format!("here {}", String::from_utf8(answer.to_vec()).unwrap())
        }
        ClientVerdict::Nothing => "nothing".to_owned(),
    }
}

impl Board {
    fn new() -> Self {
        let mut id_map = IdMap::default();
        let seats = [id_map.enter(SessionId::mint()), id_map.enter(SessionId::mint())];
        Self { id_map, seats }
    }

    fn ask(&mut self, who: usize, text: &str) -> String {
        ask(&mut self.id_map, self.seats[who], text)
    }

    /// The receivers of a message of the process, and what they receive.
    fn hear(&mut self, text: &str) -> (Vec<usize>, String) {
        let message = Bytes::copy_from_slice(text.as_bytes());
        let envelope = Envelope::parse(&message).unwrap();
        let who = |seat: &SeatId| self.seats.iter().position(|of| of == seat).unwrap();
        let (mut who, message) = match self.id_map.hear(&message, &envelope) {
            ServerVerdict::Answer(seat, _, message) => (vec![who(&seat)], message),
            ServerVerdict::Notice(seats, message) => (seats.iter().map(who).collect(), message),
            ServerVerdict::Reply(reply) => {
                return (vec![], String::from_utf8(reply.to_vec()).unwrap());
            }
            ServerVerdict::Log => return (vec![], "log".to_owned()),
            ServerVerdict::Nothing => return (vec![], "nothing".to_owned()),
        };
        who.sort_unstable();
        (who, String::from_utf8(message.to_vec()).unwrap())
    }
}

/// The error code of an answer that the gateway gives.
#[track_caller]
fn refusal(said: &str) -> i64 {
    let answer = said.strip_prefix("here ").unwrap_or_else(|| panic!("{said}"));
    let answer: serde_json::Value = serde_json::from_str(answer).unwrap();
    answer["error"]["code"].as_i64().unwrap_or_else(|| panic!("{answer}"))
}

#[test]
fn equal_ids_become_different_numbers_and_come_back_as_they_were_written() {
    let mut id_map = Board::new();
    let call = |id: &str| format!(r#"{{ "x":1e2,"id" : {id},"jsonrpc":"2.0","method":"m" }}"#);
    assert_eq!(id_map.ask(0, &call("7")), call("1"));
    assert_eq!(id_map.ask(1, &call("7")), call("2"));
    assert_eq!(id_map.ask(0, &call(r#""\u0061""#)), call("3"));
    let answer = |id: &str| format!(r#"{{"result":{{"id":1.0}}, "id": {id} ,"jsonrpc":"2.0"}}"#);
    assert_eq!(id_map.hear(&answer("2")), (vec![1], answer("7")));
    assert_eq!(id_map.hear(&answer("3")), (vec![0], answer(r#""\u0061""#)));
    assert_eq!(id_map.hear(&answer("1")), (vec![0], answer("7")));
    assert_eq!(id_map.hear(&answer("1")).1, "nothing", "it is answered");
    assert_eq!(id_map.hear(&answer("9")).1, "nothing", "nobody has asked");
    assert!(id_map.id_map.calls.is_empty() && id_map.id_map.numbers.is_empty());
}

#[test]
fn an_error_without_an_id_is_about_the_only_call() {
    let mut id_map = Board::new();
    id_map.ask(0, r#"{"jsonrpc":"2.0","id":"a","method":"m"}"#);
    id_map.ask(1, r#"{"jsonrpc":"2.0","id":"b","method":"m"}"#);
    let error = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"?"}}"#;
    assert_eq!(id_map.hear(error).1, "nothing");
    id_map.hear(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    assert_eq!(id_map.hear(error), (vec![1], error.replace("null", "\"b\"")));
}

#[test]
fn progress_goes_to_whoever_asked_with_the_token_it_gave() {
    let mut id_map = Board::new();
    for (who, token) in [(0, r#""t""#), (1, r#""t""#), (0, "5"), (1, "-1")] {
        let call = |id: u64, token: &str| {
            format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"m","params":{{"_meta":{{"progressToken":{token}}}}}}}"#
            )
        };
        let number = id_map.id_map.last + 1;
        assert_eq!(id_map.ask(who, &call(40 + number, token)), call(number, &number.to_string()));
        let progress = |token: &str| {
            format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progress":1,"progressToken":{token}}}}}"#
            )
        };
        assert_eq!(id_map.hear(&progress(&number.to_string())), (vec![who], progress(token)));
        id_map.hear(&format!(r#"{{"jsonrpc":"2.0","id":{number},"result":{{}}}}"#));
        assert_eq!(id_map.hear(&progress(&number.to_string())).1, "nothing");
    }
}

#[test]
fn a_token_of_another_cannot_be_brought_in_beside_the_own_one() {
    let mut id_map = Board::new();
    for meta in [
        r#""_meta":{"progressToken":1,"progressToken":9}"#,
        r#""_meta":{},"_meta":{"progressToken":9}"#,
        r#""_meta":{"progressToken":1,"progressT\u006fken":9}"#,
        r#""_meta":7"#,
    ] {
        let said = id_map
            .ask(0, &format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{{{meta}}}}}"#));
        assert_eq!(refusal(&said), code::INVALID_PARAMS, "{meta}");
    }
    let escaped =
        r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"_met\u0061":{"progressT\u006fken":9}}}"#;
    assert!(id_map.ask(0, escaped).contains(r#""progressT\u006fken":1}"#));
}

#[test]
fn only_ones_own_call_is_cancelled() {
    let mut id_map = Board::new();
    let call = r#"{"jsonrpc":"2.0","id":"a","method":"m"}"#;
    let cancel = |id: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id},"reason":"x"}}}}"#
        )
    };
    id_map.ask(0, call);
    id_map.ask(1, call);
    assert_eq!(id_map.ask(1, &cancel("2")), "nothing", "its number is no id");
    assert_eq!(id_map.ask(1, &cancel(r#""\u0061""#)), cancel("2"));
    assert_eq!(id_map.ask(1, &cancel(r#""a""#)), "nothing");
    assert_eq!(id_map.hear(r#"{"jsonrpc":"2.0","id":2,"result":{}}"#).1, "nothing");
    assert_eq!(id_map.hear(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#).0, [0]);
}

#[test]
fn the_first_subscription_and_the_last_end_reach_the_process() {
    let mut id_map = Board::new();
    let say = |method: &str, uri: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"resources/{method}","params":{{"uri":"{uri}"}}}}"#
        )
    };
    let done = r#"here {"jsonrpc":"2.0","id":1,"result":{}}"#;
    assert_eq!(id_map.ask(0, &say("subscribe", "a://b")), say("subscribe", "a://b"));
    let confirmed = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
    assert_eq!(id_map.hear(confirmed).0, [0]);
    assert_eq!(id_map.ask(1, &say("subscribe", "a://b")), done);
    let updated = |uri: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{"uri":"{uri}"}}}}"#
        )
    };
    assert_eq!(id_map.hear(&updated("a://b")), (vec![0, 1], updated("a://b")));
    assert_eq!(id_map.ask(0, &say("unsubscribe", "a://b")), done);
    assert_eq!(id_map.ask(0, &say("unsubscribe", "a://b")), done, "not another's");
    assert_eq!(id_map.hear(&updated("a://b/c")), (vec![1], updated("a://b/c")));
    assert_eq!(id_map.hear(&updated("a://bc")).0, Vec::<usize>::new());
    assert!(id_map.ask(1, &say("unsubscribe", "a://b")).contains("unsubscribe"));
    assert_eq!(id_map.hear(&updated("a://b")).0, Vec::<usize>::new());
}

#[test]
fn a_refused_subscription_is_none() {
    let mut id_map = Board::new();
    let subscribe =
        r#"{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{"uri":"a"}}"#;
    assert!(!id_map.ask(0, subscribe).starts_with("here"));
    assert!(!id_map.ask(1, subscribe).starts_with("here"), "the first is not confirmed");
    id_map.hear(r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32002,"message":""}}"#);
    assert!(!id_map.id_map.subscriptions.has("a"));
    id_map.hear(r#"{"jsonrpc":"2.0","id":2,"result":{}}"#);
    assert_eq!(id_map.id_map.subscriptions.about("a"), [id_map.seats[1]]);
}

#[test]
fn who_leaves_gives_up_its_calls_and_its_subscriptions_and_nobody_elses() {
    let mut id_map = Board::new();
    for who in [0, 1] {
        for uri in ["shared", ["one", "two"][who]] {
            let said = id_map.ask(
                who,
                &format!(
                    r#"{{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{{"uri":"{uri}"}}}}"#
                ),
            );
            if !said.starts_with("here") {
                let number = id_map.id_map.last;
                id_map.hear(&format!(r#"{{"jsonrpc":"2.0","id":{number},"result":{{}}}}"#));
            }
        }
        id_map.ask(who, r#"{"jsonrpc":"2.0","id":"c","method":"m"}"#);
    }
    let told = id_map.id_map.leave(id_map.seats[0]);
    let told: Vec<String> =
        told.iter().map(|text| String::from_utf8(text.to_vec()).unwrap()).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("cancelled") && told[0].contains("\"requestId\":3,"), "{told:?}");
    assert!(told[1].contains("unsubscribe") && told[1].contains("\"one\""), "{told:?}");
    let call = id_map.id_map.calls.values().next().unwrap();
    assert_eq!((id_map.id_map.calls.len(), call.seat), (1, id_map.seats[1]));
}

#[test]
fn what_would_be_for_everybody_is_not_passed_on() {
    let mut id_map = Board::new();
    let level =
        r#"{"jsonrpc":"2.0","id":"l","method":"logging/setLevel","params":{"level":"debug"}}"#;
    assert_eq!(id_map.ask(0, level), r#"here {"jsonrpc":"2.0","id":"l","result":{}}"#);
    for text in [
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/vendor"}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
    ] {
        assert_eq!(id_map.ask(0, text), "nothing", "{text}");
    }
    let log = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"secret"}}"#;
    assert_eq!(id_map.hear(log), (vec![], "log".to_owned()));
    let elicited = r#"{"jsonrpc":"2.0","method":"notifications/elicitation/complete"}"#;
    assert_eq!(id_map.hear(elicited).1, "nothing");
    let changed = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
    assert_eq!(id_map.hear(changed), (vec![0, 1], changed.to_owned()));
}

#[test]
fn the_process_may_ask_for_a_ping_and_for_nothing_else() {
    let mut id_map = Board::new();
    let ping = id_map.hear(r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#).1;
    assert_eq!(ping, r#"{"jsonrpc":"2.0","id":"p","result":{}}"#);
    let asked = id_map.hear(r#"{"jsonrpc":"2.0","id":5,"method":"sampling/createMessage"}"#).1;
    assert_eq!(refusal(&format!("here {asked}")), code::METHOD_NOT_FOUND);
}

#[test]
fn a_task_is_its_sessions_own() {
    let mut id_map = Board::new();
    id_map.ask(0, r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"task":{}}}"#);
    id_map.hear(r#"{"jsonrpc":"2.0","id":1,"result":{"task":{"taskId":"t","status":"working"}}}"#);
    let get = r#"{"jsonrpc":"2.0","id":2,"method":"tasks/get","params":{"taskId":"t"}}"#;
    assert!(!id_map.ask(0, get).starts_with("here"));
    assert_eq!(refusal(&id_map.ask(1, get)), code::INVALID_PARAMS);
    let list = r#"{"jsonrpc":"2.0","id":2,"method":"tasks/list"}"#;
    assert_eq!(refusal(&id_map.ask(0, list)), code::METHOD_NOT_FOUND);
    let status = r#"{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{"taskId":"t","status":"completed"}}"#;
    assert_eq!(id_map.hear(status), (vec![0], status.to_owned()));
    assert_eq!(id_map.hear(&status.replace("\"t\"", "\"u\"")).1, "nothing");
}

/// A request about a subscription.
fn about(method: &str, uri: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"resources/{method}","params":{{"uri":"{uri}"}}}}"#
    )
}

#[test]
fn only_ones_own_subscription_is_ended_in_whatever_spelling() {
    let mut id_map = Board::new();
    id_map.ask(0, &about("subscribe", "a://b"));
    id_map.hear(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    for uri in ["a://b", "A://b", "a://b/", "a://%62", "a://c"] {
        let said = id_map.ask(1, &about("unsubscribe", uri));
        assert!(said.starts_with("here") && said.contains("result"), "{uri}: {said}");
    }
    // Its own one in another spelling may be the same to the process.
    assert!(!id_map.ask(1, &about("subscribe", "A://b")).starts_with("here"));
    assert!(id_map.ask(0, &about("unsubscribe", "a://b")).starts_with("here"), "it is asked for");
    id_map.hear(r#"{"jsonrpc":"2.0","id":2,"result":{}}"#);
    assert!(!id_map.ask(1, &about("unsubscribe", "A://b")).starts_with("here"));
}

#[test]
fn a_subscription_may_be_ended_before_it_is_confirmed() {
    let mut id_map = Board::new();
    id_map.ask(0, &about("subscribe", "a://b"));
    assert!(!id_map.ask(0, &about("unsubscribe", "a://b")).starts_with("here"));
    id_map.hear(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    assert!(!id_map.id_map.subscriptions.has("a://b"));
}

#[test]
fn a_sessions_subscriptions_are_bounded() {
    let mut id_map = Board::new();
    let confirmed = |id_map: &mut Board| {
        let number = id_map.id_map.last;
        id_map.hear(&format!(r#"{{"jsonrpc":"2.0","id":{number},"result":{{}}}}"#));
    };
    for number in 0..subscriptions::MAX_COUNT {
        assert!(!id_map.ask(0, &about("subscribe", &format!("a://{number}"))).starts_with("here"));
        confirmed(&mut id_map);
    }
    assert_eq!(refusal(&id_map.ask(0, &about("subscribe", "a://b"))), code::INVALID_REQUEST);
    assert!(id_map.ask(0, &about("subscribe", "a://1")).contains("result"), "it has that one");
    assert!(!id_map.ask(0, &about("unsubscribe", "a://1")).starts_with("here"));
    assert!(!id_map.ask(0, &about("subscribe", "a://b")).starts_with("here"));
    let long = |letter: &str| format!("a://{}", letter.repeat(subscriptions::MAX_BYTES / 2));
    assert!(!id_map.ask(1, &about("subscribe", &long("x"))).starts_with("here"));
    // It counts although it is not confirmed.
    assert_eq!(refusal(&id_map.ask(1, &about("subscribe", &long("y")))), code::INVALID_REQUEST);
}

#[test]
fn a_request_is_no_notification() {
    let mut id_map = Board::new();
    id_map.ask(0, r#"{"jsonrpc":"2.0","id":"a","method":"m"}"#);
    for method in
        ["notifications/cancelled", "Notifications/Cancelled", " notifications/x", "notifications/"]
    {
        let said = id_map.ask(
            1,
            &format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"requestId":1}}}}"#
            ),
        );
        assert_eq!(refusal(&said), code::INVALID_REQUEST, "{method}");
    }
    for member in ["request_id", "task_id", "meta", "__meta", "progress_token"] {
        let said = id_map.ask(
            1,
            &format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{{"{member}":1}}}}"#),
        );
        assert_eq!(refusal(&said), code::INVALID_PARAMS, "{member}");
    }
}
