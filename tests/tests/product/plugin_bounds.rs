//! What a strategy may cost and see before it decides anything.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use mooring_tests::{Setup, settings};
use serde_json::{Value, json};

/// A component that is admitted, with one more module, which nothing uses and the compiler has to
/// translate all the same.
fn with_module(name: &str, module: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let mut bytes = std::fs::read(settings::prebuilt("consistent-hash.wasm")).unwrap();
    bytes.extend(section(1, module));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    std::fs::write(&file, bytes).unwrap();
    (folder, file)
}

fn strategy(file: &std::path::Path) -> Value {
    settings::coordinator(json!({"stickySession": {"strategy": file}}))
}

#[test]
fn a_module_that_nothing_uses_changes_nothing() {
    let (_folder, file) = with_module("larger.wasm", &module(&[function(1, &[0x20, 0])]));
    let output = Setup::new(&strategy(&file)).run(&["check"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_component_that_costs_too_much_to_compile_is_refused_in_time() {
    // Loops over a thousand live variables: a third of a megabyte takes minutes and gigabytes.
    let mut code = Vec::new();
    for turn in 0..20_000_u32 {
        let (one, two) = (1 + turn % 1000, 1 + (turn * 7 + 3) % 1000);
        code.extend([0x03, 0x40]);
        code.extend(
            [&[0x20][..], &leb(one), &[0x20], &leb(two), &[0x6a, 0x21], &leb(one)].concat(),
        );
        code.extend([&[0x20][..], &leb(one), &[0x0d, 0x00, 0x0b]].concat());
    }
    code.extend([0x20, 0]);
    let (_folder, file) = with_module("bomb.wasm", &module(&[function(1000, &code)]));
    let begun = Instant::now();
    for command in [&["check"][..], &["plugin", "inspect", file.to_str().unwrap()]] {
        let output = Setup::new(&strategy(&file)).run(command);
        let says = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{command:?}: {says}");
        assert!(says.contains("too costly to compile"), "{command:?}: {says}");
    }
    // Twice 8 s of CPU time, on a machine that does other things too.
    assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", begun.elapsed());
}

#[test]
fn a_component_with_too_many_or_too_large_functions_is_refused_before_it_is_compiled() {
    let many = module(&vec![function(0, &[0x20, 0]); 100_001]);
    let large = module(&[function(0, &[&[0x01; 600_000][..], &[0x20, 0]].concat())]);
    for (name, module, why) in
        [("many.wasm", many, "100000 functions"), ("large.wasm", large, "a function of 600")]
    {
        let (_folder, file) = with_module(name, &module);
        let output = Setup::new(&strategy(&file)).run(&["check"]);
        let says = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{name}: {says}");
        assert!(says.contains("too costly to compile") && says.contains(why), "{name}: {says}");
    }
}

/// A module of functions from one i32 to one.
fn module(functions: &[Vec<u8>]) -> Vec<u8> {
    let count = leb(u32::try_from(functions.len()).unwrap());
    let types = section(1, &[1, 0x60, 1, 0x7f, 1, 0x7f]);
    let declared = section(3, &[&count[..], &vec![0; functions.len()]].concat());
    let code = section(10, &[&count[..], &functions.concat()].concat());
    [b"\0asm\x01\0\0\0", &types[..], &declared, &code].concat()
}

fn function(variables: u32, code: &[u8]) -> Vec<u8> {
    let body = [&[1][..], &leb(variables), &[0x7f], code, &[0x0b]].concat();
    [leb(u32::try_from(body.len()).unwrap()), body].concat()
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id][..], &leb(u32::try_from(content.len()).unwrap()), content].concat()
}

/// WebAssembly's numbers: seven bits a byte, the lowest first.
fn leb(mut number: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}
