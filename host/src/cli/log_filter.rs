//! What `MOORING_LOG` shows. A bare level is that of Mooring alone: the libraries in the binary have
//! targets of their own, and say at `debug` what nobody who looks into a gateway wants to read.

use tracing_subscriber::EnvFilter;

/// The target of Mooring's own events.
const OWN: &str = "mooring";
const USUAL: &str = "warn,mooring=info";
/// The names of levels, from the quietest on.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
/// The loudest level of a library that no directive names, as a place in [`LEVELS`].
const LOUDEST_OTHER: usize = 2;

/// A filter, and the directives that it was made of.
#[derive(Debug)]
pub struct ReadFilter {
    pub filter: EnvFilter,
    pub text: String,
}

impl ReadFilter {
    fn usual() -> Self {
        Self { filter: EnvFilter::new(USUAL), text: USUAL.to_owned() }
    }
}

/// # Errors
/// What is wrong with the text.
pub fn read(text: &str) -> Result<ReadFilter, String> {
    let text = directives(text)?;
    let filter = EnvFilter::try_new(&text).map_err(|error| error.to_string())?;
    Ok(ReadFilter { filter, text })
}

/// The filter, and what is wrong with the text if it was not understood.
#[must_use]
pub fn of(text: Option<&str>) -> (ReadFilter, Option<String>) {
    let text = text.unwrap_or("").trim();
    if text.is_empty() {
        return (ReadFilter::usual(), None);
    }
    match read(text) {
        Ok(filter) => (filter, None),
        Err(why) => {
            let misread = format!(
                "MOORING_LOG={text:?} is not understood ({why}), and info is used; it is a level \
                 (off, error, warn, info, debug, trace), or target=level, with commas between"
            );
            (ReadFilter::usual(), Some(misread))
        }
    }
}

/// The directives with every bare level written out: for Mooring as it is, for others no louder
/// than `warn`.
fn directives(text: &str) -> Result<String, String> {
    let mut read = Vec::new();
    let mut has_level = false;
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let lower = part.to_ascii_lowercase();
        match LEVELS.iter().position(|level| *level == lower) {
            Some(level) => {
                has_level = true;
                read.push(LEVELS.get(level.min(LOUDEST_OTHER)).unwrap_or(&"warn").to_string());
                read.push(format!("{OWN}={lower}"));
            }
            // A word alone would be the name of a target, of which nothing would ever be shown.
            None if !part.contains(['=', '[']) && part.split("::").next() != Some(OWN) => {
                return Err(format!("{part:?} is no level"));
            }
            None => read.push(part.to_owned()),
        }
    }
    if !has_level {
        read.insert(0, "warn".to_owned());
    }
    Ok(read.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_level_is_ours_and_others_stay_at_warn() {
        for (text, expect) in [
            ("debug", "warn,mooring=debug"),
            ("INFO", "warn,mooring=info"),
            ("error", "error,mooring=error"),
            ("off", "off,mooring=off"),
            ("info,mooring::server=off", "warn,mooring=info,mooring::server=off"),
            ("mooring=debug", "warn,mooring=debug"),
            ("mooring::access=debug, info", "mooring::access=debug,warn,mooring=info"),
            ("hyper=trace", "warn,hyper=trace"),
            ("mooring", "warn,mooring"),
        ] {
            assert_eq!(directives(text).as_deref(), Ok(expect), "{text}");
            assert_eq!(of(Some(text)).1, None, "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_said_with_its_text() {
        for text in ["inof", "mooring=loud", "info,verbose", "=", "debug,=x"] {
            let (filter, misread) = of(Some(text));
            let misread = misread.unwrap_or_else(|| panic!("{text}"));
            assert!(misread.contains(text) && misread.contains("is not understood"), "{misread}");
            assert_eq!(filter.text, USUAL);
            assert_eq!(filter.filter.to_string(), EnvFilter::new(USUAL).to_string());
        }
        for text in [None, Some(""), Some("  ")] {
            assert_eq!(of(text).1, None);
        }
    }
}
