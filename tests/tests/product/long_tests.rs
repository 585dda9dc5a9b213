//! What `./test` leaves out, `./test --long` runs.

use mooring_tests::{settings, sources};

/// No test is switched off: one that is not run by `./test` takes long, and says what of its kind
/// runs each time.
#[test]
fn a_test_is_left_out_only_because_it_takes_long() {
    let root = settings::repository();
    let folders = ["host", "tests", "examples", "plugins", "benches"].map(|name| root.join(name));
    let mut long = 0;
    for file in folders.iter().flat_map(|folder| sources::files(folder, &["rs"])) {
        let text = std::fs::read_to_string(&file).unwrap();
        for line in text.lines().map(str::trim).filter(|line| line.starts_with("#[ignore")) {
            let reason =
                line.strip_prefix("#[ignore = \"long: ").is_some_and(|rest| rest.len() > 8);
            assert!(reason, "{}: {line}", file.display());
            long += 1;
        }
    }
    assert!(long > 5, "only {long} were found");
}

#[test]
fn the_long_run_runs_what_is_left_out_and_has_time_for_it() {
    let root = settings::repository();
    let script = std::fs::read_to_string(root.join("test")).unwrap();
    assert!(script.contains("--run-ignored all") && script.contains("--include-ignored"));
    let nextest = std::fs::read_to_string(root.join(".config/nextest.toml")).unwrap();
    assert!(nextest.contains("[profile.long]"), "{nextest}");
    let ci = std::fs::read_to_string(root.join(".ci/run")).unwrap();
    assert!(!ci.contains("--long"), "CI has no time for it");
}
