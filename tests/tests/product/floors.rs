//! The source has floors and rooms: imports go to lower floors only, and the files of a room do not
//! import each other in a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use mooring_tests::{settings, sources};
use syn::visit::{self, Visit};

/// The floor of each top-level module. A module may import from lower floors only, so `edge`,
/// `runner` and `cluster`, which share a floor, never import each other.
const FLOORS: [(&str, u32); 19] = [
    ("sync", 1),
    ("model", 1),
    ("config", 2),
    ("protocol", 2),
    ("tls", 3),
    ("net", 4),
    ("store", 4),
    ("wasm", 4),
    ("oauth", 5),
    ("seam", 5),
    ("streams", 5),
    ("telemetry", 5),
    ("edge", 6),
    ("runner", 6),
    ("cluster", 6),
    ("admin", 7),
    ("app", 8),
    ("cli", 9),
    ("main", 9),
];

/// Accepted circles of files, where neither file makes sense without the other.
const NATURAL_CIRCLES: [&[&str]; 2] = [
    // A member of a JSON object may be an object.
    &["config/reader/item.rs", "config/reader/section.rs"],
    // A response's body is read from its exchange, and the body's end ends the exchange.
    &["net/body.rs", "net/exchange.rs"],
];

/// Modules whose files never import each other in a circle.
const WITHOUT_CIRCLES: [&str; 10] =
    ["edge", "runner", "cluster", "net", "oauth", "config", "store", "wasm", "telemetry", "tls"];

fn floor(module: &str) -> u32 {
    let known = FLOORS.iter().find(|(name, _)| *name == module);
    known.unwrap_or_else(|| panic!("module {module} has no floor yet: give it one here")).1
}

/// A source file of the gateway.
struct Source {
    path: PathBuf,
    /// The top-level module that it belongs to.
    module: String,
    /// Its code without comments.
    code: String,
    /// The paths that it imports or names in full, from the crate's root, except in tests.
    imports: BTreeSet<Vec<String>>,
    /// Its re-exports: each name with the path that it comes from.
    handed_on: BTreeMap<String, Vec<String>>,
}

impl Source {
    /// The path of its module, from the crate's root.
    fn module_path(&self) -> Vec<String> {
        module_path(&self.path)
    }
}

fn module_path(file: &Path) -> Vec<String> {
    let mut segments: Vec<String> = file
        .with_extension("")
        .iter()
        .map(|segment| segment.to_str().expect("a readable name").to_owned())
        .collect();
    if segments.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        segments.pop();
    }
    segments
}

/// Every source file of the gateway.
fn sources() -> Vec<Source> {
    let (root, files) = sources::of_the_gateway();
    files.iter().map(|path| source(path.strip_prefix(&root).unwrap(), path)).collect()
}

fn source(below: &Path, path: &Path) -> Source {
    let text = std::fs::read_to_string(path).unwrap();
    let first = below.iter().next().unwrap();
    let module = Path::new(first).file_stem().unwrap().to_str().unwrap().to_owned();
    let file = syn::parse_file(&text).unwrap_or_else(|why| panic!("{}: {why}", below.display()));
    let mut reading = Reading { module: module_path(below), ..Reading::default() };
    reading.visit_file(&file);
    Source {
        path: below.to_owned(),
        module,
        code: without_comments(&text),
        imports: reading.imports,
        handed_on: reading.handed_on,
    }
}

fn without_comments(text: &str) -> String {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| [line, "\n"]).collect()
}

/// Collects the imports of one file.
#[derive(Default)]
struct Reading {
    module: Vec<String>,
    imports: BTreeSet<Vec<String>>,
    handed_on: BTreeMap<String, Vec<String>>,
    /// The modules declared in the current one.
    children: BTreeSet<String>,
}

