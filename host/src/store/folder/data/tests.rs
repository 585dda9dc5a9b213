use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use crate::store::folder::secrets::SecretKept;

use super::*;

fn fresh() -> PathBuf {
    std::env::temp_dir().join(format!("mooring-data-{}", crate::model::SessionId::mint()))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_secret_is_the_same_at_the_next_start_and_private() {
    let path = fresh();
    let first = DataFolder::open(&path).unwrap().secret("secret");
    assert_eq!(DataFolder::open(&path).unwrap().secret("secret"), first);
    assert_ne!(DataFolder::memory().secret("secret"), first);
    assert_eq!((mode(&path), mode(&path.join("secret"))), (0o700, 0o600));
    fs::remove_dir_all(path).unwrap();
}

#[test]
fn modes_that_let_others_write_or_read_secrets_are_mended() {
    let path = fresh();
    let secret = DataFolder::open(&path).unwrap().secret("secret");
    set_mode(&path, 0o777);
    set_mode(&path.join("secret"), 0o644);
    assert_eq!(DataFolder::open(&path).unwrap().secret("secret"), secret);
    assert_eq!((mode(&path), mode(&path.join("secret"))), (0o755, 0o600));
    fs::remove_dir_all(path).unwrap();
}

#[test]
fn no_link_is_followed_and_its_target_stays_as_it_is() {
    let path = fresh();
    let folder = DataFolder::open(&path).unwrap();
    let target = path.join("target");
    fs::write(&target, [7; 64]).unwrap();
    for name in ["secret", "ended-sessions", "nodes.json"] {
        symlink(&target, path.join(name)).unwrap();
        assert_eq!(folder.read(name), None, "{name}");
    }
    assert_ne!(folder.secret("secret"), [7; 64]);
    assert!(folder.append("ended-sessions", "line").is_err());
    folder.write("nodes.json", b"[]").unwrap();
    assert_eq!(folder.read("nodes.json").as_deref(), Some(b"[]".as_slice()));
    assert_eq!(fs::read(&target).unwrap(), [7; 64]);
    // Nor a link in the place of the subfolder.
    let elsewhere = fresh();
    fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, path.join("sessions")).unwrap();
    assert!(folder.write("sessions/a", b"x").is_err());
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    fs::remove_dir_all(path).unwrap();
    fs::remove_dir_all(elsewhere).unwrap();
}

#[test]
fn the_folder_itself_may_be_a_link() {
    let (path, link) = (fresh(), fresh());
    fs::create_dir(&path).unwrap();
    symlink(&path, &link).unwrap();
    DataFolder::open(&link).unwrap().write("a", b"x").unwrap();
    assert_eq!(fs::read(path.join("a")).unwrap(), b"x");
    fs::remove_file(link).unwrap();
    fs::remove_dir_all(path).unwrap();
}

