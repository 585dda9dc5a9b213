//! The house has floors, and imports go down only.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use mooring_tests::settings;

/// Higher floors may use lower ones. `edge`, `runner` and `cluster` share a floor
/// and never meet.
const FLOORS: [(&str, u32); 15] = [
    ("model", 1),
    ("config", 2),
    ("protocol", 2),
    ("store", 3),
    ("net", 3),
    ("seam", 4),
    ("wasm", 3),
    ("streams", 4),
    ("edge", 5),
    ("runner", 5),
    ("cluster", 5),
    ("admin", 6),
    ("app", 7),
    ("cli", 8),
    ("main", 8),
];

fn floor(module: &str) -> u32 {
    let known = FLOORS.iter().find(|(name, _)| *name == module);
    known.unwrap_or_else(|| panic!("module {module} has no floor yet: give it one here")).1
}

struct Source {
    path: PathBuf,
    module: String,
    code: String,
}

/// Every source file of the gateway, without comments.
fn sources() -> Vec<Source> {
    let root = settings::repository().join("host/src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let below = path.strip_prefix(&root).unwrap();
                let first = below.iter().next().unwrap();
                let module = Path::new(first).file_stem().unwrap().to_str().unwrap().to_owned();
                let code = without_comments(&std::fs::read_to_string(&path).unwrap());
                found.push(Source { path: below.to_owned(), module, code });
            }
        }
    }
    assert!(found.len() > 50);
    found
}

fn without_comments(text: &str) -> String {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| [line, "\n"]).collect()
}

/// Modules of the crate that a source names: `crate::x` and `crate::{x, y::z}`.
fn named_modules(code: &str) -> BTreeSet<String> {
    let mut modules = BTreeSet::new();
    for (at, start) in code.match_indices("crate::") {
        let rest = &code[at + start.len()..];
        match rest.strip_prefix('{') {
            Some(group) => modules.extend(heads_of_group(group)),
            None => modules.extend(head(rest)),
        }
    }
    modules
}

/// The first segments of a `{…}` list, at its own depth.
fn heads_of_group(group: &str) -> Vec<String> {
    let mut depth = 0;
    let mut heads = Vec::new();
    let mut item = String::new();
    for c in group.chars() {
        match c {
            '}' if depth == 0 => break,
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.extend(head(&std::mem::take(&mut item))),
            c => item.push(c),
        }
    }
    heads.extend(head(&item));
    heads
}

fn head(path: &str) -> Option<String> {
    let name: String =
        path.trim_start().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    // Types and macros at the root of the crate are nobody's floor.
    (!name.is_empty() && name.starts_with(|c: char| c.is_ascii_lowercase())).then_some(name)
}

#[test]
fn imports_go_down_only() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| source.module != "lib") {
        for module in named_modules(&source.code) {
            if module != source.module && floor(&module) >= floor(&source.module) {
                wrong.push(format!("{}: crate::{module}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "imports that go up or sideways:\n{}", wrong.join("\n"));
}

#[test]
fn every_module_of_the_library_has_a_floor() {
    let root = std::fs::read_to_string(settings::repository().join("host/src/lib.rs")).unwrap();
    let modules = root.lines().filter_map(|line| line.trim().strip_prefix("pub mod "));
    for module in modules.filter_map(|rest| rest.strip_suffix(';')) {
        floor(module);
    }
}

/// A crate that only one module may name: (crate, module).
const NARROWED: [(&str, &str); 2] = [("wasmtime", "wasm"), ("jsonc_parser", "config")];

#[test]
fn a_big_dependency_is_named_in_one_module_only() {
    for source in sources() {
        for (dependency, module) in NARROWED {
            let named = source.code.contains(&format!("{dependency}::"))
                || source.code.contains(&format!("{dependency}_wasi::"));
            assert!(
                !named || source.module == module,
                "{} names {dependency}",
                source.path.display()
            );
        }
    }
}

#[test]
fn only_protocol_spells_the_headers_of_mcp_and_of_the_seam() {
    let known = ["mcp-session-id", "mcp-protocol-version", "last-event-id", "mooring-session"];
    for source in sources() {
        // The settings file refuses some of them by name.
        if matches!(source.module.as_str(), "protocol" | "config") {
            continue;
        }
        for name in known {
            let spelled = source.code.to_ascii_lowercase().contains(&format!("\"{name}\""));
            assert!(!spelled, "{} spells {name}", source.path.display());
        }
    }
}

#[test]
fn the_model_does_no_io_and_knows_no_serde() {
    for source in sources().iter().filter(|source| source.module == "model") {
        for foreign in ["serde", "tokio::", "std::fs", "std::net::Tcp", "hyper", "axum"] {
            assert!(!source.code.contains(foreign), "{}: {foreign}", source.path.display());
        }
    }
}

#[test]
fn groups_of_imports_are_understood() {
    let code = "use crate::{\n  edge::{a, b}, runner,\n cluster::x};\nuse crate::model::Node;";
    let expected = ["cluster", "edge", "model", "runner"].map(str::to_owned);
    assert_eq!(named_modules(code), expected.into());
}
