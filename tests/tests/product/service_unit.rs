//! The unit of systemd: what it says, and that systemd understands it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use mooring_tests::{binaries, borrowed, settings};

const UNIT: &str = "systemd/mooring.service";
const CLUSTER: &str = "systemd/cluster.conf";

/// The settings of a unit file: for each the values in their order. The sections share no name.
fn unit(path: &str) -> BTreeMap<String, Vec<String>> {
    let text = settings::example(path);
    let mut found = BTreeMap::<String, Vec<String>>::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', '[']) {
            continue;
        }
        let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("{path}: {line}"));
        found.entry(name.to_owned()).or_default().push(value.to_owned());
    }
    found
}

#[test]
fn the_unit_takes_rights_away() {
    let unit = unit(UNIT);
    for (name, value) in [
        ("NoNewPrivileges", "yes"),
        ("CapabilityBoundingSet", ""),
        ("ProtectSystem", "strict"),
        ("ProtectHome", "yes"),
        ("PrivateTmp", "yes"),
        ("PrivateDevices", "yes"),
        ("ProtectKernelTunables", "yes"),
        ("ProtectKernelModules", "yes"),
        ("RestrictNamespaces", "user mnt"),
        ("RestrictSUIDSGID", "yes"),
        ("LockPersonality", "yes"),
        ("UMask", "0077"),
        ("User", "mooring"),
    ] {
        assert_eq!(unit.get(name).map(Vec::as_slice), Some(&[value.to_owned()][..]), "{name}");
    }
}

/// Each of these would keep the gateway from what it does for its servers.
#[test]
fn the_unit_leaves_the_gateway_what_it_needs() {
    let unit = unit(UNIT);
    for name in [
        "ProtectProc",
        "ProtectControlGroups",
        "MemoryDenyWriteExecute",
        "PrivateNetwork",
        "WatchdogSec",
    ] {
        assert!(!unit.contains_key(name), "{name}");
    }
    assert_eq!(unit["Type"], ["exec"], "the gateway does not notify systemd");
    assert_eq!(unit["Delegate"], ["yes"]);
    assert_eq!(unit["KillMode"], ["mixed"], "the gateway ends its servers, systemd what is left");
    assert_eq!(unit["OOMPolicy"], ["continue"], "a server without memory is not the gateway's end");
    assert_eq!(unit["Restart"], ["always"]);
    assert_eq!(unit["RestartPreventExitStatus"], ["2"], "wrong settings stay wrong");
    assert!(unit["TimeoutStopSec"][0].parse::<u32>().unwrap() > 34);
}

/// No secret in a variable, which everybody may read with `systemctl show`.
#[test]
fn secrets_come_as_credentials_through_files() {
    for (path, credential, variable) in [
        (UNIT, "session-secret", "MOORING_SECRET_FILE"),
        (CLUSTER, "cluster-token", "MOORING_CLUSTER_TOKEN_FILE"),
    ] {
        let unit = unit(path);
        assert_eq!(unit["LoadCredential"], [format!("{credential}:/etc/mooring/{credential}")]);
        let names = format!("{variable}=%d/{credential}");
        assert!(unit["Environment"].contains(&names), "{path}: {names}");
        for set in &unit["Environment"] {
            let name = set.split('=').next().unwrap();
            let is_secret =
                ["MOORING_SECRET", "MOORING_CLUSTER_TOKEN", "MOORING_KEY"].contains(&name);
            assert!(!is_secret, "{path}: {name} shows");
        }
    }
}

/// Servers see the gateway's own folder empty, so it must not be their home.
#[test]
fn the_gateways_folder_is_not_the_home_of_the_servers() {
    let unit = unit(UNIT);
    assert_eq!(unit["StateDirectory"], ["mooring"]);
    assert!(unit["Environment"].contains(&"HOME=/var/lib/mooring".to_owned()));
    assert!(unit["Environment"].contains(&"MOORING_DATA=/var/lib/mooring/gateway".to_owned()));
}

