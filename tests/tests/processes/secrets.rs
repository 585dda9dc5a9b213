//! A server cannot read the gateway's secrets, nor those of other servers, although it runs as the
//! same user.

use std::path::Path;

use mooring_tests::{Gateway, Setup, eventually, process, settings};
use serde_json::{Value, json};

const TOKEN: &str = "token-in-the-environment-0123456789";
const SECRET: &str = "sealing-secret-0123456789abcdef";
const OTHERS: &str = "secret-of-another-server";

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Tries to read all that belongs to the processes above it, to any other server, and to the
/// gateway's folder, and says what worked. `$1` is where it says it.
const SPY: &str = r#"
out=$1; shift
say() { echo "$@" >>"$out.draft"; }
spy() {
    cat /proc/$2/environ 2>/dev/null | tr '\0' '\n' | grep -q . && say "environ of $1"
    ( : </proc/$2/mem ) 2>/dev/null && say "memory of $1"
    readlink /proc/$2/fd/0 /proc/$2/fd/2 | grep -q . && say "descriptors of $1"
    ls /proc/$2/cwd/ 2>/dev/null | grep -q . && say "folder of $1"
}
pid=$$
for name in reaper supervisor gateway; do
    stat=$(cat /proc/$pid/stat); stat=${stat##*) }; set -- $stat; pid=$2
    spy $name $pid
done
for other in /proc/[0-9]*; do
    tr '\0' ' ' <$other/cmdline 2>/dev/null | grep -q "^sleep 98765" && spy "another server" ${other#/proc/}
done
cat mcp_settings.json 2>/dev/null | grep -q . && say settings
cat data/* data/*/* 2>/dev/null | grep -q . && say data
grep -E 'NoNewPrivs|CapEff' /proc/self/status >>"$out.draft"
env >>"$out.draft"
mv "$out.draft" "$out"
exec sleep 1000
"#;

struct Spied {
    gateway: Gateway,
    seen: String,
}

/// What a server with this entry can read of a gateway that runs as this user.
#[track_caller]
fn spied(user: Option<u32>, entry: Value) -> Spied {
    let folder = tempfile::tempdir().unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(folder.path(), open).unwrap();
    let out = folder.path().join("seen");
    // In a file, since `$` has a meaning in the settings.
    let script = folder.path().join("spy.sh");
    std::fs::write(&script, SPY).unwrap();
    let spy = json!({"command": "sh", "args": [script, out]});
    let other = json!({"command": "sleep", "args": ["98765"], "env": {"OTHER": "${OTHERS}"}});
    let servers = json!({"other": other, "spy": settings::merged(spy, entry)});
    let mut setup = Setup::new(&settings::standalone(servers))
        .env("MOORING_CLUSTER_TOKEN", TOKEN)
        .env("MOORING_SECRET", SECRET)
        .env("OTHERS", OTHERS);
    if let Some(user) = user {
        setup = setup.user(user);
    }
    let gateway = setup.start();
    let seen = eventually("the spy has looked", || std::fs::read_to_string(&out).ok());
    Spied { gateway, seen }
}

/// The lines of what was read, without those about the spy itself.
fn read(seen: &str) -> Vec<&str> {
    let read = ["environ of", "memory of", "descriptors of", "folder of", "settings", "data"];
    seen.lines().filter(|line| read.iter().any(|one| line.starts_with(one))).collect()
}

/// Where neither root nor user namespaces are there, nothing can be hidden.
fn hides(gateway: &Gateway) -> bool {
    !gateway.log().contains("does not let the gateway hide")
}

#[track_caller]
fn nothing_is_read(user: Option<u32>) {
    let Spied { gateway, seen } = spied(user, json!({}));
    let mut read = read(&seen);
    if !hides(&gateway) {
        eprintln!("skipped: this system lets no files be hidden");
        read.retain(|line| !matches!(*line, "settings" | "data"));
    }
    assert_eq!(read, [""; 0]);
    assert!(seen.contains("NoNewPrivs:\t1\n"), "{seen}");
    for secret in [TOKEN, SECRET, OTHERS] {
        assert!(!seen.contains(secret), "{seen}");
    }
}

#[test]
fn a_server_of_the_gateways_user_reads_none_of_its_secrets() {
    nothing_is_read(None);
}

#[test]
fn a_server_of_a_user_who_is_not_root_reads_none_of_its_secrets() {
    if !is_root() {
        eprintln!("skipped: only root can start a gateway of another user");
        return;
    }
    nothing_is_read(Some(23456));
}

/// `user` of an entry that says who the gateway is anyway takes nothing away: neither hiding nor
/// walls. As root the gateway may mount, and without it hides within a user namespace.
#[test]
fn a_server_with_the_gateways_own_user_in_its_entry_reads_none_of_its_secrets() {
    let own = rustix::process::geteuid().as_raw();
    let mut kinds = vec![(None, own)];
    if is_root() {
        kinds.push((Some(23456), 23456));
    } else {
        eprintln!("skipped in part: only root can start a gateway of another user");
    }
    for (user, same) in kinds {
        for entry in [json!(same), json!(format!("{same}:{same}"))] {
            let Spied { gateway, seen } = spied(user, json!({"user": entry}));
            let mut read = read(&seen);
            if !hides(&gateway) {
                eprintln!("skipped: this system lets no files be hidden");
                read.retain(|line| !matches!(*line, "settings" | "data"));
            }
            assert_eq!(read, [""; 0], "a gateway of {user:?}");
            for secret in [TOKEN, SECRET, OTHERS] {
                assert!(!seen.contains(secret), "{seen}");
            }
        }
    }
}

#[test]
fn a_server_of_a_user_of_its_own_reads_none_of_the_gateways_secrets() {
    if !is_root() {
        eprintln!("skipped: only root can start a server of another user");
        return;
    }
    let Spied { seen, .. } = spied(None, json!({"user": "34567:34567"}));
    assert_eq!(read(&seen), [""; 0]);
    assert!(
        seen.contains("NoNewPrivs:\t1\n") && seen.contains("CapEff:\t0000000000000000"),
        "{seen}"
    );
}

/// A server of the gateway's user may rename the folders above the gateway's own.
#[track_caller]
fn a_moved_folder_stays_hidden(user: Option<u32>) {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().to_owned();
    let open = || std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(&folder, open()).unwrap();
    std::fs::create_dir(folder.join("app")).unwrap();
    std::fs::set_permissions(folder.join("app"), open()).unwrap();
    let script = folder.join("mover.sh");
    let text = r#"
        cd "$1"
        if [ ! -e app2 ]; then mv app app2 && mkdir app && exit 1; fi
        (ls app2/data; cat app2/data/*) >draft 2>&1; mv draft seen; exec sleep 1000
    "#;
    std::fs::write(&script, text).unwrap();
    let servers = json!({"mover": {"command": "sh", "args": [script, folder]}});
    let mut setup = Setup::new(&settings::standalone(servers))
        .env("MOORING_DATA", folder.join("app/data").to_str().unwrap());
    if let Some(user) = user {
        setup = setup.user(user);
    }
    let gateway = setup.start();
    if !hides(&gateway) {
        eprintln!("skipped: this system lets no files be hidden");
        return;
    }
    let seen = eventually("the second process has looked", || {
        std::fs::read_to_string(folder.join("seen")).ok()
    });
    assert!(folder.join("app2/data/local-key").exists(), "{}", gateway.log());
    assert!(!seen.contains("local-key\n") && !seen.contains("secret\n"), "{seen}");
}

#[test]
fn a_data_folder_that_a_server_moves_stays_hidden() {
    a_moved_folder_stays_hidden(None);
}

#[test]
fn a_data_folder_that_a_server_moves_stays_hidden_without_root() {
    if !is_root() {
        eprintln!("skipped: only root can start a gateway of another user");
        return;
    }
    a_moved_folder_stays_hidden(Some(23456));
}

/// An operator's choice: the server keeps what the gateway's user may do.
#[test]
fn a_server_with_privileges_sees_the_files_of_its_user() {
    let Spied { seen, .. } = spied(None, json!({"allowPrivileges": true}));
    assert!(seen.contains("NoNewPrivs:\t0\n"), "{seen}");
    assert!(read(&seen).contains(&"settings"), "{seen}");
    assert!(!seen.contains(TOKEN), "its own environment: {seen}");
}

/// Root reads the first environment of any process: what is not there cannot leak.
#[test]
fn secrets_are_wiped_from_the_environment_of_the_gateway_and_its_helpers() {
    if !is_root() {
        eprintln!("skipped: only root can read the environment of a guarded process");
        return;
    }
    let Spied { gateway, .. } = spied(Some(23456), json!({}));
    let servers = process::servers(gateway.pid());
    let mut own = process::descendants(gateway.pid());
    own.retain(|pid| !servers.contains(pid));
    own.push(gateway.pid());
    assert!(own.len() >= 4, "gateway, supervisor and two reapers: {own:?}");
    for pid in own {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
        let environment = String::from_utf8_lossy(&environment).into_owned();
        for secret in [TOKEN, SECRET, OTHERS] {
            assert!(!environment.contains(secret), "{pid}: {environment}");
        }
        // What belongs to a process that is guarded is root's, not its user's.
        let file = std::fs::metadata(format!("/proc/{pid}/environ")).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&file), 0, "{pid}");
    }
    // What is not secret stays, and so does what servers inherit.
    let environment = std::fs::read(format!("/proc/{}/environ", gateway.pid())).unwrap();
    let environment = String::from_utf8_lossy(&environment).into_owned();
    assert!(environment.contains("PATH=/") && environment.contains("PORT="), "{environment}");
}

#[test]
fn secrets_may_stand_in_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        private(&path, 0o600);
        path.to_str().unwrap().to_owned()
    };
    let (secret, empty) = (file("secret", &format!("{SECRET}\n")), file("empty", "\n"));
    let check = |variables: &[(&str, &str)]| {
        let mut setup = Setup::new(&settings::coordinator(json!({})));
        for (name, value) in variables {
            setup = setup.env(name, value);
        }
        let output = setup.run(&["check"]);
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let (code, page) =
        check(&[("MOORING_SECRET_FILE", &secret), ("MOORING_CLUSTER_TOKEN_FILE", &secret)]);
    assert_eq!(code, Some(0), "{page}");
    assert!(page.contains("cluster token   set") && page.contains("session secret  set"), "{page}");
    assert!(!page.contains("environment: "), "{page}");
    // The variable goes first.
    let (code, page) = check(&[("MOORING_SECRET_FILE", &empty), ("MOORING_SECRET", SECRET)]);
    assert_eq!(code, Some(0), "{page}");
    for (path, problem) in [
        (empty.as_str(), "which is empty"),
        ("/mooring/nowhere", "No such file"),
        ("/dev/zero", "which is not a file"),
        ("/", "which is not a file"),
    ] {
        let (code, page) = check(&[("MOORING_CLUSTER_TOKEN_FILE", path)]);
        assert_eq!(code, Some(2), "{page}");
        let finding = page.lines().find(|line| line.contains("MOORING_CLUSTER_TOKEN_FILE"));
        assert!(finding.is_some_and(|line| line.contains(problem)), "{page}");
    }
    let large = file("large", &"x".repeat(20_000));
    assert!(check(&[("MOORING_SECRET_FILE", &large)]).1.contains("a file of more than 16 KiB"));
    private(Path::new(&secret), 0o644);
    let (code, page) = check(&[("MOORING_SECRET_FILE", &secret)]);
    assert_eq!(code, Some(0), "{page}");
    assert!(page.contains("names a file that every user can read; take that right away"), "{page}");
}

fn private(path: &Path, mode: u32) {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(path, mode).unwrap();
}

#[test]
fn the_command_line_reads_its_key_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, format!("{SECRET}\n")).unwrap();
    let mut closed = settings::standalone(json!({}));
    closed["systemConfig"]["routing"] = json!({"enableBearerAuth": true, "bearerAuthKey": SECRET});
    let gateway = Setup::new(&closed).start();
    let listed = |file: &str| {
        let setup = Setup::new(&settings::standalone(json!({}))).env("MOORING_KEY_FILE", file);
        setup.run(&["ps", "--url", &gateway.url()])
    };
    let output = listed(key.to_str().unwrap());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = listed("/mooring/nowhere");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("MOORING_KEY_FILE names /mooring"), "{said}");
}
