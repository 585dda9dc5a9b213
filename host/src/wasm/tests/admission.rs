use super::super::{AdmissionError, PluginRefusal};
use super::*;

fn refused(source: &Source) -> AdmissionError {
    let refused = Strategy::load(source, CONFIG, &options(1));
    refused.err().expect("is refused")
}

fn refused_bytes(bytes: &[u8]) -> String {
    let file = std::env::temp_dir().join(format!(
        "mooring-{}-{:?}.wasm",
        std::process::id(),
        std::thread::current().id()
    ));
    std::fs::write(&file, bytes).unwrap();
    let error = refused(&Source::File(file.clone()));
    std::fs::remove_file(file).unwrap();
    error.to_string()
}

fn assert_says(error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "no {part:?} in: {error}");
    }
}

#[test]
fn another_world_is_refused_with_what_it_exports_instead() {
    let error = refused(&faulty("wrong-world"));
    assert!(matches!(error.refusal, PluginRefusal::WrongWorld { .. }), "{error}");
    assert_says(
        &error.to_string(),
        &["wrong-world.wasm", "mooring:routing/strategy@0.1.0", "wit/routing.wit"],
    );
}

#[test]
fn a_foreign_import_is_refused_by_name() {
    let error = refused(&faulty("wants-import"));
    let PluginRefusal::ForbiddenImports(names) = &error.refusal else {
        panic!("{error}");
    };
    assert!(names.contains(':') && !names.contains("mooring:routing/"), "{names}");
    assert!(error.to_string().contains(names));
}

#[test]
fn wasi_is_refused_by_name_and_says_how_to_allow_it() {
    let error = refused(&faulty("wasi-chatty"));
    assert!(matches!(error.refusal, PluginRefusal::NeedsWasi(_)), "{error}");
    assert_says(&error.to_string(), &["wasi:cli/", "sandbox"]);
}

#[test]
fn a_plugin_that_fails_before_it_routes_is_refused_within_its_time() {
    for (name, part) in
        [("loops-in-configure", "in configure: it used up its CPU time"), ("traps-always", "fails")]
    {
        let begun = Instant::now();
        assert_says(&refused(&faulty(name)).to_string(), &[name, part]);
        assert!(begun.elapsed() < Duration::from_secs(30), "{name}");
    }
}

#[test]
fn an_endless_complaint_is_not_copied() {
    let error = refused(&faulty("huge-error")).to_string();
    assert!(error.len() < 2500, "{} bytes", error.len());
}

#[test]
fn a_configuration_error_is_shown_in_the_plugins_words() {
    let source = Source::Builtin(Builtin::Cookie);
    let wrong = r#"{"cookieName": "a b"}"#;
    let error = Strategy::load(&source, wrong, &options(1)).err().unwrap();
    assert_says(&error.to_string(), &["\"cookie\"", "stickySession.cookieName"]);
}

#[test]
fn what_is_no_component_is_refused_with_what_it_is() {
    for (bytes, part) in [
        (&b"\0asm\x01\0\0\0"[..], "core module"),
        (b"\x7fELF\x02\x01\x01", "precompiled"),
        (b"  (component)", "text"),
        (b"", "not WebAssembly"),
        (b"\0asm\x0d\0\x01\0\xff\xff", "not a valid component"),
    ] {
        assert_says(&refused_bytes(bytes), &[part]);
    }
    let truncated = &Builtin::Header.bytes()[..50_000];
    assert_says(&refused_bytes(truncated), &["not a valid component"]);
}

#[test]
fn a_file_that_is_too_large_is_not_even_looked_at() {
    let bytes = vec![0; (32 << 20) + 1];
    assert_says(&refused_bytes(&bytes), &["33554432"]);
}

#[test]
fn a_misspelled_name_is_refused_with_the_right_ones() {
    let error = refused(&Source::parse("consistant-hash")).to_string();
    assert_says(&error, &["consistant-hash", "consistent-hash, cookie, header"]);
}

#[test]
fn a_plugin_is_inspected_for_a_terminal() {
    let report = super::super::inspect(Builtin::ConsistentHash.bytes(), CONFIG, None).unwrap();
    assert!(report.dry_run.deterministic);
    assert_eq!(report.objection, None);
    assert_eq!(report.dry_run.spread.len(), 4, "the draining node gets none");
    let text = report.to_string();
    for part in ["consistent-hash 0.1.0", "session id", "strategy@0.1.0", "spread"] {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
}
