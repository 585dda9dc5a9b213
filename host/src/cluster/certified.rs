//! Whether the certificates of the cluster's processes are those of the processes that are meant, where
//! `cluster.tls` is set.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::model::NodeId;
use crate::net::{Introduce, Introduced, Sign, Socket, Target, Unreached};
use crate::tls::{ClusterPeer, ClusterTls, Role};

/// Checks that a new connection leads to this node.
///
/// # Errors
/// If it has no TLS and has to, or leads to another process.
pub fn check_node(
    tls: &ClusterTls,
    id: &str,
    target: &Target,
    socket: &Socket,
) -> Result<(), Unreached> {
    if !target.is_tls() {
        return may_be_plain(tls, target);
    }
    let node = NodeId::parse(id).map_err(|error| format!("its id {error}"))?;
    check(&Role::Node(node), socket)
}

fn may_be_plain(tls: &ClusterTls, target: &Target) -> Result<(), Unreached> {
    if tls.is_optional() {
        return Ok(());
    }
    Err(format!(
        "{} has no TLS, which cluster.tls wants: give the process there a certificate, or set \
         cluster.tls.optional while the cluster changes over",
        target.host()
    )
    .into())
}

fn check(wanted: &Role, socket: &Socket) -> Result<(), Unreached> {
    let names = socket.peer_names().unwrap_or_default();
    if names.is_of(wanted) {
        return Ok(());
    }
    Err(Unreached {
        why: format!(
            "the certificate there is that of {names}, and not of {wanted}: give each process its \
             own certificate"
        ),
        sign: Sign::Other,
    })
}

/// Begins a node's connections to its coordinators.
pub struct ToCoordinator(pub Arc<ClusterTls>);

impl Introduce for ToCoordinator {
    fn epoch(&self) -> u64 {
        self.0.epoch()
    }

    fn introduce<'a>(
        &'a self,
        target: &'a Target,
        socket: &'a mut Socket,
    ) -> BoxFuture<'a, Result<Introduced, Unreached>> {
        Box::pin(async move {
            match target.is_tls() {
                true => check(&Role::Coordinator, socket)?,
                false => may_be_plain(&self.0, target)?,
            }
            Ok(Introduced::Ready)
        })
    }

    fn ask<'a>(&'a self, _: &'a Target, _: &'a mut Socket) -> BoxFuture<'a, Result<(), Unreached>> {
        // What the node sends next is repeated if it is not answered.
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Why a request of a node, on a connection with this certificate, is not taken by a coordinator.
/// `None`: it may be.
pub fn complaint_on_node(
    tls: Option<&ClusterTls>,
    process: Option<&ClusterPeer>,
    id: Option<&str>,
) -> Option<String> {
    let tls = tls?;
    let Some(process) = process else {
        let text = "this coordinator takes nodes over TLS alone: set systemConfig.cluster.tls on the \
                    node (mooring cluster certificate makes what it needs), and an https URL as its \
                    coordinatorUrl";
        return (!tls.is_optional()).then(|| text.to_owned());
    };
    let id = id?;
    let is_it = NodeId::parse(id).is_ok_and(|id| process.is(&Role::Node(id)));
    (!is_it).then(|| {
        format!(
            "the certificate is that of {}, and the message is that of node {id}: give each node its \
             own certificate, and set cluster.node.id to the name in it",
            process.names()
        )
    })
}

/// The same of a coordinator's connection, for a node.
pub fn complaint_on_coordinator(
    tls: Option<&ClusterTls>,
    process: Option<&ClusterPeer>,
) -> Option<String> {
    let tls = tls?;
    match process {
        None if tls.is_optional() => None,
        None => Some("the coordinator calls without TLS: set cluster.tls there".to_owned()),
        Some(process) if process.is(&Role::Coordinator) => None,
        Some(process) => Some(format!(
            "the certificate is that of {}, and only a coordinator may call a node",
            process.names()
        )),
    }
}
