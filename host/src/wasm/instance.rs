//! One running instance of a plugin, and the faults of a call to it.
//!
//! An instance is *started*, *configured*, given a topology, and then asked for
//! decisions. After a fault it must not be used again: wasmtime refuses to enter
//! it, and its memory is in an unknown state.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{Component, HasSelf, InstancePre, Linker};
use wasmtime::{Store, StoreLimits, StoreLimitsBuilder, Trap};
use wasmtime_wasi::{WasiCtxView, WasiView};

use super::bindings::{
    self, Answer, TopologyLists, conversing, conversing_sandboxed, direct, log, sandboxed,
};
use super::conversing::{ConversationAnswer, ConversationInput};
use super::engine::{Budgeted, CpuBudget, HOSTCALL_BYTES, MEMORY_LIMIT, Pulse, ROOMY_MEMORY_LIMIT};
use super::guest_log::GuestLog;
use super::sandbox::{self, Sandbox};
use super::vocabulary::{Plan, Request, Topology};

/// CPU time of one decision. Ordinary ones take a microsecond; the limit is for
/// loops.
const ROUTE_CPU: Duration = Duration::from_millis(3);

/// CPU time of any other call and of a start, which runs guest code too. All of
/// these are off the request path.
const SETUP_CPU: Duration = Duration::from_secs(2);

/// Elements of a table: an interpreter calls ten thousand functions by pointer.
const TABLE_ELEMENTS: usize = 100_000;

/// A plugin that is compiled, linked and type-checked: instances start from it.
pub(super) struct Blueprint {
    linked: Linked,
    /// Whether it was compiled for the roomy engine.
    roomy: bool,
    log: Arc<GuestLog>,
    pulse: Pulse,
}

/// The exports are looked up once. Few plugins have the second ones.
enum Linked {
    Direct(InstancePre<Guest>, direct::PluginIndices, Option<conversing::ConversingIndices>),
    Sandboxed(
        InstancePre<Guest>,
        sandboxed::PluginIndices,
        Option<conversing_sandboxed::ConversingIndices>,
    ),
}

impl Blueprint {
    /// An ordinary plugin, which imports nothing but `log`. `converses` says whether it tells
    /// conversations apart.
    pub(super) fn direct(
        component: &Component,
        log: Arc<GuestLog>,
        pulse: Pulse,
        roomy: bool,
        converses: bool,
    ) -> wasmtime::Result<Self> {
        let linker = linker(component)?;
        let linked = linker.instantiate_pre(component)?;
        let strategy = direct::PluginIndices::new(&linked)?;
        let conversing = match converses {
            true => Some(conversing::ConversingIndices::new(&linked)?),
            false => None,
        };
        Ok(Self { linked: Linked::Direct(linked, strategy, conversing), roomy, log, pulse })
    }

    /// A plugin of the roomy engine whose WASI imports are linked to the sandbox.
    pub(super) fn sandboxed(
        component: &Component,
        log: Arc<GuestLog>,
        pulse: Pulse,
        converses: bool,
    ) -> wasmtime::Result<Self> {
        let mut linker = linker(component)?;
        sandbox::add_to_linker(&mut linker)?;
        let linked = linker.instantiate_pre(component)?;
        let strategy = sandboxed::PluginIndices::new(&linked)?;
        let conversing = match converses {
            true => Some(conversing_sandboxed::ConversingIndices::new(&linked)?),
            false => None,
        };
        let linked = Linked::Sandboxed(linked, strategy, conversing);
        Ok(Self { linked, roomy: true, log, pulse })
    }

    pub(super) fn is_roomy(&self) -> bool {
        self.roomy
    }

    pub(super) fn start(&self) -> Result<PluginInstance, Fault> {
        let engine = match &self.linked {
            Linked::Direct(linked, ..) => linked.engine(),
            Linked::Sandboxed(linked, ..) => linked.engine(),
        };
        let mut store = Store::new(engine, Guest::new(self));
        store.limiter(|guest| &mut guest.limits);
        store.set_hostcall_fuel(HOSTCALL_BYTES);
        CpuBudget::enforce(&mut store);
        CpuBudget::start(&mut store, SETUP_CPU);
        self.pulse.beat();
        let exports = self.linked.start(&mut store).map_err(Fault::from)?;
        Ok(PluginInstance { exports, store, pulse: self.pulse.clone() })
    }
}

impl Linked {
    fn start(&self, store: &mut Store<Guest>) -> wasmtime::Result<Exports> {
        match self {
            Self::Direct(linked, strategy, conversing) => {
                let instance = linked.instantiate(&mut *store)?;
                let strategy = strategy.load(&mut *store, &instance)?;
                let conversing = match conversing {
                    Some(conversing) => Some(conversing.load(&mut *store, &instance)?),
                    None => None,
                };
                Ok(Exports::Direct(strategy, conversing))
            }
            Self::Sandboxed(linked, strategy, conversing) => {
                let instance = sandbox::at_once(linked.instantiate_async(&mut *store))?;
                let strategy = strategy.load(&mut *store, &instance)?;
                let conversing = match conversing {
                    Some(conversing) => Some(conversing.load(&mut *store, &instance)?),
                    None => None,
                };
                Ok(Exports::Sandboxed(strategy, conversing))
            }
        }
    }
}

fn linker(component: &Component) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(component.engine());
    log::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    Ok(linker)
}

pub(super) struct PluginInstance {
    store: Store<Guest>,
    exports: Exports,
    pulse: Pulse,
}

enum Exports {
    Direct(direct::Plugin, Option<conversing::Conversing>),
    Sandboxed(sandboxed::Plugin, Option<conversing_sandboxed::Conversing>),
}

