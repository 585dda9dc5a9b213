//! The sessions of the simulated servers: what is lost with them.

use std::collections::BTreeMap;

use crate::sync::Locked;

/// A session at a server: what is lost with it.
struct Instance {
    node: usize,
    count: u64,
}

/// The sessions of all servers, by their ids.
#[derive(Default)]
pub struct Servers(Locked<(u64, BTreeMap<String, Instance>)>);

impl Servers {
    pub fn begin(&self, node: usize) -> String {
        let (begun, instances) = &mut *self.0.lock();
        *begun += 1;
        let id = format!("{node}-{begun}");
        instances.insert(id.clone(), Instance { node, count: 0 });
        id
    }

    pub fn lives(&self, id: &str) -> bool {
        self.0.lock().1.contains_key(id)
    }

    pub fn end(&self, id: &str) {
        self.0.lock().1.remove(id);
    }

    /// The node's servers end with it.
    pub fn end_all(&self, node: usize) {
        self.0.lock().1.retain(|_, instance| instance.node != node);
    }

    /// Ends one of a node's, if it has any.
    pub fn end_one(&self, node: usize, which: usize) {
        let instances = &mut self.0.lock().1;
        let of_node = instances.iter().filter(|(_, instance)| instance.node == node);
        let ids: Vec<String> = of_node.map(|(id, _)| id.clone()).collect();
        if let Some(id) = ids.get(which % ids.len().max(1)) {
            instances.remove(id);
        }
    }

    pub fn count(&self, id: &str) -> Option<u64> {
        let instances = &mut self.0.lock().1;
        let instance = instances.get_mut(id)?;
        instance.count += 1;
        Some(instance.count)
    }
}
