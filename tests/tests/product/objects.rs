//! What is read from outside is read from JSON objects alone. Serde's derived code takes an array
//! for a struct too: such a message would be one to the gateway, and something else to a server.

use std::path::Path;

use mooring_tests::sources;
use syn::visit::{self, Visit};

/// The structs of one file that are read from more than objects.
struct Reading {
    found: Vec<String>,
}

impl<'ast> Visit<'ast> for Reading {
    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        let lists = item.attrs.iter().filter_map(|attribute| attribute.meta.require_list().ok());
        let says = |name: &str, text: &str| {
            let mut named = lists.clone().filter(|list| list.path.is_ident(name));
            named.any(|list| list.tokens.to_string().contains(text))
        };
        let derives = says("derive", "Deserialize");
        let remote = says("serde", "remote = \"Self\"");
        if derives && !remote && matches!(item.fields, syn::Fields::Named(_)) {
            self.found.push(item.ident.to_string());
        }
        visit::visit_item_struct(self, item);
    }
}

fn read_from_more_than_objects(text: &str, path: &Path) -> Vec<String> {
    let file = syn::parse_file(text).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    let mut reading = Reading { found: Vec::new() };
    reading.visit_file(&file);
    reading.found
}

#[test]
fn no_struct_is_read_from_an_array() {
    for path in sources::of_the_gateway().1 {
        let text = std::fs::read_to_string(&path).unwrap();
        let found = read_from_more_than_objects(&text, &path);
        assert!(
            found.is_empty(),
            "{}: {found:?} need #[serde(remote = \"Self\")] and object_only!, see protocol/objects.rs",
            path.display()
        );
    }
}

#[test]
fn such_a_struct_is_found_wherever_it_stands() {
    let text = "
        #[derive(Debug, serde::Deserialize)] struct A { x: u8 }
        #[derive(Deserialize)] #[serde(remote = \"Self\")] struct B { x: u8 }
        #[derive(Deserialize)] struct C(u8);
        #[derive(Serialize)] struct D { x: u8 }
        fn f() { #[derive(Deserialize)] #[serde(default)] struct E { x: u8 } }
    ";
    assert_eq!(read_from_more_than_objects(text, Path::new("x")), ["A", "E"]);
}
