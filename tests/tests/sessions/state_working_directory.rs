//! The working directory of a shell-like server comes back by the calls that set it.

use std::path::Path;

use mooring_tests::{Front, Session, eventually, process};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::kept_texts::{notice, with_state};

fn shell() -> Value {
    let server = json!({"command": "mooring-verbatim-server", "args": ["shell"]});
    json!({"shell": with_state(server, json!({"replay": ["cd"]}))})
}

fn cd(session: &Session, prefix: &str, path: &str) -> Value {
    session.call(&format!("{prefix}cd"), json!({"path": path}))
}

/// Where the server is, and its process.
fn pwd(session: &Session, prefix: &str) -> (String, u32) {
    let says = session.call(&format!("{prefix}pwd"), json!({}))["structuredContent"].clone();
    let pid = says["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).unwrap();
    (says["cwd"].as_str().unwrap().to_owned(), pid)
}

fn kill(pid: u32) {
    process::signal(pid, Signal::KILL);
    eventually("the server is gone", || (!process::runs(pid)).then_some(()));
}

fn folders() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let real = std::fs::canonicalize(folder.path()).unwrap();
    std::fs::create_dir_all(real.join("deep/down")).unwrap();
    (folder, real.to_str().unwrap().to_owned())
}

#[test]
fn the_directory_of_before_is_entered_again_step_by_step() {
    let (_folder, root) = folders();
    Front::each(&shell(), &json!({}), |front| {
        for (path, prefix) in [("/mcp/shell", ""), ("/mcp", "shell-")] {
            let session = front.client(path).initialize();
            for step in [root.as_str(), "deep", "down"] {
                cd(&session, prefix, step);
            }
            // A step that has failed is none of them.
            session.request(
                "tools/call",
                json!({"name": format!("{prefix}cd"), "arguments": {"path": "not/there"}}),
            );
            let (before, pid) = pwd(&session, prefix);
            assert_eq!(before, format!("{root}/deep/down"));
            let mut stream = session.listen();
            kill(pid);
            let (after, next) = pwd(&session, prefix);
            assert_eq!((after, next == pid), (before, false), "{path}");
            let (level, text) = notice(&mut stream);
            assert!(level == "info" && text.contains("3 calls"), "{path}: {level} {text}");
        }
    });
}

#[test]
fn it_comes_along_to_another_node() {
    let (_folder, root) = folders();
    let Front::Cluster(mut cluster) = Front::cluster(&shell(), &json!({})) else { unreachable!() };
    let session = cluster.client("/mcp/shell").initialize();
    cd(&session, "", &root);
    cd(&session, "", "deep");
    let (_, pid) = pwd(&session, "");
    let is_at = |node: usize| process::descendants(cluster.nodes[node].pid()).contains(&pid);
    let held = usize::from(!is_at(0));
    assert!(is_at(held));
    cluster.nodes[held].kill9();
    assert_eq!(pwd(&session, "").0, format!("{root}/deep"));
}

#[test]
fn a_step_that_cannot_be_taken_any_more_is_named() {
    let (_folder, root) = folders();
    Front::each(&shell(), &json!({}), |front| {
        let session = front.client("/mcp/shell").initialize();
        let gone = format!("{root}/gone");
        std::fs::create_dir(&gone).unwrap();
        cd(&session, "", &root);
        cd(&session, "", "gone");
        let (_, pid) = pwd(&session, "");
        std::fs::remove_dir(Path::new(&gone)).unwrap();
        kill(pid);
        assert_eq!(pwd(&session, "").0, root);
        let (level, text) = notice(&mut session.listen());
        assert_eq!(level, "warning", "{text}");
        assert!(text.contains("1 call that set its state was repeated"), "{text}");
        assert!(text.contains("not restored: cd (gone: "), "{text}");
    });
}
