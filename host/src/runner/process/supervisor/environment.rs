//! Keeps the gateway's secrets from processes of the same user: neither its memory nor its first
//! environment can be read through `/proc`.

use std::ffi::CStr;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

/// With the value 1 debuggers may attach to the gateway and it may dump core, and so may any
/// process of its user read its secrets.
pub const DUMPABLE: &str = "MOORING_DUMPABLE";

#[allow(unsafe_code, reason = "the C library has no function that lists the environment")]
unsafe extern "C" {
    /// The C library's list of `NAME=value`, ended by a null pointer.
    static environ: *const *mut libc::c_char;
}

/// Only root may attach to this process, read its memory or dump its core from here on. Call it
/// first in `main`; processes that it forks are alike, those that it starts are not.
pub fn guard_memory() {
    if std::env::var_os(DUMPABLE).is_none_or(|value| value != "1") {
        // Cannot fail on a kernel that runs this program.
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
}

/// Overwrites the values of these variables in this process's environment, which
/// `/proc/self/environ` shows as it was at the start, and removes them. Call it while there is one
/// thread.
#[allow(unsafe_code, reason = "the first environment has no safe interface")]
pub fn forget_variables<'n>(names: impl IntoIterator<Item = &'n str>) {
    for name in names {
        // SAFETY: this process has one thread, so that nothing reads or changes the environment
        // meanwhile. The list and its texts end with null; only bytes before a text's end are
        // written, in memory that belongs to the environment and is writable.
        unsafe {
            let mut entry = environ;
            while !entry.is_null() && !(*entry).is_null() {
                if let Some(offset) = value_offset(CStr::from_ptr(*entry).to_bytes(), name) {
                    wipe((*entry).add(offset));
                }
                entry = entry.add(1);
            }
            std::env::remove_var(name);
        }
    }
}

/// Where the value starts, if this entry has this name.
fn value_offset(entry: &[u8], name: &str) -> Option<usize> {
    let rest = entry.strip_prefix(name.as_bytes())?;
    rest.starts_with(b"=").then_some(name.len() + 1)
}

/// # Safety
/// The pointer leads to a writable text that ends with null.
#[allow(unsafe_code, reason = "the first environment has no safe interface")]
unsafe fn wipe(text: *mut libc::c_char) {
    let mut at = text;
    // SAFETY: every byte up to the null belongs to the text.
    unsafe {
        while at.read() != 0 {
            // Volatile, since nothing reads the zeros.
            at.write_volatile(0);
            at = at.add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_variable_of_the_whole_name_is_found() {
        assert_eq!(value_offset(b"KEY=abc", "KEY"), Some(4));
        assert_eq!(value_offset(b"KEY_FILE=abc", "KEY"), None);
        assert_eq!(value_offset(b"KEY", "KEY"), None);
        assert_eq!(value_offset(b"MY_KEY=abc", "KEY"), None);
    }
}
