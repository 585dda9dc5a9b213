//! `mooring cluster`: a small authority in a folder, and the certificates by which coordinator and
//! nodes know each other.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::model::{NodeId, SessionId, UnixMillis};
use crate::tls::{Authority, AuthorityRecord, MadeCertificate, Role};

use super::args::ClusterCommand;
use super::table::table;
use super::terminal;

/// Files of the folder: what the gateways read, and what only the authority needs.
const CA: &str = "ca.pem";
const REVOKED: &str = "revoked.pem";
const CA_KEY: &str = "ca.key";
const RECORD: &str = "authority.json";
/// Bytes of a file that is read. The record has about 150 for each certificate.
const MAX_FILE: u64 = 64 << 20;

/// For the user alone, and for everybody.
const PRIVATE: u32 = 0o600;
const PUBLIC: u32 = 0o644;

pub fn run(command: &ClusterCommand) -> ExitCode {
    let done = match command {
        ClusterCommand::Init { dir, nodes, hosts, days } => init(dir, nodes, hosts, *days),
        ClusterCommand::Certificate { name, dir, hosts, days } => {
            certificate(dir, name, hosts, *days)
        }
        ClusterCommand::Revoke { name, dir } => revoke(dir, name),
        ClusterCommand::Certificates { dir } => certificates(dir),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => super::wrong(&why),
    }
}

fn init(dir: &Path, nodes: &[String], hosts: &[String], days: u64) -> Result<(), String> {
    let roles: Result<Vec<Role>, String> = nodes.iter().map(|name| role_of(name)).collect();
    let roles = roles?;
    let mut known = vec![&Role::Coordinator];
    for (role, name) in roles.iter().zip(nodes) {
        if known.contains(&role) {
            return Err(format!(
                "{name} would get two certificates: name each node once, and not the coordinator, \
                 which gets its own anyway"
            ));
        }
        known.push(role);
    }
    let folder = Folder::make(dir)?;
    let (mut authority, own) = Authority::make()?;
    folder.write(CA_KEY, &own.key, PRIVATE)?;
    folder.write(CA, &own.cert, PUBLIC)?;
    let list = authority.list()?;
    folder.record(&authority)?;
    folder.write(REVOKED, &list, PUBLIC)?;
    terminal::say(format!(
        "authority        {} (valid until {}): goes to every process\n\
         its key          {}: keep it here, where no gateway runs\n\
         revoked          {}: goes to every process, again after each `mooring cluster revoke`",
        folder.shown(CA),
        day(own.expires),
        folder.shown(CA_KEY),
        folder.shown(REVOKED)
    ));
    for role in std::iter::once(&Role::Coordinator).chain(&roles) {
        let made = authority.certify(role, hosts, days)?;
        folder.record(&authority)?;
        say_made(&folder, role, &made)?;
    }
    say_settings(&folder, roles.first().unwrap_or(&Role::Coordinator));
    Ok(())
}

fn certificate(dir: &Path, name: &str, hosts: &[String], days: u64) -> Result<(), String> {
    let role = role_of(name)?;
    let (folder, mut authority) = opened(dir)?;
    let made = authority.certify(&role, hosts, days)?;
    // Recorded first: what is not on record cannot be revoked.
    folder.record(&authority)?;
    say_made(&folder, &role, &made)?;
    let of_it = |issued: &&crate::tls::IssuedCertificate| issued.name == role.to_string();
    let good = authority.record.issued.iter().filter(of_it);
    let good = good.filter(|issued| issued.revoked.is_none() && issued.expires > now()).count();
    if good > 1 {
        terminal::say(format!(
            "earlier ones of {name} stay good until they expire; if one may be in wrong hands, \
             revoke them all and make a new one"
        ));
    } else {
        say_settings(&folder, &role);
    }
    Ok(())
}

fn revoke(dir: &Path, name: &str) -> Result<(), String> {
    let role = role_of(name)?;
    let (folder, mut authority) = opened(dir)?;
    let count = authority.revoke(&role);
    if count == 0 {
        return Err(format!(
            "{name} has no certificate that is good; `mooring cluster certificates` lists them"
        ));
    }
    let list = authority.list()?;
    folder.record(&authority)?;
    folder.write(REVOKED, &list, PUBLIC)?;
    terminal::say(format!(
        "revoked {count} of {name}\n\
         put {} in the place of the one that each process has (cluster.tls.revoked): it is taken up \
         within seconds, and ends what connections {name} has",
        folder.shown(REVOKED)
    ));
    Ok(())
}

fn certificates(dir: &Path) -> Result<(), String> {
    let folder = Folder(dir.to_owned());
    let record = folder.read_record()?;
    let rows: Vec<[String; 4]> = record
        .issued
        .iter()
        .map(|issued| {
            let state = match issued.revoked {
                Some(at) => format!("revoked {}", day(at)),
                None if issued.expires <= now() => "expired".to_owned(),
                None => "good".to_owned(),
            };
            [issued.name.clone(), state, day(issued.expires), issued.serial.clone()]
        })
        .collect();
    terminal::say(table(["NAME", "STATE", "EXPIRES", "SERIAL"], &rows).trim_end());
    Ok(())
}

