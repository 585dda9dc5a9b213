//! The table of who may use what, and limits of requests, as values.

use std::time::Duration;

use super::*;
use crate::model::{RuleEntries, Who};

fn system(text: &str) -> Config {
    let loaded = file(&format!(r#"{{"systemConfig": {text}}}"#)).load();
    loaded.unwrap_or_else(|report| panic!("{report}")).config
}

fn texts(all: &[&str]) -> Vec<String> {
    all.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn a_rule_is_about_all_servers_unless_it_names_some_or_is_for_management_alone() {
    let rules = r#"{"policy": [
        {"effect": "allow"},
        {"effect": "deny", "tools": "x"},
        {"effect": "allow", "servers": ["a*"], "name": "some"},
        {"effect": "allow", "groups": "g"},
        {"effect": "allow", "management": true},
        {"effect": "allow", "management": true, "prompts": ["p"]}
    ]}"#;
    let rules = system(rules).access.policy.unwrap();
    let servers: Vec<Vec<String>> = rules.iter().map(|rule| rule.servers.clone()).collect();
    let all = texts(&["*"]);
    assert_eq!(servers, [all.clone(), all.clone(), texts(&["a*"]), vec![], vec![], all]);
    assert_eq!([rules[0].name.as_str(), rules[2].name.as_str()], ["rule 1", "some"]);
    assert!(rules[0].allows && !rules[1].allows && rules[4].manages);
    assert_eq!(rules[3].groups, ["g"]);
    let tools = RuleEntries { tools: Some(texts(&["x"])), ..RuleEntries::default() };
    assert_eq!(rules[1].entries, tools);
}

#[test]
fn who_a_rule_is_for_is_read_as_it_stands() {
    let rules = r#"{"policy": [{"effect": "deny", "who": {"keys": "k", "groups": ["a", "b*"]}}]}"#;
    let rules = system(rules).access.policy.unwrap();
    let who =
        Who { principals: None, keys: Some(texts(&["k"])), groups: Some(texts(&["a", "b*"])) };
    assert_eq!(rules[0].who, who);
    assert_eq!(system("{}").access.policy, None);
}

#[test]
fn a_limit_has_a_minute_and_its_number_at_once_unless_it_says_otherwise() {
    let rates = r#"{"limits": {"rates": [
        {"requests": 60},
        {"per": ["key", "tool"], "requests": 5, "within": 1000, "burst": 9, "name": "brief"},
        {"per": "server", "servers": "a", "concurrent": 3}
    ]}}"#;
    let rates = system(rates).access.rates;
    assert_eq!(rates[0].requests, Some((60, Duration::from_secs(60), 60)));
    assert_eq!((rates[0].name.as_str(), rates[0].per.len()), ("limit 1", 0));
    assert_eq!(rates[1].requests, Some((5, Duration::from_secs(1), 9)));
    assert_eq!(rates[1].per, [RatePer::Key, RatePer::Tool]);
    assert_eq!((rates[2].requests, rates[2].concurrent), (None, Some(3)));
    assert_eq!(rates[2].servers, Some(texts(&["a"])));
}