impl Reading {
    /// The path from the crate's root; `None` if it leads to another crate.
    fn absolute(&self, path: &[String]) -> Option<Vec<String>> {
        let mut base = match path.first()?.as_str() {
            "crate" => return Some(path[1..].to_vec()),
            "self" | "super" => self.module.clone(),
            first if self.children.contains(first) => {
                return Some([&self.module[..], path].concat());
            }
            _ => return None,
        };
        let mut rest = path;
        while let Some((first, others)) = rest.split_first() {
            match first.as_str() {
                "self" => {}
                "super" => {
                    base.pop();
                }
                _ => break,
            }
            rest = others;
        }
        base.extend_from_slice(rest);
        Some(base)
    }

    fn take(&mut self, tree: &syn::UseTree, before: &[String], is_public: bool) {
        match tree {
            syn::UseTree::Path(path) => {
                let path_so_far = [before, &[path.ident.to_string()]].concat();
                self.take(&path.tree, &path_so_far, is_public);
            }
            syn::UseTree::Group(group) => {
                for item in &group.items {
                    self.take(item, before, is_public);
                }
            }
            syn::UseTree::Glob(_) => self.note(before, None, is_public),
            syn::UseTree::Name(name) if name.ident == "self" => self.note(before, None, is_public),
            syn::UseTree::Name(name) => {
                let name = name.ident.to_string();
                self.note(&[before, std::slice::from_ref(&name)].concat(), Some(name), is_public);
            }
            syn::UseTree::Rename(renamed) => {
                let path = [before, &[renamed.ident.to_string()]].concat();
                self.note(&path, Some(renamed.rename.to_string()), is_public);
            }
        }
    }

    fn note(&mut self, path: &[String], name: Option<String>, is_public: bool) {
        let Some(path) = self.absolute(path) else { return };
        match name.filter(|_| is_public) {
            Some(name) => drop(self.handed_on.insert(name, path)),
            None => drop(self.imports.insert(path)),
        }
    }
}

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Ident>().is_ok_and(|what| what == "test")
    })
}

impl<'ast> Visit<'ast> for Reading {
    fn visit_file(&mut self, file: &'ast syn::File) {
        let modules = file.items.iter().filter_map(|item| match item {
            syn::Item::Mod(module) => Some(module.ident.to_string()),
            _ => None,
        });
        self.children = modules.collect();
        visit::visit_file(self, file);
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if is_for_tests(&module.attrs) {
            return;
        }
        self.module.push(module.ident.to_string());
        visit::visit_item_mod(self, module);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let is_public = !matches!(item.vis, syn::Visibility::Inherited);
        self.take(&item.tree, &[], is_public);
    }

    /// Skips `pub(in crate::edge)`, which is not an import.
    fn visit_vis_restricted(&mut self, _: &'ast syn::VisRestricted) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> =
            path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if segments.len() > 1 && ["crate", "super"].contains(&segments[0].as_str()) {
            self.note(&segments, None, false);
        }
        visit::visit_path(self, path);
    }
}

