//! Commands and paths that only Windows has.

use crate::config::reader::section::Section;

/// Programs that come with Windows.
const PROGRAMS: [&str; 4] = ["cmd", "cmd.exe", "powershell", "powershell.exe"];

/// Warns of an entry that was written for Windows. It may run all the same, in an image that has
/// what it names.
pub(in crate::config) fn warn(entry: &Section<'_>, command: &str, args: &[String]) {
    if cfg!(windows) {
        return;
    }
    let is_program = PROGRAMS.iter().any(|program| command.eq_ignore_ascii_case(program));
    if is_program && let Some(item) = entry.get("command") {
        let message = format!("{command} is a program of Windows, which does not exist here");
        item.warn(message, "write the command that it runs, without it and /c");
        return;
    }
    let paths = std::iter::once(command).chain(args.iter().map(String::as_str));
    let Some(drive) = paths.filter_map(drive_of).next() else { return };
    let message = format!("{drive} is a drive of Windows, which does not exist here");
    entry.notes.warn(&entry.place, message, "write the path that the file has on this machine");
}

/// `C:` of `C:\dir\file` or `C:/dir`.
fn drive_of(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    let is_drive =
        matches!(bytes, [letter, b':', b'\\' | b'/', ..] if letter.is_ascii_alphabetic());
    text.get(..2).filter(|_| is_drive)
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
}