#[test]
#[cfg(target_os = "linux")]
fn a_pipe_or_a_file_with_two_names_is_not_written() {
    let path = fresh();
    let folder = DataFolder::open(&path).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        path.join("nodes.json"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    assert_eq!(folder.read("nodes.json"), None);
    fs::write(path.join("other"), "x").unwrap();
    fs::hard_link(path.join("other"), path.join("ended-sessions")).unwrap();
    assert!(folder.append("ended-sessions", "line").is_err());
    assert_eq!(fs::read(path.join("other")).unwrap(), b"x");
    fs::remove_dir_all(path).unwrap();
}

#[test]
fn a_folder_that_was_removed_is_made_again() {
    let path = fresh();
    let folder = DataFolder::open(&path).unwrap();
    fs::remove_dir_all(&path).unwrap();
    folder.write("sessions/a", b"x").unwrap();
    assert_eq!(folder.read("sessions/a").as_deref(), Some(b"x".as_slice()));
    assert_eq!(folder.state().0, FolderState::Fine);
    fs::remove_dir_all(path).unwrap();
}

#[test]
fn what_a_killed_writer_has_left_is_removed() {
    let path = fresh();
    let folder = DataFolder::open(&path).unwrap();
    let (old, young) = (path.join(".secret.1.draft"), path.join(".secret.2.draft"));
    for draft in [&old, &young] {
        fs::write(draft, "half").unwrap();
    }
    let long_ago = std::time::SystemTime::now() - 2 * DRAFT_AGE;
    fs::File::options().write(true).open(&old).unwrap().set_modified(long_ago).unwrap();
    folder.check();
    assert!(!old.exists() && young.exists());
    assert!(folder.files("").is_empty());
    fs::remove_dir_all(path).unwrap();
}

/// With a file in the subfolder's place, nothing can be written there: for root neither.
#[test]
fn a_failure_shows_in_the_state_until_it_is_over() {
    let path = fresh();
    let folder = DataFolder::open(&path).unwrap();
    fs::write(path.join("sessions"), "").unwrap();
    assert!(folder.write("sessions/a", b"x").is_err());
    assert_eq!((folder.state().0, folder.failures()), (FolderState::Unwritable, 1));
    folder.check();
    assert_eq!(folder.state().0, FolderState::Unwritable, "it is not over");
    fs::remove_file(path.join("sessions")).unwrap();
    folder.write("sessions/a", b"x").unwrap();
    folder.check();
    assert_eq!(folder.state(), (FolderState::Fine, String::new()));
    assert_eq!(folder.renewals(), Renewals { recovered: 1, replaced: 0 });
    fs::remove_dir_all(path).unwrap();
}

#[test]
fn a_folder_that_comes_late_gets_what_this_process_goes_by() {
    let path = fresh();
    fs::write(&path, "in the way").unwrap();
    let folder = DataFolder::open(&path).unwrap();
    assert_eq!(folder.state().0, FolderState::Absent);
    let secret = folder.secret("secret");
    assert!(folder.write("nodes.json", b"[]").is_err() && folder.exists());
    fs::remove_file(&path).unwrap();
    folder.check();
    assert_eq!(folder.state().0, FolderState::Fine);
    assert_eq!(folder.renewals(), Renewals { recovered: 1, replaced: 1 });
    folder.restore();
    assert_eq!(DataFolder::open(&path).unwrap().secret("secret"), secret);
    fs::remove_dir_all(path).unwrap();
}

#[test]
fn another_folder_at_the_path_is_used_and_its_own_key_stays() {
    let (path, aside) = (fresh(), fresh());
    let folder = DataFolder::open(&path).unwrap();
    let secret = folder.secret("secret");
    fs::rename(&path, &aside).unwrap();
    let other = DataFolder::open(&path).unwrap().secret("secret");
    folder.check();
    folder.restore();
    assert_eq!(folder.renewals().replaced, 1);
    assert_eq!(fs::read(path.join("secret")).unwrap(), other);
    folder.write("a", b"x").unwrap();
    assert!(path.join("a").exists() && !aside.join("a").exists());
    assert_ne!(secret, other);
    fs::remove_dir_all(path).unwrap();
    fs::remove_dir_all(aside).unwrap();
}

#[test]
fn a_text_for_people_is_made_once_and_may_be_their_own() {
    let path = fresh();
    let folder = || DataFolder::open(&path).unwrap();
    let (made, kept) = folder().text_secret("key");
    assert_eq!((made.len(), kept), (64, SecretKept::Now));
    assert_eq!(folder().read("key").unwrap(), format!("{made}\n").into_bytes());
    assert_eq!(folder().text_secret("key"), (made, SecretKept::Before));
    let own = "a-key-of-the-operator";
    folder().write("key", format!(" {own}\n").as_bytes()).unwrap();
    assert_eq!(folder().text_secret("key"), (own.to_owned(), SecretKept::Before));
    for unusable in ["", "short", "two words that are long"] {
        folder().write("key", unusable.as_bytes()).unwrap();
        let (made, kept) = folder().text_secret("key");
        assert_eq!((made.len(), kept), (64, SecretKept::Now), "{unusable}");
    }
    let (first, kept) = DataFolder::memory().text_secret("key");
    assert_eq!((first.len(), kept), (64, SecretKept::Not));
    fs::remove_dir_all(path).unwrap();
}
