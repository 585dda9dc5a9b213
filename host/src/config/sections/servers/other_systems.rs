//! Commands, paths and variables that only Windows has.

use crate::config::reader::section::Section;

/// Programs that come with Windows.
const PROGRAMS: [&str; 3] = ["cmd", "powershell", "wsl"];
/// How names of programs end there.
const ENDINGS: [&str; 4] = [".exe", ".cmd", ".bat", ".ps1"];
/// Variables that stand there between percent signs, as `%APPDATA%`.
const VARIABLES: [&str; 13] = [
    "APPDATA",
    "LOCALAPPDATA",
    "USERPROFILE",
    "HOMEPATH",
    "HOMEDRIVE",
    "PROGRAMFILES",
    "PROGRAMDATA",
    "SYSTEMROOT",
    "WINDIR",
    "TEMP",
    "TMP",
    "USERNAME",
    "PATH",
];

/// Warns of an entry that was written for Windows. It may run all the same, in an image that has
/// what it names. `texts` are its arguments, its folder and the values of its variables.
pub(in crate::config) fn warn<'t>(
    entry: &Section<'_>,
    command: &'t str,
    texts: impl Iterator<Item = &'t str>,
) {
    if cfg!(windows) {
        return;
    }
    if drive_of(command).is_none()
        && is_of_windows(command)
        && let Some(item) = entry.get("command")
    {
        let message = format!("{command} is a program of Windows, which does not exist here");
        let advice = match is_shell(command) {
            true => "write the command that it runs, without it and /c",
            false => "write the name that the program has on this machine",
        };
        item.warn(message, advice);
        return;
    }
    let found = std::iter::once(command).chain(texts).find_map(|text| {
        let of_drive = drive_of(text).map(|drive| (drive, "drive"));
        of_drive.or_else(|| variable_in(text).map(|variable| (variable, "variable")))
    });
    let Some((found, what)) = found else { return };
    let message = format!("{found} is a {what} of Windows, which does not exist here");
    entry.notes.warn(&entry.place, message, "write the path that the file has on this machine");
}

/// Whether a command is a program of Windows, or a path with a drive.
#[must_use]
pub fn is_of_windows(command: &str) -> bool {
    let lower = command.to_ascii_lowercase();
    let has_ending = ENDINGS.iter().any(|ending| lower.ends_with(ending));
    drive_of(command).is_some() || is_shell(command) || (has_ending && !command.starts_with('/'))
}

fn is_shell(command: &str) -> bool {
    let lower = command.to_ascii_lowercase();
    PROGRAMS.contains(&lower.strip_suffix(".exe").unwrap_or(&lower))
}

/// `C:` of `C:\dir\file` or `C:/dir`.
fn drive_of(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    let is_drive =
        matches!(bytes, [letter, b':', b'\\' | b'/', ..] if letter.is_ascii_alphabetic());
    text.get(..2).filter(|_| is_drive)
}

/// `%APPDATA%` of `%APPDATA%\npm`.
fn variable_in(text: &str) -> Option<&str> {
    let is_known = |name: &str| VARIABLES.iter().any(|known| known.eq_ignore_ascii_case(name));
    let starts = text.match_indices('%').map(|(at, _)| at);
    starts.zip(text.split('%').skip(1)).find_map(|(at, name)| {
        let end = at + name.len() + 2;
        text.get(at..end).filter(|found| found.ends_with('%') && is_known(name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drive_is_one_letter_before_a_colon_and_a_slash() {
        assert_eq!(drive_of(r"C:\Users\ann"), Some("C:"));
        assert_eq!(drive_of("d:/x"), Some("d:"));
        for text in ["http://x", "a:b", "C:", "/c/x", "", "é:/"] {
            assert_eq!(drive_of(text), None, "{text}");
        }
    }

    #[test]
    fn variables_of_windows_stand_between_percent_signs() {
        assert_eq!(variable_in(r"%APPDATA%\npm"), Some("%APPDATA%"));
        assert_eq!(variable_in("50% of %UserProfile%/x"), Some("%UserProfile%"));
        for text in ["%APPDATA", "APPDATA%", "%20TEMP%20", "%H%M%S", "%%", "%", "é%x%"] {
            assert_eq!(variable_in(text), None, "{text}");
        }
    }

    #[test]
    fn programs_and_paths_of_windows_are_known() {
        for command in [
            "cmd",
            "CMD.EXE",
            "wsl.exe",
            "npx.cmd",
            "C:\\a\\b.exe",
            "C:/Program Files/npx.cmd",
            "x\\run.BAT",
        ] {
            assert!(is_of_windows(command), "{command}");
        }
        for command in ["npx", "/usr/bin/cmd", "./run", "c:x", "a:b", "pwsh", "/opt/wine/x.exe"] {
            assert!(!is_of_windows(command), "{command}");
        }
    }
}
