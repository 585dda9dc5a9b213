//! A report on a plugin, for `mooring plugin inspect FILE`.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::model::visible::visible;

use super::admission::admit::{Candidate, WasiPolicy};
use super::admission::conversation_trial::ConversationTrial;
use super::admission::refusal::PluginRefusal;
use super::admission::trial::Trial;
use super::conversing::ConversationInput;
use super::engine::Engines;
use super::pool::InstancePool;
use super::vocabulary::{Carrier, Input, Plan};

/// Bytes shown of the name of an interface.
const MAX_NAME: usize = 256;
/// Bytes shown of an objection.
const MAX_TEXT: usize = 1024;

/// What `mooring plugin inspect` reports. `Display` formats it for a terminal.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// As the plugin states it, cut to 64 bytes.
    pub name: String,
    /// As the plugin states it, cut to 64 bytes.
    pub version: String,
    /// Bytes of the component.
    pub size: usize,
    /// Imported interfaces, each with package and version.
    pub imports: Vec<String>,
    /// Exported interfaces, each with package and version.
    pub exports: Vec<String>,
    /// The plugin's answer to the given configuration.
    pub plan: Plan,
    /// Wall time of one compilation, and of finding out what it costs.
    pub compile_time: Duration,
    /// What the trial of admission showed.
    pub dry_run: Trial,
    /// By what it tells conversations apart, and what the trial showed of that; `None` if it does
    /// not.
    pub conversations: Option<(Vec<ConversationInput>, ConversationTrial)>,
    /// Why [`super::Strategy::load`] would refuse the plugin after its trial.
    pub objection: Option<String>,
}

/// Takes a component through admission, in the WASI sandbox if it imports WASI, and allowed to
/// read credentials. `prober` is that of [`super::Options`].
///
/// # Errors
/// If the plugin cannot even be tried. One that fails its trial gets a report
/// with an [`objection`](Inspection::objection).
pub fn inspect(
    bytes: &[u8],
    config_json: &str,
    prober: Option<&Path>,
) -> Result<Inspection, PluginRefusal> {
    let engines = Engines::new(InstancePool::most_instances(1)).map_err(PluginRefusal::host)?;
    let begun = Instant::now();
    let candidate = Candidate::compile(&engines, bytes, prober)?;
    let compile_time = begun.elapsed();
    let (imports, exports) = (candidate.imports.clone(), candidate.exports.clone());
    let plugin = candidate.meet(&engines, bytes, "inspect", config_json, WasiPolicy::Sandbox)?;
    let dry_run = Trial::run(&plugin)?;
    let mut objection = dry_run.verdict().err().map(|refusal| refusal.to_string());
    let tried = ConversationTrial::run(&plugin).unwrap_or_else(|refusal| {
        objection.get_or_insert_with(|| refusal.to_string());
        plugin.conversations.as_ref().map(|_| ConversationTrial::default())
    });
    let asked = plugin.conversations.as_deref().unwrap_or_default().to_vec();
    Ok(Inspection {
        name: plugin.name.clone(),
        version: plugin.version.clone(),
        size: bytes.len(),
        imports,
        exports,
        plan: Plan::clone(&plugin.plan),
        compile_time,
        dry_run,
        conversations: tried.map(|trial| (asked, trial)),
        objection,
    })
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trial = &self.dry_run;
        writeln!(f, "{} {}", self.name, self.version)?;
        writeln!(f, "  size           {:.1} KB", self.size as f64 / 1000.0)?;
        writeln!(f, "  compiled in    {:.0?}", self.compile_time)?;
        list(f, "imports", &self.imports)?;
        list(f, "exports", &self.exports)?;
        let inputs: Vec<String> = self.plan.inputs.iter().map(input).collect();
        list(f, "inputs", &inputs)?;
        writeln!(f, "  affinity by    {}", carrier(&self.plan))?;
        if self.plan.wants_loads {
            writeln!(f, "  wants loads    yes")?;
        }
        writeln!(f, "  a decision     {:.2?} median, {:.2?} p99", trial.p50, trial.p99)?;
        let same = if trial.deterministic { "yes" } else { "NO" };
        writeln!(f, "  deterministic  {same}")?;
        writeln!(f, "  declined       {} of {}", trial.declined, trial.questions)?;
        let all = trial.spread.values().sum::<u32>().max(1);
        for (position, (node, count)) in trial.spread.iter().enumerate() {
            let label = if position == 0 { "spread" } else { "" };
            let percent = f64::from(*count) * 100.0 / f64::from(all);
            writeln!(f, "  {label:<13}  {node} {percent:.1} %")?;
        }
        if let Some((asked, trial)) = &self.conversations {
            let asked: Vec<String> = asked.iter().map(ToString::to_string).collect();
            list(f, "conversations", &asked)?;
            let ConversationTrial { requests, abstained, alone, names } = trial;
            let rest = format!("{abstained} left to other rules, {alone} alone");
            writeln!(f, "  {:<13}  {requests} requests: {names} named, {rest}", "")?;
        }
        match &self.objection {
            Some(objection) => writeln!(f, "  REFUSED        {}", visible(objection, MAX_TEXT)),
            None => Ok(()),
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, label: &str, names: &[String]) -> fmt::Result {
    if names.is_empty() {
        return writeln!(f, "  {label:<13}  none");
    }
    for (position, name) in names.iter().enumerate() {
        let label = if position == 0 { label } else { "" };
        writeln!(f, "  {label:<13}  {}", visible(name, MAX_NAME))?;
    }
    Ok(())
}

fn input(input: &Input) -> String {
    match input {
        Input::SessionId => "session id".to_owned(),
        Input::Header(name) => format!("header {name}"),
        Input::Cookie(name) => format!("cookie {name}"),
        Input::Query(name) => format!("query {name}"),
        Input::RpcMethod => "method".to_owned(),
        Input::RpcTarget => "target".to_owned(),
        Input::Body(pointer) => format!("body {pointer}"),
        Input::Principal => "principal".to_owned(),
        Input::ClientAddress => "client address".to_owned(),
    }
}

fn carrier(plan: &Plan) -> String {
    let seconds = plan.affinity_ttl_seconds;
    match &plan.carrier {
        Carrier::None => "nothing".to_owned(),
        Carrier::Session => format!("the session, for {seconds} s"),
        Carrier::Cookie(name) => format!("cookie {name}, for {seconds} s"),
        Carrier::Header(name) => format!("header {name}, for {seconds} s"),
    }
}
