//! What needs the registry: the builder, the images of releases, the stack.

use std::path::PathBuf;

use slipway_agent::Agent;
use slipway_build::{Builder, BuilderHandle};
use slipway_git::Sources;
use slipway_model::id::Epoch;
use slipway_model::push::ImageRef;
use slipway_registry::Registry;
use slipway_registry::server::{Server, ServerOptions};
use tokio::task::JoinSet;

use crate::glue::authority::TenantAuthority;
use crate::glue::config::Source;
use crate::glue::pins;
use crate::glue::sandbox::AgentSandbox;
use crate::term::Ground;

/// How to build.
#[derive(Debug, Clone)]
pub struct WorkshopOptions {
    /// Certificates that builds trust.
    pub ca_bundle: PathBuf,
    /// Builds at the same time.
    pub builds: usize,
}

/// Builds what was pushed, and keeps images.
pub struct Workshop {
    builder: BuilderHandle,
    registry: Server<TenantAuthority>,
    /// Keeps the images of releases; never ends.
    pins: JoinSet<()>,
    /// Brings the stack; ends when it is there.
    stack: JoinSet<()>,
}

impl Workshop {
    /// Begins to work, in the term of that epoch. The sandboxes of builds are the agent's.
    pub fn start(
        ground: &Ground,
        options: &WorkshopOptions,
        epoch: Epoch,
        registry: Registry,
        agent: Agent,
        sources: Sources,
    ) -> Self {
        let Ground { store, access, paths, journal, .. } = ground;
        let mut pins = JoinSet::new();
        pins.spawn(pins::keep(store.clone(), registry.clone()));
        let mut stack = JoinSet::new();
        stack.spawn(bring_stack(ground.stack.clone(), registry.clone(), agent.clone()));
        let builder = Builder::start(
            slipway_build::Options {
                repositories: paths.repositories(),
                cache: paths.cache(),
                journal: journal.clone(),
                stack_default: ground.stack.clone(),
                ca_bundle: options.ca_bundle.exists().then(|| options.ca_bundle.clone()),
                builds_max: options.builds.max(1),
                epoch: Some(epoch),
            },
            store.clone(),
            registry.clone(),
            AgentSandbox { agent, cache: paths.cache() },
            Source { store: store.clone(), keyring: access.keyring().clone(), sources },
        );
        let authority = TenantAuthority::new(access.clone());
        let registry = Server::new(registry, authority, ServerOptions::default());
        Self { builder, registry, pins, stack }
    }

    /// Answers connections to the registry.
    pub fn registry(&self) -> Server<TenantAuthority> {
        self.registry.clone()
    }

    /// Waits until a part has ended that should not, and names it.
    pub async fn ended(&mut self) -> &'static str {
        tokio::select! {
            () = self.builder.ended() => "the builder",
            _ = self.pins.join_next() => "what keeps the images of releases",
        }
    }

    /// Ends the builds, which the next builder begins anew, and everything else.
    pub async fn stop(mut self) {
        self.builder.stop().await;
        self.pins.shutdown().await;
        self.stack.shutdown().await;
    }
}

/// Unpacks the stack before the first push would have to wait for it.
async fn bring_stack(name: String, registry: Registry, agent: Agent) {
    let found = tokio::task::block_in_place(|| slipway_build::stack::find(&name, &registry));
    let stack = match found {
        Ok(Some(stack)) => stack,
        Ok(None) => {
            tracing::warn!(
                "there is no stack {name} to build on; stop slipwayd and run: slipwayd stack create {name}"
            );
            return;
        }
        Err(error) => {
            tracing::error!(%error, "the stack {name} cannot be read");
            return;
        }
    };
    for digest in [stack.run, stack.build] {
        let image = ImageRef { repository: stack.repository.to_string(), digest };
        if let Err(error) = agent.bring(image).await {
            tracing::error!(error = error.chain(), "the stack {name} cannot be unpacked");
        }
    }
}