#[test]
fn imports_go_down_only() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| source.module != "lib") {
        for path in source.imports.iter().chain(source.handed_on.values()) {
            let Some(module) = path.first().filter(|name| name.starts_with(char::is_lowercase))
            else {
                continue;
            };
            if *module != source.module && floor(module) >= floor(&source.module) {
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

/// For each source, the indices of the sources that it imports.
fn arrows(sources: &[Source]) -> Vec<BTreeSet<usize>> {
    let by_module: BTreeMap<Vec<String>, usize> =
        sources.iter().enumerate().map(|(at, source)| (source.module_path(), at)).collect();
    let owner = |path: &[String]| {
        let mut path = path.to_vec();
        // A re-exported item belongs to the file that defines it.
        for _ in 0..8 {
            let length = (0..=path.len()).rev().find(|n| by_module.contains_key(&path[..*n]))?;
            let at = by_module[&path[..length]];
            match path.get(length).and_then(|name| sources[at].handed_on.get(name)) {
                Some(origin) => path = [origin, &path[length + 1..]].concat(),
                None => return Some(at),
            }
        }
        None
    };
    sources
        .iter()
        .enumerate()
        .map(|(at, source)| {
            let imports = source.imports.iter().filter_map(|path| owner(path));
            imports.filter(|other| *other != at).collect()
        })
        .collect()
}

/// Groups of files in which each imports every other one, directly or indirectly.
fn circles(arrows: &[BTreeSet<usize>]) -> BTreeSet<BTreeSet<usize>> {
    let reached = |from: usize| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(at) = open.pop() {
            open.extend(arrows[at].iter().filter(|next| seen.insert(**next)));
        }
        seen
    };
    let reached: Vec<BTreeSet<usize>> = (0..arrows.len()).map(reached).collect();
    (0..arrows.len())
        .filter(|at| reached[*at].contains(at))
        .map(|at| {
            reached[at].iter().copied().filter(|other| reached[*other].contains(&at)).collect()
        })
        .collect()
}

#[test]
fn no_files_of_a_room_import_each_other_in_a_circle() {
    let sources = sources();
    let arrows = arrows(&sources);
    let found: BTreeSet<Vec<String>> = circles(&arrows)
        .iter()
        .filter(|circle| {
            circle.iter().any(|at| WITHOUT_CIRCLES.contains(&sources[*at].module.as_str()))
        })
        .map(|circle| circle.iter().map(|at| sources[*at].path.display().to_string()))
        .map(|paths| {
            let mut paths: Vec<String> = paths.collect();
            paths.sort();
            paths
        })
        .collect();
    let natural =
        NATURAL_CIRCLES.map(|circle| circle.iter().map(|file| (*file).to_owned()).collect());
    assert_eq!(found, BTreeSet::from(natural), "circles of imports; the expected ones are natural");
}

/// What a room hands on is for other rooms: its own files name the file that they mean.
#[test]
fn no_file_imports_through_the_door_of_its_own_module() {
    let sources = sources();
    let doors: BTreeMap<Vec<String>, &Source> =
        sources.iter().map(|source| (source.module_path(), source)).collect();
    let mut wrong = Vec::new();
    for source in sources.iter().filter(|source| WITHOUT_CIRCLES.contains(&source.module.as_str()))
    {
        let door = doors[&vec![source.module.clone()]];
        let through = source.imports.iter().filter(|path| {
            path.len() > 1
                && path[0] == source.module
                && door.path != source.path
                && door.handed_on.contains_key(&path[1])
        });
        wrong.extend(through.map(|path| format!("{}: {}", source.path.display(), path.join("::"))));
    }
    // It is compiled for tests only.
    wrong.retain(|line| !line.starts_with("net/peer.rs") && !line.contains("/tests"));
    assert!(wrong.is_empty(), "imports through a module's own door:\n{}", wrong.join("\n"));
}

#[test]
fn circles_are_found_where_they_are() {
    let arrows = [[1], [2], [0], [0]].map(BTreeSet::from);
    assert_eq!(circles(&arrows), [[0, 1, 2].into()].into());
}

/// A crate that only one module may name: (crate, module).
const NARROWED: [(&str, &str); 4] =
    [("wasmtime", "wasm"), ("jsonc_parser", "config"), ("redis", "store"), ("h2", "telemetry")];

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
        // The model has those that nobody else may set, which config and protocol ask for.
        let is_test = source.path.iter().any(|folder| folder == "tests");
        if is_test || matches!(source.module.as_str(), "protocol" | "model") {
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
    let text = "use crate::{\n edge::{a, b::*}, runner as r, self};\nuse super::c::D; use std::fs;\n\
                mod e; use e::F; fn f() { super::g::H::i(); crate::j() }";
    let mut reading = Reading { module: vec!["here".into(), "file".into()], ..Reading::default() };
    reading.visit_file(&syn::parse_file(text).unwrap());
    let found: Vec<String> = reading.imports.iter().map(|path| path.join("::")).collect();
    let expected = [
        "",
        "edge::a",
        "edge::b",
        "here::c::D",
        "here::file::e::F",
        "here::g::H::i",
        "j",
        "runner",
    ];
    assert_eq!(found, expected);
}