/// `coordinator`, the id of a node, or what ids begin with and `*`.
fn role_of(name: &str) -> Result<Role, String> {
    if name == NodeId::coordinator().as_str() {
        return Ok(Role::Coordinator);
    }
    let why = || match NodeId::parse(name.trim_end_matches('*')) {
        Err(error) => format!("the name {name:?} {error}"),
        Ok(_) => format!("the name {name:?} has more than one * at its end"),
    };
    Role::of_node(name).ok_or_else(why)
}

/// What the names of a process's files begin with.
fn stem(role: &Role) -> String {
    match role {
        Role::Coordinator => "coordinator".to_owned(),
        Role::Node(id) => format!("node-{id}"),
        Role::Nodes(start) if start.is_empty() => "nodes".to_owned(),
        Role::Nodes(start) => format!("nodes-{start}"),
    }
}

fn say_made(folder: &Folder, role: &Role, made: &MadeCertificate) -> Result<(), String> {
    let stem = stem(role);
    let (cert, key) = (format!("{stem}.pem"), format!("{stem}.key"));
    folder.write(&key, &made.key, PRIVATE)?;
    folder.write(&cert, &made.cert, PUBLIC)?;
    terminal::say(format!(
        "{stem:<16} {}, {} (valid until {})",
        folder.shown(&cert),
        folder.shown(&key),
        day(made.expires)
    ));
    Ok(())
}

fn say_settings(folder: &Folder, role: &Role) {
    let stem = stem(role);
    let id = match role {
        Role::Coordinator => String::new(),
        Role::Nodes(_) => ", \"node\": { \"coordinatorUrl\": \"https://…\" }".to_owned(),
        Role::Node(id) => {
            format!(", \"node\": {{ \"id\": \"{id}\", \"coordinatorUrl\": \"https://…\" }}")
        }
    };
    terminal::say(format!(
        "in systemConfig.cluster of each process, with its own certificate:\n  \
         \"tls\": {{ \"ca\": \"{CA}\", \"cert\": \"{stem}.pem\", \"key\": \"{stem}.key\", \
         \"revoked\": \"{REVOKED}\" }}{id}\n\
         a certificate is renewed by `mooring cluster certificate NAME --dir {}`; a new one in the \
         place of the old is taken up without a restart",
        folder.0.display()
    ));
}

fn opened(dir: &Path) -> Result<(Folder, Authority), String> {
    let folder = Folder(dir.to_owned());
    let record = folder.read_record()?;
    let key = folder.read(CA_KEY)?;
    let authority = Authority::of(record, key.as_bytes());
    let authority = authority.map_err(|why| format!("{}: {why}", folder.shown(CA_KEY)))?;
    Ok((folder, authority))
}

fn now() -> u64 {
    UnixMillis::now().0 / 1000
}

fn day(seconds: u64) -> String {
    UnixMillis(seconds.saturating_mul(1000)).iso8601().chars().take(10).collect()
}

/// The folder of the authority.
struct Folder(PathBuf);

impl Folder {
    /// A new one, or one that has no authority yet.
    fn make(dir: &Path) -> Result<Self, String> {
        use std::os::unix::fs::DirBuilderExt as _;
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|error| format!("{}: {error}", dir.display()))?;
        let folder = Self(dir.to_owned());
        for name in [CA_KEY, CA, RECORD] {
            if std::fs::symlink_metadata(folder.0.join(name)).is_ok() {
                return Err(format!(
                    "{} is there already: `mooring cluster certificate` makes further certificates; \
                     another authority needs another folder",
                    folder.shown(name)
                ));
            }
        }
        Ok(folder)
    }

    fn shown(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    fn read(&self, name: &str) -> Result<String, String> {
        let path = self.0.join(name);
        let at = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => format!(
                "{} is not there: name the folder of `mooring cluster init` with --dir",
                path.display()
            ),
            _ => format!("{}: {error}", path.display()),
        };
        let found = std::fs::metadata(&path).map_err(at)?;
        if !found.is_file() || found.len() > MAX_FILE {
            return Err(format!("{} is not a file of this authority", path.display()));
        }
        std::fs::read_to_string(&path).map_err(at)
    }

    fn read_record(&self) -> Result<AuthorityRecord, String> {
        let text = self.read(RECORD)?;
        serde_json::from_str(&text).map_err(|error| format!("{}: {error}", self.shown(RECORD)))
    }

    fn record(&self, authority: &Authority) -> Result<(), String> {
        let text = serde_json::to_string_pretty(&authority.record);
        let text = text.map_err(|error| error.to_string())?;
        self.write(RECORD, &text, PRIVATE)
    }

    /// Replaces a file at once.
    fn write(&self, name: &str, text: &str, mode: u32) -> Result<(), String> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let (file, draft) =
            (self.0.join(name), self.0.join(format!("{name}.{}", SessionId::mint())));
        let new = std::fs::File::options().write(true).create_new(true).mode(mode).open(&draft);
        let written = new.and_then(|mut new| {
            std::io::Write::write_all(&mut new, text.as_bytes())?;
            new.sync_all()?;
            std::fs::rename(&draft, &file)
        });
        written.map_err(|error| {
            let _ = std::fs::remove_file(&draft);
            format!("{}: {error}", file.display())
        })
    }
}
