//! What nodes meet in a server that leads: the hub, and what they have open beside their own link.

use std::sync::Arc;

use slipway_control::leader::RouterMessage;
use slipway_link::{LinkStream, Service};
use slipway_model::name::NodeName;
use slipway_model::route::RouteTable;
use slipway_registry::Repository;
use slipway_registry::server::pulls::Pulls;
use tokio::sync::{mpsc, watch};

use super::Hub;
use crate::glue::routers;

/// See the module; clones are the same.
#[derive(Clone)]
pub struct Ends {
    pub hub: Hub,
    pub table: watch::Receiver<Arc<RouteTable>>,
    pub router_messages: mpsc::Sender<RouterMessage>,
    /// `None` until the registry can be had.
    pub pulls: watch::Receiver<Option<Pulls>>,
}

impl Ends {
    /// Whether there is anything behind a service now.
    pub fn serves(&self, service: Service) -> bool {
        service != Service::Registry || self.pulls.borrow().is_some()
    }

    /// Serves a link of a node until it ends, at the latest with `shut_out`. Every node may pull from
    /// `stacks`: images are built on them.
    pub async fn serve(
        &self,
        service: Service,
        node: &NodeName,
        link: LinkStream,
        stacks: &str,
        shut_out: impl Future<Output = ()>,
    ) {
        if service == Service::Node {
            return self.hub.take(link, shut_out).await;
        }
        tokio::select! {
            () = self.serve_beside(service, node, link, stacks) => {}
            () = shut_out => {}
        }
    }

    async fn serve_beside(&self, service: Service, node: &NodeName, link: LinkStream, stacks: &str) {
        let pulls = self.pulls.borrow().clone();
        match (service, pulls) {
            (Service::Routes, _) => {
                let (table, messages) = (self.table.clone(), self.router_messages.clone());
                self.hub.beside(node, routers::feed_node(node.clone(), link, table, messages)).await;
            }
            (Service::Registry, Some(pulls)) => {
                let may_pull = |repository: &Repository| {
                    repository.as_str() == stacks || self.hub.may_pull(node, repository)
                };
                self.hub.beside(node, pulls.serve(link, may_pull)).await;
            }
            // The acceptor gives a node nothing else.
            _ => {}
        }
    }
}
