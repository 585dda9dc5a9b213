//! What a component's file contains, read without compiling it.
//!
//! Compilation takes time and memory that no size of a file bounds, so what can be known before is
//! judged before: the names that the component imports and exports, and how large its parts are.

use wasmparser::{Parser, Payload};

use crate::model::visible::{is_hidden, visible};

use super::refusal::PluginRefusal;

/// Functions of all modules together. A Python interpreter has a quarter of this.
const MOST_FUNCTIONS: u32 = 100_000;
/// Bytes of one function. Compilation takes more than twice as long for twice as many.
const LARGEST_FUNCTION: usize = 512 << 10;
/// Modules and components within the component, at any depth.
const MOST_PARTS: u32 = 1_000;
/// Bytes of an imported or exported name. Those of WASI have 40.
const LONGEST_NAME: usize = 256;
/// Imports and exports together.
const MOST_NAMES: usize = 1_000;

/// The names by which a component meets its host, each with package and version.
pub(in crate::wasm) struct Outline {
    pub imports: Vec<String>,
    pub exports: Vec<String>,
}

impl Outline {
    pub(in crate::wasm) fn read(bytes: &[u8]) -> Result<Self, PluginRefusal> {
        let invalid = |error: wasmparser::BinaryReaderError| {
            PluginRefusal::Invalid(format!("{} at byte {}", error.message(), error.offset()))
        };
        let mut outline = Self { imports: Vec::new(), exports: Vec::new() };
        let mut sizes = Sizes::default();
        let mut depth = 0_u32;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload.map_err(invalid)? {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                    depth += 1;
                    sizes.part()?;
                }
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::CodeSectionStart { count, .. } => sizes.functions(count)?,
                Payload::CodeSectionEntry(body) => sizes.function(body.range().len())?,
                Payload::ComponentImportSection(section) if depth == 0 => {
                    for import in section {
                        outline.imports.push(plain(import.map_err(invalid)?.name.name)?);
                    }
                }
                Payload::ComponentExportSection(section) if depth == 0 => {
                    for export in section {
                        outline.exports.push(plain(export.map_err(invalid)?.name.name)?);
                    }
                }
                _ => {}
            }
        }
        let names = outline.imports.len() + outline.exports.len();
        refuse_above(names > MOST_NAMES, || format!("more than {MOST_NAMES} imports and exports"))?;
        Ok(outline)
    }
}

/// Names are shown to the operator: one that hides something is none of ours.
fn plain(name: &str) -> Result<String, PluginRefusal> {
    if name.len() > LONGEST_NAME || name.chars().any(is_hidden) {
        let shown = visible(name, 64);
        return Err(PluginRefusal::Invalid(format!("it names \"{shown}\", which is no interface")));
    }
    Ok(name.to_owned())
}

#[derive(Default)]
struct Sizes {
    functions: u32,
    parts: u32,
}

impl Sizes {
    fn part(&mut self) -> Result<(), PluginRefusal> {
        self.parts += 1;
        refuse_above(self.parts > MOST_PARTS, || format!("more than {MOST_PARTS} parts"))
    }

    fn functions(&mut self, count: u32) -> Result<(), PluginRefusal> {
        self.functions = self.functions.saturating_add(count);
        let is_above = self.functions > MOST_FUNCTIONS;
        refuse_above(is_above, || format!("more than {MOST_FUNCTIONS} functions"))
    }

    fn function(&self, size: usize) -> Result<(), PluginRefusal> {
        refuse_above(size > LARGEST_FUNCTION, || {
            format!("a function of {size} bytes, and {LARGEST_FUNCTION} are allowed")
        })
    }
}

fn refuse_above(is_above: bool, what: impl Fn() -> String) -> Result<(), PluginRefusal> {
    if is_above { Err(PluginRefusal::TooCostly(format!("it has {}", what()))) } else { Ok(()) }
}
