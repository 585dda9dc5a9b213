//! Findings (what is wrong, where, and what to do), and the notes that collect them
//! while the file is read.

use std::cell::RefCell;
use std::fmt;

use crate::model::visible::visible;

use super::place::{Place, Stops};

/// Bytes shown of each part of a finding: a value in the file may have megabytes.
const MAX_TEXT: usize = 2048;

/// Most errors, and most warnings, that one load keeps. A hostile file could have a
/// million mistakes; the last finding then says that more are not shown.
const MAX_FINDINGS: usize = 100;

/// One error or warning, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file as the operator named it, or `environment`.
    pub file: String,
    /// From 1; 0 if there is no line, as in the environment.
    pub line: usize,
    /// From 1, in characters; 0 if there is none.
    pub column: usize,
    /// Dotted path such as `systemConfig.cluster.mode`; empty for the file as a whole.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it; empty if the message says it.
    pub advice: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        visible(&self.file, MAX_TEXT).fmt(f)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", visible(&self.key, MAX_TEXT))?;
        }
        write!(f, ": {}", visible(&self.message, MAX_TEXT))?;
        if !self.advice.is_empty() {
            write!(f, "; {}", visible(&self.advice, MAX_TEXT))?;
        }
        Ok(())
    }
}

/// Every error of one load, in the order of the file. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    pub errors: Vec<Finding>,
    /// The warnings of the same load.
    pub warnings: Vec<Finding>,
}

impl ConfigErrors {
    /// The single error of a load that failed before the text was parsed.
    pub(in crate::config) fn of(file: &str, message: String, advice: &str) -> Self {
        Self {
            errors: vec![Finding {
                file: file.to_owned(),
                line: 0,
                column: 0,
                key: String::new(),
                message,
                advice: advice.to_owned(),
            }],
            warnings: Vec::new(),
        }
    }
}

/// The errors, one per line.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.errors.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Collects findings; shared by all readers of one file.
pub(in crate::config) struct Notes<'d> {
    file: String,
    text: &'d str,
    /// Byte offset at which each line starts.
    lines: Vec<usize>,
    errors: RefCell<Vec<Finding>>,
    warnings: RefCell<Vec<Finding>>,
}

impl<'d> Notes<'d> {
    pub fn new(file: &str, text: &'d str) -> Self {
        let newlines = text.bytes().enumerate().filter(|(_, b)| *b == b'\n');
        Self {
            file: file.to_owned(),
            text,
            lines: std::iter::once(0).chain(newlines.map(|(i, _)| i + 1)).collect(),
            errors: RefCell::default(),
            warnings: RefCell::default(),
        }
    }

    /// Whether anything found so far stops the load.
    pub fn has_errors(&self) -> bool {
        !self.errors.borrow().is_empty()
    }

    /// Adds a mistake: an error, or a warning if it does not stop the load.
    pub fn refuse(&self, place: &Place, message: impl Into<String>, advice: impl Into<String>) {
        let (message, mut advice) = (message.into(), advice.into());
        let list = match &place.stops {
            Stops::Load => &self.errors,
            Stops::Nothing => &self.warnings,
            Stops::Value => {
                advice.push_str("; until then its default counts");
                &self.warnings
            }
            Stops::Entry(problems) => {
                problems.add(place, &message);
                let until = problems.until;
                let sign = if advice.is_empty() { "" } else { "; " };
                advice = format!("{advice}{sign}{until}");
                &self.warnings
            }
        };
        self.add(list, place, message, advice);
    }

    pub fn warn(&self, place: &Place, message: impl Into<String>, advice: impl Into<String>) {
        self.add(&self.warnings, place, message.into(), advice.into());
    }

    /// Adds a warning about the file as a whole, without a line.
    pub fn warn_file(&self, message: String, advice: &str) {
        let report = ConfigErrors::of(&self.file, message, advice);
        self.warnings.borrow_mut().extend(report.errors);
    }

    /// Adds a warning about another file.
    pub fn warn_about(&self, file: &str, message: String, advice: &str) {
        let report = ConfigErrors::of(file, message, advice);
        self.warnings.borrow_mut().extend(report.errors);
    }

    /// Adds an error about an environment variable that cannot be used.
    pub fn refuse_variable(&self, name: &str, message: impl Into<String>, advice: &str) {
        let mut errors = self.errors.borrow_mut();
        errors.push(variable(name, message.into(), advice));
    }

    /// Adds a warning about an environment variable that is used nevertheless.
    pub fn warn_variable(&self, name: &str, message: impl Into<String>, advice: &str) {
        let mut warnings = self.warnings.borrow_mut();
        warnings.push(variable(name, message.into(), advice));
    }

    /// Line and column of a byte offset, both counted from 1.
    pub fn position(&self, at: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|start| *start <= at).max(1);
        let start = self.lines.get(line - 1).copied().unwrap_or(0);
        let before = self.text.get(start..at).unwrap_or("");
        (line, before.chars().count() + 1)
    }

    /// Returns the warnings; if there is an error, fails with all findings.
    pub fn settle(self) -> Result<Vec<Finding>, ConfigErrors> {
        let warnings = in_file_order(self.warnings.into_inner());
        let errors = in_file_order(self.errors.into_inner());
        if errors.is_empty() { Ok(warnings) } else { Err(ConfigErrors { errors, warnings }) }
    }

    fn add(&self, list: &RefCell<Vec<Finding>>, place: &Place, message: String, advice: String) {
        let mut list = list.borrow_mut();
        if list.len() >= MAX_FINDINGS {
            return;
        }
        let (line, column) = self.position(place.at);
        let finding = Finding {
            file: self.file.clone(),
            line,
            column,
            key: place.path.clone(),
            message,
            advice,
        };
        // Two readers of one value report the same finding.
        if !list.contains(&finding) {
            list.push(finding);
        }
    }
}

fn variable(name: &str, message: String, advice: &str) -> Finding {
    Finding {
        file: "environment".to_owned(),
        line: 0,
        column: 0,
        key: name.to_owned(),
        message,
        advice: advice.to_owned(),
    }
}

fn in_file_order(mut findings: Vec<Finding>) -> Vec<Finding> {
    let full = findings.len() >= MAX_FINDINGS;
    findings.sort_by_key(|finding| (finding.line, finding.column));
    if let Some(last) = findings.last_mut().filter(|_| full) {
        last.advice.push_str(" (more are not shown)");
    }
    findings
}
