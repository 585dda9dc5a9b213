//! What decisions are made from: plugin, instances and topology in one value, so
//! that an answer is never applied to another topology than it was given for.

use std::sync::Arc;

use super::directory::Directory;
use super::plugin::{Plugin, Unready};
use super::pool::InstancePool;
use super::vocabulary::Topology;

pub(super) struct Snapshot {
    pub(super) plugin: Arc<Plugin>,
    pub(super) directory: Directory,
    /// `None` before the first topology and while the plugin refuses the current one.
    pub(super) pool: Option<Arc<InstancePool>>,
}

impl Snapshot {
    /// The snapshot before the first topology, with no nodes.
    pub(super) fn empty(plugin: Plugin) -> Result<Self, String> {
        Ok(Self {
            plugin: Arc::new(plugin),
            directory: Directory::new(Arc::default())?,
            pool: None,
        })
    }

    /// Another plugin for the same topology.
    pub(super) fn with_plugin(&self, plugin: Plugin, workers: usize) -> Result<Self, Unready> {
        let plugin = Arc::new(plugin);
        let topology = Arc::clone(self.directory.topology());
        let pool = InstancePool::build(&plugin, &topology, workers)?;
        let directory = Directory::new(topology).map_err(Unready::UpdateRefused)?;
        Ok(Self { plugin, directory, pool: Some(Arc::new(pool)) })
    }

    /// The same plugin for another topology. If the plugin refuses the topology, its
    /// error is returned too, and the old instances are kept if their answers are
    /// valid in both topologies. Fails only if the topology is inconsistent.
    pub(super) fn with_topology(
        &self,
        topology: Arc<Topology>,
        workers: usize,
    ) -> Result<(Self, Option<Unready>), String> {
        let directory = Directory::new(topology)?;
        let (pool, unready) = match InstancePool::build(&self.plugin, directory.topology(), workers)
        {
            Ok(pool) => (Some(Arc::new(pool)), None),
            Err(unready) => {
                let same = directory.same_positions(&self.directory);
                (self.pool.clone().filter(|_| same), Some(unready))
            }
        };
        let snapshot = Self { plugin: Arc::clone(&self.plugin), directory, pool };
        Ok((snapshot, unready))
    }
}