/// Calls the same export through either binding.
macro_rules! call {
    ($instance:expr, $limit:expr, $function:ident $(, $argument:expr)*) => {{
        let instance = $instance;
        CpuBudget::start(&mut instance.store, $limit);
        instance.pulse.beat();
        let store = &mut instance.store;
        match &instance.exports {
            Exports::Direct(plugin, _) => {
                plugin.mooring_routing_strategy().$function(store $(, $argument)*)
            }
            Exports::Sandboxed(plugin, _) => {
                let strategy = plugin.mooring_routing_strategy();
                sandbox::at_once(strategy.$function(store $(, $argument)*))
            }
        }
        .map_err(Fault::from)
    }};
}

impl PluginInstance {
    /// Name and version, as the plugin states them.
    pub(super) fn describe(&mut self) -> Result<(String, String), Fault> {
        CpuBudget::start(&mut self.store, SETUP_CPU);
        let store = &mut self.store;
        match &self.exports {
            Exports::Direct(plugin, _) => {
                let info = plugin.mooring_routing_strategy().call_describe(store);
                info.map(|info| (info.name, info.version))
            }
            Exports::Sandboxed(plugin, _) => {
                let strategy = plugin.mooring_routing_strategy();
                let info = sandbox::at_once(strategy.call_describe(store));
                info.map(|info| (info.name, info.version))
            }
        }
        .map_err(Fault::from)
    }

    pub(super) fn configure(&mut self, config_json: &str) -> Result<Result<Plan, String>, Fault> {
        let plan = call!(self, SETUP_CPU, call_configure, config_json)?;
        Ok(plan.map(bindings::plan))
    }

    pub(super) fn update(&mut self, topology: &Topology) -> Result<Result<(), String>, Fault> {
        let lists = TopologyLists::new(topology);
        let (nodes, servers) = (lists.nodes(), lists.servers());
        let topology = lists.topology(&nodes, &servers);
        call!(self, SETUP_CPU, call_update, topology)
    }

    pub(super) fn route(&mut self, request: &Request<'_>) -> Result<Answer, Fault> {
        let answer = call!(self, ROUTE_CPU, call_route, bindings::request(request))?;
        Ok(bindings::answer(answer))
    }

    /// By what it tells conversations apart. `None` if it does not.
    pub(super) fn plan_conversations(
        &mut self,
        config_json: &str,
    ) -> Option<Result<Result<Vec<ConversationInput>, String>, Fault>> {
        CpuBudget::start(&mut self.store, SETUP_CPU);
        self.pulse.beat();
        let store = &mut self.store;
        let plan = match &self.exports {
            Exports::Direct(_, conversing) => {
                conversing.as_ref()?.mooring_routing_conversations().call_plan(store, config_json)
            }
            Exports::Sandboxed(_, conversing) => {
                let conversations = conversing.as_ref()?.mooring_routing_conversations();
                sandbox::at_once(conversations.call_plan(store, config_json))
            }
        };
        let plain = |inputs: Vec<_>| inputs.into_iter().map(bindings::conversation_input).collect();
        Some(plan.map(|plan| plan.map(plain)).map_err(Fault::from))
    }

    /// Which conversation a request belongs to. Abstains if it tells none apart.
    pub(super) fn identify(
        &mut self,
        inputs: &[Option<&str>],
    ) -> Result<ConversationAnswer, Fault> {
        CpuBudget::start(&mut self.store, ROUTE_CPU);
        self.pulse.beat();
        let store = &mut self.store;
        let answer = match &self.exports {
            Exports::Direct(_, Some(conversing)) => {
                conversing.mooring_routing_conversations().call_identify(store, inputs)
            }
            Exports::Sandboxed(_, Some(conversing)) => {
                let conversations = conversing.mooring_routing_conversations();
                sandbox::at_once(conversations.call_identify(store, inputs))
            }
            Exports::Direct(_, None) | Exports::Sandboxed(_, None) => {
                return Ok(ConversationAnswer::Abstain);
            }
        };
        answer.map(bindings::conversation_answer).map_err(Fault::from)
    }
}

/// Why a call returned no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// The call used up its CPU time.
    Deadline,
    /// The guest panicked, broke a limit or called a function that it may not call.
    Trap(String),
}

impl From<wasmtime::Error> for Fault {
    fn from(error: wasmtime::Error) -> Self {
        match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => Self::Deadline,
            Some(trap) => Self::Trap(trap.to_string()),
            None => Self::Trap(error.root_cause().to_string()),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deadline => f.write_str("it used up its CPU time"),
            Self::Trap(cause) => f.write_str(cause),
        }
    }
}

/// The gateway's state for one instance.
struct Guest {
    limits: StoreLimits,
    budget: CpuBudget,
    log: Arc<GuestLog>,
    /// Created when the guest first calls WASI.
    sandbox: Option<Sandbox>,
}

impl Guest {
    fn new(blueprint: &Blueprint) -> Self {
        let memory = if blueprint.roomy { ROOMY_MEMORY_LIMIT } else { MEMORY_LIMIT };
        let limits = StoreLimitsBuilder::new().memory_size(memory).table_elements(TABLE_ELEMENTS);
        Self {
            limits: limits.build(),
            budget: CpuBudget::default(),
            log: Arc::clone(&blueprint.log),
            sandbox: None,
        }
    }
}

impl Budgeted for Guest {
    fn budget(&mut self) -> &mut CpuBudget {
        &mut self.budget
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.sandbox.get_or_insert_with(Sandbox::deny_all).view()
    }
}

impl log::Host for Guest {
    fn log(&mut self, level: log::Level, message: String) {
        self.log.line(level, &message);
    }
}
