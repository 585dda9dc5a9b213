//! Signals reach servers: none is blocked or ignored at their start, whatever they are written in.

use std::path::{Path, PathBuf};
use std::process::Command;

use mooring_tests::{Setup, eventually, process, settings};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Saves in its handler of SIGTERM, and counts SIGALRM and SIGINT. It does not end with its stdin.
const PYTHON: &str = r#"
import signal, sys, os, time
folder = sys.argv[1]
def note(name, text="x"):
    open(os.path.join(folder, name), "w").write(text)
def save(*_):
    note("saved")
    os._exit(0)
signal.signal(signal.SIGTERM, save)
signal.signal(signal.SIGALRM, lambda *_: note("alarm"))
signal.signal(signal.SIGINT, lambda *_: note("interrupt"))
signal.setitimer(signal.ITIMER_REAL, 0.05)
note("ready", str(os.getpid()))
while True:
    time.sleep(0.01)
"#;

const C: &str = r#"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>
static void note(const char *name) { close(open(name, O_CREAT | O_WRONLY, 0666)); }
static void save(int s) { (void)s; note("saved"); _exit(0); }
static void alarmed(int s) { (void)s; note("alarm"); }
static void interrupted(int s) { (void)s; note("interrupt"); }
int main(int argc, char **argv) {
    if (argc < 2 || chdir(argv[1])) return 1;
    signal(SIGTERM, save); signal(SIGALRM, alarmed); signal(SIGINT, interrupted);
    alarm(1);
    FILE *ready = fopen("ready.draft", "w");
    fprintf(ready, "%d", (int)getpid()); fclose(ready); rename("ready.draft", "ready");
    for (;;) pause();
}
"#;

const RUST: &str = r#"
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
extern "C" { fn signal(number: i32, handler: usize) -> usize; fn alarm(seconds: u32) -> u32; }
static SEEN: [AtomicBool; 3] = [const { AtomicBool::new(false) }; 3];
extern "C" fn note(number: i32) {
    SEEN[match number { 15 => 0, 14 => 1, _ => 2 }].store(true, SeqCst);
}
fn main() {
    std::env::set_current_dir(std::env::args().nth(1).unwrap()).unwrap();
    for number in [15, 14, 2] { unsafe { signal(number, note as *const () as usize) }; }
    unsafe { alarm(1) };
    std::fs::write("ready.draft", std::process::id().to_string()).unwrap();
    std::fs::rename("ready.draft", "ready").unwrap();
    loop {
        for (seen, name) in SEEN.iter().zip(["saved", "alarm", "interrupt"]) {
            if seen.swap(false, SeqCst) { std::fs::write(name, "x").unwrap(); }
        }
        if std::path::Path::new("saved").exists() { return; }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}
"#;

/// Compiles a program; `None` if there is no such compiler.
fn compiled(folder: &Path, compiler: &str, name: &str, source: &str) -> Option<Value> {
    let (file, program) = (folder.join(name), folder.join("program"));
    std::fs::write(&file, source).unwrap();
    match Command::new(compiler).arg(&file).arg("-o").arg(&program).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{compiler}: {said}");
            Some(json!({"command": program, "args": [folder]}))
        }
        Err(error) => {
            eprintln!("skipped: {compiler} cannot be started: {error}");
            None
        }
    }
}

/// Starts the server, interrupts it, and ends the gateway: each signal must have been noted.
#[track_caller]
fn every_signal_arrives(folder: &Path, server: Value) {
    let file = |name: &str| -> PathBuf { folder.join(name) };
    let mut gateway = Setup::new(&settings::standalone(json!({"noting": server}))).start();
    let pid: u32 = eventually("the server is ready", || {
        std::fs::read_to_string(file("ready")).ok()?.parse().ok()
    });
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    for set in ["SigBlk:\t", "SigIgn:\t"] {
        let line = status.lines().find_map(|line| line.strip_prefix(set)).unwrap();
        // Rust itself ignores SIGPIPE, and Python SIGXFSZ too.
        let expected: &[&str] = match set {
            "SigBlk:\t" => &["0000000000000000"],
            _ => &["0000000000000000", "0000000000001000", "0000000001001000"],
        };
        assert!(expected.contains(&line), "{set}{line}");
    }
    eventually("its alarm has rung", || file("alarm").exists().then_some(()));
    process::signal(pid, Signal::INT);
    eventually("it was interrupted", || file("interrupt").exists().then_some(()));
    gateway.terminate();
    assert!(file("saved").exists(), "it was killed without its handler");
}

#[test]
fn a_python_server_gets_every_signal() {
    let folder = tempfile::tempdir().unwrap();
    if Command::new("python3").arg("-V").output().is_err() {
        eprintln!("skipped: python3 cannot be started");
        return;
    }
    let server = json!({"command": "python3", "args": ["-c", PYTHON, folder.path()]});
    every_signal_arrives(folder.path(), server);
}

#[test]
fn a_c_server_gets_every_signal() {
    let folder = tempfile::tempdir().unwrap();
    if let Some(server) = compiled(folder.path(), "cc", "noting.c", C) {
        every_signal_arrives(folder.path(), server);
    }
}

#[test]
fn a_rust_server_gets_every_signal() {
    let folder = tempfile::tempdir().unwrap();
    if let Some(server) = compiled(folder.path(), "rustc", "noting.rs", RUST) {
        every_signal_arrives(folder.path(), server);
    }
}
