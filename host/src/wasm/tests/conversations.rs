use super::super::{ConversationAnswer, ConversationInput, PluginRefusal, Readable};
use super::*;

fn identified(strategy: &Strategy, thread: Option<&str>) -> ConversationAnswer {
    let plan = strategy.conversation_plan().unwrap();
    strategy.identify(0, &plan, &[thread])
}

fn named(name: &str) -> ConversationAnswer {
    ConversationAnswer::Named(name.to_owned())
}

#[test]
fn a_plugin_may_tell_conversations_apart() {
    let strategy = load(&faulty("misnames"));
    let plan = strategy.conversation_plan().unwrap();
    assert_eq!(plan[..], [ConversationInput::Header("x-thread".to_owned())]);
    assert_eq!(identified(&strategy, Some("a")), ConversationAnswer::Abstain, "no topology yet");
    strategy.publish(topology(2));
    assert_eq!(identified(&strategy, Some("a")), named("a"));
    assert_eq!(identified(&strategy, None), ConversationAnswer::Abstain);
    assert_eq!(identified(&strategy, Some("alone")), ConversationAnswer::Alone);
    assert_eq!(ask(&strategy, "s").unwrap().decided_by, super::super::DecidedBy::Plugin);
    // Inputs that were gathered for another plugin mean something else to this one.
    let other = plan.to_vec().into();
    assert_eq!(strategy.identify(0, &other, &[Some("a")]), ConversationAnswer::Abstain);
    strategy.replace(&Source::Builtin(Builtin::ConsistentHash), CONFIG, &options(1)).unwrap();
    assert!(strategy.conversation_plan().is_none());
    assert_eq!(strategy.identify(0, &plan, &[Some("a")]), ConversationAnswer::Abstain);
}

#[test]
fn plugins_of_before_go_on_working() {
    for builtin in Builtin::ALL {
        assert!(load(&Source::Builtin(builtin)).conversation_plan().is_none());
    }
    let zone = load(&Source::File(prebuilt().join("examples/zone.wasm")));
    assert!(zone.conversation_plan().is_none());
}

#[test]
fn a_fault_costs_one_answer() {
    for fault in ["fault-trap", "fault-loop", "fault-empty", "fault-long"] {
        let strategy = load_faulty("misnames", 2);
        assert_eq!(identified(&strategy, Some(fault)), ConversationAnswer::Abstain, "{fault}");
        eventually(fault, || identified(&strategy, Some("a")) == named("a"));
        let stats = strategy.stats();
        assert_eq!(
            (stats.traps > 0, stats.interrupts > 0),
            match fault {
                "fault-trap" => (true, false),
                "fault-loop" => (false, true),
                _ => (false, false),
            }
        );
    }
    let strategy = load_faulty("misnames", 2);
    for _ in 0..30 {
        assert_eq!(identified(&strategy, Some("fault-empty")), ConversationAnswer::Abstain);
    }
    assert_eq!(strategy.stats().quarantines, 1);
    assert_eq!(identified(&strategy, Some("a")), ConversationAnswer::Abstain, "it is bypassed");
}

#[test]
fn what_it_asks_for_is_judged() {
    let load_with = |config: &str, headers: &[&str]| {
        let headers = headers.iter().map(|name| (*name).to_owned()).collect();
        let readable = Readable { headers, ..Readable::default() };
        let options = Options { readable, ..options(1) };
        Strategy::load(&faulty("misnames"), config, &options)
    };
    let refusal = |config: &str| load_with(config, &[]).err().unwrap().refusal;
    let text = refusal(r#"{"note": "refuse-conversations"}"#).to_string();
    assert!(text.contains("it does not like them"), "{text}");
    let cookies = r#"{"note": "ask-for-cookies"}"#;
    assert!(matches!(refusal(cookies), PluginRefusal::ReadsCredentials(_)));
    assert!(load_with(cookies, &["cookie"]).is_ok());
}

#[test]
fn an_inspection_shows_it() {
    let bytes = std::fs::read(prebuilt().join("examples/thread.wasm")).unwrap();
    let report = super::super::inspect(&bytes, CONFIG, None).unwrap();
    assert_eq!(report.objection, None);
    let (asked, trial) = report.conversations.as_ref().unwrap();
    assert_eq!(asked.len(), 3);
    assert_eq!(trial.requests, 200);
    assert!(trial.names > 10 && trial.abstained > 0, "{trial:?}");
    let text = report.to_string();
    for part in ["conversations", "client name", "header x-thread-id", "200 requests"] {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
    let none = super::super::inspect(Builtin::Header.bytes(), CONFIG, None).unwrap();
    assert!(none.conversations.is_none() && !none.to_string().contains("conversations"));
}
