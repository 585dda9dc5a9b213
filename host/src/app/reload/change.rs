//! The transaction: everything that may fail first, then the swap, which cannot.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use crate::admin::{ReloadReport, SettingsFacts};
use crate::app::advice::unmatched::{WrittenNames, warn_of_unmatched};
use crate::app::{access, translate};
use crate::config::{Config, Server, open_doors};
use crate::model::ServerName;
use crate::runner::{Servers, TrialFailure};
use crate::wasm::Source;

use super::Reloader;
use super::applicable::{also, applicable, contradiction};

impl Reloader {
    /// Puts the new settings in force.
    ///
    /// # Errors
    /// All reasons against them. Nothing has changed then.
    pub(super) async fn change(&mut self, new: &Config) -> Result<ReloadReport, Vec<String>> {
        if let Some(why) = contradiction(&self.config, new) {
            return Err(vec![why]);
        }
        let (config, stays) = applicable(&self.config, new);
        let parts = Arc::clone(&self.parts);
        let (runner, pool) = (&parts.runner, parts.control_link.pool());
        let settings = translate::runner(&config);
        let mut report = ReloadReport { stays, ..self.report(&config, &settings.servers) };
        let to_be_tried = runner.to_be_tried(&settings.servers);
        let tried = runner.try_out(&to_be_tried, pool).await.map_err(|failures| {
            let reason = |failure: TrialFailure| failure.to_string();
            failures.into_iter().map(reason).collect::<Vec<_>>()
        })?;
        if self.replace_strategy(&config).await.map_err(|why| vec![why])? {
            report.also.push("strategy");
        }
        // From here on nothing fails, and nothing is waited for.
        parts.set_replicas(translate::replicas(&config));
        runner.hide_files(&config.secret_files);
        runner.adopt(settings.servers, settings.caps, &tried, pool);
        let admission = access::of(&config, &parts.folder, Some(&parts.edge.now().config));
        parts.show_servers(&config, self.address);
        // Streams of who is shut out end with this: they ask the topology too.
        parts.edge.replace_config(translate::edge(&config, admission));
        parts.edge.catalogs.touch();
        parts.edge.state.save_soon();
        parts.reloads.facts.store(Arc::new(SettingsFacts {
            open_doors: open_doors(&config, &config.listen.host),
            runs_no_server: config.runs_no_server(),
            key_header: config.access.key_header.clone(),
        }));
        self.compare_names(&config);
        self.config = config;
        Ok(report)
    }

    /// What is new in these settings.
    fn report(&self, config: &Config, servers: &Servers) -> ReloadReport {
        let now = self.parts.runner.current();
        let names = |servers: &Servers| servers.keys().cloned().collect::<BTreeSet<_>>();
        let (before, after) = (names(&now), names(servers));
        let weights = (translate::replicas(&self.config), translate::replicas(config));
        // Some of an entry is in neither, such as how many processes it may have.
        let entries = (entries(&self.config), entries(config));
        let differs = |server: &&ServerName| {
            now.get(*server) != servers.get(*server)
                || weights.0.get(*server) != weights.1.get(*server)
                || entries.0.get(*server) != entries.1.get(*server)
        };
        let texts = |names: Vec<&ServerName>| {
            names.into_iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        ReloadReport {
            added: texts(after.difference(&before).collect()),
            removed: texts(before.difference(&after).collect()),
            changed: texts(before.intersection(&after).filter(differs).collect()),
            also: also(&self.config, config),
            ..ReloadReport::default()
        }
    }

    /// Lets the strategy of these settings decide; returns whether it is another one.
    async fn replace_strategy(&mut self, config: &Config) -> Result<bool, String> {
        let (name, json) = (config.sticky.strategy.clone(), config.sticky.json.clone());
        let named = name.clone();
        let plugin = tokio::task::spawn_blocking(move || digest_of_plugin(&named)).await;
        let plugin = plugin.map_err(|error| error.to_string())?;
        let is_same = self.config.sticky.strategy == name
            && self.config.sticky.json == json
            && self.plugin == plugin;
        if is_same {
            return Ok(self.config.sticky.enabled != config.sticky.enabled);
        }
        let strategy = self.parts.edge.strategy.clone();
        let options = translate::strategy_options(&config.sticky, 1);
        // Compiling takes a tenth of a second, or much longer.
        let replacing = move || strategy.replace(&Source::parse(&name), &json, &options);
        match tokio::task::spawn_blocking(replacing).await {
            Ok(Ok(())) => {
                self.plugin = plugin;
                Ok(true)
            }
            Ok(Err(error)) => Err(format!("systemConfig.cluster.stickySession.strategy: {error}")),
            Err(error) => Err(format!("the strategy was not loaded: {error}")),
        }
    }

    fn compare_names(&mut self, config: &Config) {
        let (runner, edge) = (Arc::clone(&self.parts.runner), Arc::clone(&self.parts.edge));
        let comparing = tokio::spawn(warn_of_unmatched(WrittenNames::of(config), runner, edge));
        if let Some(before) = self.names.replace(comparing.abort_handle()) {
            before.abort();
        }
    }
}

fn entries(config: &Config) -> HashMap<&ServerName, &Server> {
    config.servers.iter().map(|server| (&server.name, server)).collect()
}

/// What is in the file of a strategy; `None` for one inside of the binary, and for one that cannot be
/// read.
pub fn digest_of_plugin(strategy: &str) -> Option<u64> {
    let Source::File(path) = Source::parse(strategy) else { return None };
    let mut hasher = DefaultHasher::new();
    std::fs::read(path).ok()?.hash(&mut hasher);
    Some(hasher.finish())
}
