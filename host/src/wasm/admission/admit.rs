//! The checks that a plugin must pass before it may decide anything.
//!
//! ```text
//!   bytes ─▶ size, kind ─▶ imports, exports ─▶ cost of compiling ─▶ compile
//!         ─▶ link ─▶ describe, configure ─▶ plan ─▶ trial ─▶ admitted
//! ```
//!
//! Runs off the request path, while the old plugin still serves. Compilation is
//! the one step that cannot be interrupted, so its cost is found out before, in a
//! process that can be ended.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wasmtime::component::Component;

use super::compile_probe;
use super::conversation_trial::{self, ConversationTrial};
use super::credentials::{self, Readable};
use super::outline::Outline;
use super::refusal::{AdmissionError, FileKind, PluginRefusal};
use super::trial::Trial;
use crate::wasm::engine::{Engines, Pulse};
use crate::wasm::guest_log::GuestLog;
use crate::wasm::instance::Blueprint;
use crate::wasm::plugin::Plugin;
use crate::wasm::sandbox::WASI_PACKAGES;
use crate::wasm::source::Source;
use crate::wasm::vocabulary::{Carrier, Input, Plan};

/// Bytes of a component's file. The largest known, a Python interpreter, has 18 MB.
const FILE_LIMIT: u64 = 32 << 20;

/// Bytes above which a component counts as an interpreter and gets the roomy
/// engine. The built-ins have 0.1 MB.
const LARGE: usize = 2 << 20;

const STRATEGY: &str = "mooring:routing/strategy@0.1";
const CONVERSATIONS: &str = "mooring:routing/conversations@0.1";
const IMPORTS: [&str; 3] = [
    "mooring:routing/types@0.1",
    "mooring:routing/log@0.1",
    "mooring:routing/conversation-types@0.1",
];

/// Inputs of one plan. Each costs 50 ns a decision.
const MOST_INPUTS: usize = 16;
/// Bytes of a cookie, header or query name, or of a JSON pointer.
const LONGEST_NAME: usize = 256;

/// Whether a plugin may import WASI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WasiPolicy {
    /// A plugin that imports WASI is refused.
    #[default]
    Deny,
    /// A plugin may import WASI, but finds nothing there: no files, no network,
    /// no running clock.
    Sandbox,
}

/// Settings of a strategy that stay the same when its plugin is replaced.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether its plugins may import WASI.
    pub wasi: WasiPolicy,
    /// What its plugins may read of clients' credentials.
    pub readable: Readable,
    /// This program, which can compile a component as a child process with limits (see
    /// [`crate::wasm::probe_if_asked`]). Without it, only a file's size bounds the cost.
    pub prober: Option<PathBuf>,
    /// Number of data-plane workers, each with its own instances. 0 counts as 1.
    pub workers: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { wasi: WasiPolicy::Deny, readable: Readable::default(), prober: None, workers: 1 }
    }
}

pub(in crate::wasm) fn admit(
    engines: &Engines,
    source: &Source,
    config_json: &str,
    options: &Options,
) -> Result<Plugin, AdmissionError> {
    let refuse = |refusal| AdmissionError { plugin: source.to_string(), refusal };
    let bytes = read(source).map_err(refuse)?;
    let candidate = match source {
        // Ours is known to be cheap.
        Source::Builtin(_) => Candidate::compile(engines, &bytes, None),
        Source::File(_) => Candidate::compile(engines, &bytes, options.prober.as_deref()),
    };
    let plugin = candidate
        .and_then(|candidate| {
            candidate.meet(engines, &bytes, &source.to_string(), config_json, options.wasi)
        })
        .map_err(refuse)?;
    credentials::check(&plugin.plan.inputs, &options.readable).map_err(refuse)?;
    let asked = conversation_trial::as_inputs(plugin.conversations.as_deref().unwrap_or_default());
    credentials::check(&asked, &options.readable).map_err(refuse)?;
    let trial = Trial::run(&plugin).map_err(refuse)?;
    trial.verdict().map_err(refuse)?;
    ConversationTrial::run(&plugin).map_err(refuse)?;
    Ok(plugin)
}