/// The command and the variables of the unit, with the folders of this machine in their places.
#[test]
fn the_units_command_finds_settings_secrets_and_data() {
    let folder = tempfile::tempdir().unwrap();
    let here = |text: &str| {
        let mut text = text.replace("%d", folder.path().join("credentials").to_str().unwrap());
        for place in ["/etc/mooring", "/var/lib/mooring"] {
            let name = place.rsplit_once('/').unwrap().0.replace('/', "-");
            text = text.replace(place, folder.path().join(&name[1..]).to_str().unwrap());
        }
        text.replace("/usr/local/bin/mooring", binaries::mooring().to_str().unwrap())
    };
    for name in ["credentials", "etc", "var-lib"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    for credential in ["session-secret", "cluster-token"] {
        let file = folder.path().join("credentials").join(credential);
        std::fs::write(&file, "0123456789abcdef0123456789abcdef\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o400);
        std::fs::set_permissions(&file, mode).unwrap();
    }
    let settings = settings::coordinator(serde_json::json!({}));
    std::fs::write(folder.path().join("etc/mcp_settings.json"), settings.to_string()).unwrap();
    let (main, cluster) = (unit(UNIT), unit(CLUSTER));
    let variables = main["Environment"].iter().chain(&cluster["Environment"]);
    let variables = variables.map(|set| here(set)).collect::<Vec<_>>();
    let command = here(&main["ExecStart"][0]);
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().unwrap())
        .args(words)
        .arg("check")
        .env_clear()
        .envs(variables.iter().map(|set| set.split_once('=').unwrap()))
        .current_dir(here(&main["WorkingDirectory"][0]))
        .output()
        .unwrap();
    let says = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{says}");
    assert!(!says.contains("_FILE"), "the files can be read by nobody else: {says}");
    let page = String::from_utf8_lossy(&output.stdout);
    for row in ["mode coordinator", "cluster token set", "session secret set"] {
        let is_it = |line: &str| line.split_whitespace().eq(row.split_whitespace());
        assert!(page.lines().any(is_it), "{row}: {page}");
    }
    assert!(page.contains("/var-lib/gateway"), "{page}");
}

#[test]
fn systemd_understands_the_unit() {
    let Some(analyze) = borrowed::on_the_path("systemd-analyze") else {
        borrowed::skip("the unit of systemd", "systemd-analyze is not installed");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mooring.service");
    // It looks whether the program is there.
    let text = settings::example(UNIT);
    let here = text.replace("/usr/local/bin/mooring", binaries::mooring().to_str().unwrap());
    assert_ne!(here, text);
    std::fs::write(&file, here).unwrap();
    let beside = folder.path().join("mooring.service.d");
    std::fs::create_dir(&beside).unwrap();
    std::fs::write(beside.join("cluster.conf"), settings::example(CLUSTER)).unwrap();
    assert_eq!(complaints(&analyze, &file), "");

    let wrong = folder.path().join("wrong.service");
    let text = std::fs::read_to_string(&file).unwrap().replace("KillMode=", "KilMode=");
    std::fs::write(&wrong, text).unwrap();
    assert!(complaints(&analyze, &wrong).contains("KilMode"), "it tells what it does not know");
}

/// The score is systemd's own: 0 for a service that can do nothing, 10 for one that may do all.
#[test]
fn systemd_finds_the_unit_little_exposed() {
    let Some(analyze) = borrowed::on_the_path("systemd-analyze") else {
        borrowed::skip("the exposure of the unit", "systemd-analyze is not installed");
        return;
    };
    let unit = settings::repository().join("examples").join(UNIT);
    let judged = |file: &Path| {
        let words = ["security", "--offline=yes", "--no-pager", "--threshold=29"];
        let output = Command::new(&analyze).args(words).arg(file).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), said)
    };
    let (is_low, said) = judged(&unit);
    assert!(is_low, "above 2.9: {said}");
    let folder = tempfile::tempdir().unwrap();
    let open = folder.path().join("open.service");
    let text = settings::example(UNIT).replace("ProtectSystem=strict", "ProtectSystem=no");
    std::fs::write(&open, text.replace("NoNewPrivileges=yes", "")).unwrap();
    assert!(!judged(&open).0, "it tells an open unit from a closed one");
}

/// What systemd says of a unit, in lines that name its file.
fn complaints(analyze: &Path, file: &Path) -> String {
    let output = Command::new(analyze).args(["verify", "--man=no"]).arg(file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let ours = said.lines().filter(|line| line.contains(file.to_str().unwrap()));
    let mut ours: Vec<String> = ours.map(str::to_owned).collect();
    if !output.status.success() && ours.is_empty() {
        ours.push(said);
    }
    ours.join("\n")
}
