//! Files that the settings name for what is in them: `${file:/path}`, `${credential:name}`, and those
//! of a server's `tls`. Each is read once a load, within bounds, and is watched from then on. Links
//! are followed: Kubernetes mounts secrets as links.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Bytes of a secret: keys and service accounts have a few KiB.
const MAX_SECRET: usize = 64 << 10;
/// Bytes of a file with certificates.
const MAX_PEM: usize = 1 << 20;
/// Files that one settings file may name.
const MAX_FILES: usize = 1000;
/// Characters of a path.
const MAX_PATH: usize = 4096;

/// Where a secret is that a reference names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum SecretSource {
    /// `${file:/path}`
    File,
    /// `${credential:name}`: a file in the folder that systemd has made for this process.
    Credential,
}

impl SecretSource {
    pub fn of(word: &str) -> Option<Self> {
        match word {
            "file" => Some(Self::File),
            "credential" => Some(Self::Credential),
            _ => None,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Credential => "credential",
        }
    }
}

/// What one load has read of such files. It has no `Debug`: contents are secrets.
#[derive(Clone, Default)]
pub struct SecretFiles {
    /// Where relative paths start.
    folder: PathBuf,
    found: Rc<RefCell<BTreeMap<PathBuf, Found>>>,
}

struct Found {
    /// What is in it, or why it cannot be used.
    content: Result<Rc<[u8]>, String>,
    /// Whether it is nobody's business but the gateway's.
    is_secret: bool,
}

impl SecretFiles {
    /// Files of a settings file in this folder.
    pub(in crate::config) fn of(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), found: Rc::default() }
    }

    /// The text of a file, without the line break at its end.
    ///
    /// # Errors
    /// Why it cannot be used; nothing of its content.
    pub(in crate::config) fn text(&self, path: &str) -> Result<String, String> {
        let content = self.content(path, MAX_SECRET, true)?;
        let text = std::str::from_utf8(&content).map_err(|_| "is not UTF-8 text")?;
        let text =
            text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
        match text.is_empty() {
            true => Err("is empty".to_owned()),
            false => Ok(text.to_owned()),
        }
    }

    /// The text of a credential in this folder of systemd's.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(in crate::config) fn credential(
        &self,
        folder: Option<String>,
        name: &str,
    ) -> Result<String, String> {
        // What systemd allows; a path would leave the folder.
        let is_name = |c: char| !c.is_control() && c != '/';
        if name == "." || name == ".." || name.len() > 255 || !name.chars().all(is_name) {
            return Err("is not the name of a credential".to_owned());
        }
        let folder = folder.ok_or("CREDENTIALS_DIRECTORY is not set, so there are none")?;
        let path = Path::new(&folder).join(name);
        self.text(path.to_str().ok_or("is not UTF-8 text")?)
    }

    /// What is in a file of certificates or with a key, in PEM.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub(in crate::config) fn pem(&self, path: &str, is_secret: bool) -> Result<Rc<[u8]>, String> {
        self.content(path, MAX_PEM, is_secret)
    }

    /// All files that were named so far, whether they can be used or not.
    pub(in crate::config) fn named(&self) -> Vec<PathBuf> {
        self.found.borrow().keys().cloned().collect()
    }

    /// Those of them that no server may read.
    pub(in crate::config) fn secret(&self) -> Vec<PathBuf> {
        let found = self.found.borrow();
        let secret = found.iter().filter(|(_, found)| found.is_secret);
        secret.map(|(path, _)| path.clone()).collect()
    }

    fn content(&self, path: &str, most: usize, is_secret: bool) -> Result<Rc<[u8]>, String> {
        if path.is_empty() || path.len() > MAX_PATH || path.contains('\0') {
            return Err("is not the path of a file".to_owned());
        }
        let path = self.folder.join(path);
        let mut all = self.found.borrow_mut();
        if all.len() >= MAX_FILES && !all.contains_key(&path) {
            return Err(format!("more than {MAX_FILES} files are named"));
        }
        let found = all
            .entry(path.clone())
            .or_insert_with(|| Found { content: read(&path), is_secret: false });
        found.is_secret |= is_secret;
        match &found.content {
            Ok(content) if content.len() > most => Err(format!("has more than {} KiB", most >> 10)),
            content => content.clone(),
        }
    }
}

fn read(path: &Path) -> Result<Rc<[u8]>, String> {
    let failed = |error: std::io::Error| error.to_string();
    // Before it is opened, since a named pipe would wait for its other end.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err("is not a file".to_owned());
    }
    let mut content = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_PEM as u64 + 1).read_to_end(&mut content).map_err(failed)?;
    Ok(content.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_once_and_its_last_line_break_is_not_part_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &[u8]| std::fs::write(folder.path().join(name), text).unwrap();
        for (name, text, expect) in [
            ("a", &b"s3cret\n"[..], Ok("s3cret")),
            ("b", b"s3cret\r\n", Ok("s3cret")),
            ("c", b" two\nlines\n\n", Ok(" two\nlines\n")),
            ("d", b"", Err("is empty")),
            ("e", b"\n", Err("is empty")),
            ("f", b"\xff\xfe", Err("is not UTF-8 text")),
            ("g", &[b'x'; MAX_SECRET], Ok("x")),
            ("h", &[b'x'; MAX_SECRET + 1], Err("has more than 64 KiB")),
        ] {
            write(name, text);
            let found = SecretFiles::of(folder.path()).text(name);
            match expect {
                Ok("x") => assert_eq!(found.map(|text| text.len()), Ok(MAX_SECRET)),
                expect => assert_eq!(found, expect.map(str::to_owned).map_err(str::to_owned)),
            }
        }
        let files = SecretFiles::of(folder.path());
        assert_eq!(files.text("a").as_deref(), Ok("s3cret"));
        write("a", b"another");
        assert_eq!(files.text("a").as_deref(), Ok("s3cret"), "one load sees one content");
        assert_eq!(SecretFiles::of(folder.path()).text("a").as_deref(), Ok("another"));
        assert!(files.pem("b", false).is_ok());
        let at = |name: &str| folder.path().join(name);
        assert_eq!(files.named(), [at("a"), at("b")]);
        assert_eq!(files.secret(), [at("a")]);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_is_no_file_is_not_waited_for_and_is_named_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        std::os::unix::fs::symlink("nowhere", folder.path().join("link")).unwrap();
        let files = SecretFiles::of(folder.path());
        assert_eq!(files.text("pipe"), Err("is not a file".to_owned()));
        assert_eq!(files.text("."), Err("is not a file".to_owned()));
        assert!(files.text("link").unwrap_err().contains("No such file"));
        assert_eq!(files.text(""), Err("is not the path of a file".to_owned()));
        assert_eq!(files.text("a\0b"), Err("is not the path of a file".to_owned()));
        // It may come to be there.
        assert!(files.named().contains(&folder.path().join("link")));
    }

    #[test]
    fn credentials_stay_in_their_folder() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("credentials");
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(inner.join("key"), "k\n").unwrap();
        std::fs::write(folder.path().join("other"), "o").unwrap();
        let files = SecretFiles::of(folder.path());
        let of = |name: &str| files.credential(inner.to_str().map(str::to_owned), name);
        assert_eq!(of("key").as_deref(), Ok("k"));
        for name in ["../other", "..", ".", "/etc/hostname", "a/b"] {
            assert_eq!(of(name), Err("is not the name of a credential".to_owned()), "{name}");
        }
        assert!(files.credential(None, "key").unwrap_err().contains("CREDENTIALS_DIRECTORY"));
    }
}