pub(in crate::wasm) fn read(source: &Source) -> Result<Cow<'static, [u8]>, PluginRefusal> {
    match source {
        Source::Builtin(builtin) => Ok(Cow::Borrowed(builtin.bytes())),
        Source::File(path) => Ok(Cow::Owned(read_file(path)?)),
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, PluginRefusal> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        // One byte past the limit shows that a file is too large, even if it
        // grows while it is read.
        File::open(path)?.take(FILE_LIMIT + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_err(PluginRefusal::Unreadable)
}

/// A component that is compiled but has not run yet.
pub(in crate::wasm) struct Candidate {
    component: Component,
    roomy: bool,
    pub(in crate::wasm) imports: Vec<String>,
    pub(in crate::wasm) exports: Vec<String>,
}

impl Candidate {
    /// With a `prober`, refuses what takes too long to compile.
    pub(in crate::wasm) fn compile(
        engines: &Engines,
        bytes: &[u8],
        prober: Option<&Path>,
    ) -> Result<Self, PluginRefusal> {
        let size = bytes.len() as u64;
        if size > FILE_LIMIT {
            let limit = FILE_LIMIT;
            return Err(PluginRefusal::TooLarge { size, limit });
        }
        match FileKind::of(bytes) {
            FileKind::Component => {}
            other => return Err(PluginRefusal::NotAComponent(other)),
        }
        let roomy = bytes.len() > LARGE;
        let Outline { imports, exports } = Outline::read(bytes)?;
        check_exports(&exports)?;
        if let Some(executable) = prober {
            compile_probe::probe(executable, bytes, roomy)?;
        }
        let component = compile(engines, bytes, roomy)?;
        Ok(Self { component, roomy, imports, exports })
    }

    pub(in crate::wasm) fn meet(
        mut self,
        engines: &Engines,
        bytes: &[u8],
        name: &str,
        config_json: &str,
        wasi: WasiPolicy,
    ) -> Result<Plugin, PluginRefusal> {
        let sandboxed = self.check_imports(wasi)?;
        if sandboxed && !self.roomy {
            self.component = compile(engines, bytes, true)?;
            self.roomy = true;
        }
        if self.roomy {
            tracing::warn!(
                plugin = name,
                "the routing plugin is large or sandboxed: a decision takes 10 to 300 \
                 microseconds instead of one"
            );
        }
        let blueprint = self
            .link(GuestLog::new(name), engines.pulse(), sandboxed)
            .map_err(|error| PluginRefusal::Mismatch(PluginRefusal::quoted(&error)))?;
        let plugin = Plugin::meet(blueprint, config_json)?;
        check_plan(&plugin.plan)?;
        if let Some(asked) = &plugin.conversations {
            check_count(asked.len())?;
            check_inputs(&conversation_trial::as_inputs(asked)).map_err(PluginRefusal::Plan)?;
        }
        Ok(plugin)
    }

    fn link(&self, log: GuestLog, pulse: Pulse, sandboxed: bool) -> wasmtime::Result<Blueprint> {
        let log = Arc::new(log);
        let converses = self.exports.iter().any(|name| name.starts_with(CONVERSATIONS));
        if sandboxed {
            Blueprint::sandboxed(&self.component, log, pulse, converses)
        } else {
            Blueprint::direct(&self.component, log, pulse, self.roomy, converses)
        }
    }

    /// Whether the component needs the WASI sandbox.
    fn check_imports(&self, wasi: WasiPolicy) -> Result<bool, PluginRefusal> {
        let starts = |name: &str, with: &[&str]| with.iter().any(|start| name.starts_with(start));
        let foreign = self.imports.iter().filter(|name| !starts(name, &IMPORTS));
        let (wasi_imports, forbidden): (Vec<&str>, Vec<&str>) =
            foreign.map(String::as_str).partition(|name| starts(name, &WASI_PACKAGES));
        match (&*forbidden, &*wasi_imports, wasi) {
            ([], [], _) => Ok(false),
            ([], _, WasiPolicy::Sandbox) => Ok(true),
            ([], names, WasiPolicy::Deny) => Err(PluginRefusal::NeedsWasi(names.join(", "))),
            (names, _, _) => Err(PluginRefusal::ForbiddenImports(names.join(", "))),
        }
    }
}

fn check_exports(exports: &[String]) -> Result<(), PluginRefusal> {
    if exports.iter().any(|name| name.starts_with(STRATEGY)) {
        return Ok(());
    }
    Err(PluginRefusal::WrongWorld {
        wanted: "mooring:routing/strategy@0.1.0",
        found: match exports {
            [] => "nothing at all".to_owned(),
            names => names.join(", "),
        },
    })
}

fn compile(engines: &Engines, bytes: &[u8], roomy: bool) -> Result<Component, PluginRefusal> {
    let engine =
        if roomy { engines.roomy().map_err(PluginRefusal::host)? } else { engines.pooled() };
    // `Component::new` would also accept WebAssembly text.
    Component::from_binary(engine, bytes).map_err(|error| {
        let problem = PluginRefusal::quoted(&error);
        if problem.contains("limit of") {
            PluginRefusal::OverLimit(problem)
        } else {
            PluginRefusal::Invalid(problem)
        }
    })
}

fn check_plan(plan: &Plan) -> Result<(), PluginRefusal> {
    check_count(plan.inputs.len())?;
    let carrier = match &plan.carrier {
        Carrier::None | Carrier::Session => Ok(()),
        Carrier::Cookie(name) | Carrier::Header(name) => check_token(name),
    };
    check_inputs(&plan.inputs).and(carrier).map_err(PluginRefusal::Plan)
}

fn check_count(inputs: usize) -> Result<(), PluginRefusal> {
    if inputs <= MOST_INPUTS {
        return Ok(());
    }
    Err(PluginRefusal::Plan(format!("{inputs} inputs; at most {MOST_INPUTS} are allowed")))
}

fn check_inputs(inputs: &[Input]) -> Result<(), String> {
    inputs.iter().try_for_each(|input| match input {
        Input::Header(name) if name.bytes().any(|b| b.is_ascii_uppercase()) => {
            Err(format!("the header \"{name}\"; write it in lower case"))
        }
        Input::Header(name) | Input::Cookie(name) => check_token(name),
        Input::Query(name) => check_length(name),
        Input::Body(pointer) if !pointer.is_empty() && !pointer.starts_with('/') => Err(format!(
            "\"{pointer}\" of the body, which is not a JSON pointer; begin it with a slash"
        )),
        Input::Body(pointer) if pointer.is_empty() => Ok(()),
        Input::Body(pointer) => check_length(pointer),
        Input::SessionId
        | Input::RpcMethod
        | Input::RpcTarget
        | Input::Principal
        | Input::ClientAddress => Ok(()),
    })
}

/// Requires an RFC 9110 "token": any other character could end a header line.
fn check_token(name: &str) -> Result<(), String> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.bytes().all(token) {
        check_length(name)
    } else {
        let shown = name.escape_debug();
        Err(format!("\"{shown}\", which is not a valid header or cookie name"))
    }
}

fn check_length(name: &str) -> Result<(), String> {
    match name.len() {
        0 => Err("an input or carrier with an empty name".to_owned()),
        1..=LONGEST_NAME => Ok(()),
        length => Err(format!("a name of {length} bytes; at most {LONGEST_NAME} are allowed")),
    }
}
