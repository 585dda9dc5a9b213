//! The variables of a child process beside those that every child inherits.

use std::collections::BTreeMap;

use crate::config::{ChildVariables, OwnProxy, Secret};
use crate::runner;

/// Programs that install from the npm registry.
const OF_NPM: [&str; 8] = ["npx", "npm", "pnpm", "pnpx", "yarn", "node", "bun", "bunx"];
/// Programs that install from a Python index.
const OF_PYTHON: [&str; 7] = ["uvx", "uv", "pip", "pip3", "pipx", "python", "python3"];

/// The variables by which npm knows its registry, in both spellings that it reads.
const NPM_REGISTRY: [&str; 2] = ["npm_config_registry", "NPM_CONFIG_REGISTRY"];
/// Those by which uv knows its index: earlier versions know only the second one.
const UV_INDEX: [&str; 2] = ["UV_DEFAULT_INDEX", "UV_INDEX_URL"];
/// That of pip.
const PIP_INDEX: [&str; 1] = ["PIP_INDEX_URL"];
/// Those of a proxy.
const PROXIES: [&str; 6] =
    ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];

/// The variables of a program: what the file hands to all or to its like, its own `proxy`, and its
/// own `env`, of which the later ones win.
#[must_use]
pub fn of(
    common: &ChildVariables,
    command: &str,
    proxy: &OwnProxy,
    own: &[(String, Secret)],
) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    let mut set = |name: &str, value: &Secret| {
        variables.insert(name.to_owned(), value.expose().to_owned());
    };
    for (name, value) in &common.inherited {
        value.iter().for_each(|value| set(name, value));
    }
    let has_own = |names: &[&str]| own.iter().any(|(name, _)| names.contains(&name.as_str()));
    let program = program_of(command);
    if let Some(registry) = &common.npm_registry
        && OF_NPM.contains(&program)
        && !has_own(&NPM_REGISTRY)
    {
        set(NPM_REGISTRY[0], registry);
    }
    if let Some(index) = &common.python_index
        && OF_PYTHON.contains(&program)
    {
        for names in [&UV_INDEX[..], &PIP_INDEX] {
            if !has_own(names) {
                names.iter().for_each(|name| set(name, index));
            }
        }
    }
    if let OwnProxy::At(_, url) = proxy {
        PROXIES.iter().for_each(|name| set(name, url));
    }
    own.iter().for_each(|(name, value)| set(name, value));
    variables
}

/// Inherited variables that a program does not get, since those of [`of`] say something else.
#[must_use]
pub fn kept_from(proxy: &OwnProxy, own: &BTreeMap<String, String>) -> Vec<&'static str> {
    let mut kept: Vec<&'static str> = Vec::new();
    if *proxy == OwnProxy::Direct {
        kept.extend(PROXIES);
    }
    // Of two names for one thing the programs prefer one, or either.
    if UV_INDEX.iter().any(|name| own.contains_key(*name)) {
        kept.extend(UV_INDEX);
    }
    let is_respelled = |inherited: &&str| {
        own.keys().any(|name| name != inherited && name.eq_ignore_ascii_case(inherited))
    };
    kept.extend(runner::INHERITED.into_iter().filter(is_respelled));
    kept
}

/// The name of a program without its folder, and without the ending that it has on Windows.
fn program_of(command: &str) -> &str {
    let name = command.rsplit(['/', '\\']).next().unwrap_or(command);
    [".exe", ".cmd", ".bat"].iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text)
    }

    fn common() -> ChildVariables {
        ChildVariables {
            inherited: vec![
                ("EXTRA".into(), Some(secret("1"))),
                ("NONE".into(), None),
                ("OWN".into(), Some(secret("inherited"))),
            ],
            npm_registry: Some(secret("https://npm.example")),
            python_index: Some(secret("https://pypi.example/simple")),
        }
    }

    #[test]
    fn registries_go_to_their_programs_and_own_variables_win() {
        let (npm, pypi) = ("https://npm.example", "https://pypi.example/simple");
        let variables = |command: &str, own: &[(&str, &str)]| {
            let own: Vec<_> =
                own.iter().map(|(name, value)| ((*name).to_owned(), secret(value))).collect();
            of(&common(), command, &OwnProxy::Usual, &own)
        };
        for command in ["npx", "/usr/local/bin/npx", "npx.cmd", "node", "bunx"] {
            let got = variables(command, &[]);
            assert_eq!(got.get("npm_config_registry").map(String::as_str), Some(npm), "{command}");
            assert_eq!(got.get("UV_DEFAULT_INDEX"), None);
        }
        for command in ["uvx", "uv", "python3"] {
            let got = variables(command, &[]);
            for name in ["UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"] {
                assert_eq!(got.get(name).map(String::as_str), Some(pypi), "{command} {name}");
            }
            assert_eq!(got.get("npm_config_registry"), None);
        }
        let got = variables("uvx", &[("UV_INDEX_URL", "own"), ("OWN", "own")]);
        assert_eq!(got.get("UV_INDEX_URL").map(String::as_str), Some("own"));
        assert_eq!(got.get("UV_DEFAULT_INDEX"), None);
        assert_eq!(got.get("PIP_INDEX_URL").map(String::as_str), Some(pypi));
        assert_eq!(got.get("OWN").map(String::as_str), Some("own"));
        assert_eq!(got.get("EXTRA").map(String::as_str), Some("1"));
        assert!(!got.contains_key("NONE"));
        assert!(!variables("npx", &[("NPM_CONFIG_REGISTRY", "own")]).contains_key(NPM_REGISTRY[0]));
    }

    #[test]
    fn what_its_own_variables_say_is_not_said_otherwise() {
        let own = [("https_proxy", ""), ("UV_INDEX_URL", "x")];
        let own = own.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let kept = kept_from(&OwnProxy::Usual, &own);
        assert!(kept.contains(&"HTTPS_PROXY") && kept.contains(&"UV_DEFAULT_INDEX"), "{kept:?}");
        assert!(!kept.contains(&"https_proxy") && !kept.contains(&"HTTP_PROXY"), "{kept:?}");
        assert!(kept_from(&OwnProxy::Direct, &BTreeMap::new()).contains(&"all_proxy"));
    }
}
