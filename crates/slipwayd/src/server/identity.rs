//! Who this server is for the others of its cluster, and who may connect to it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use slipway_access::Access;
use slipway_link::authority::Authority;
use slipway_link::{Admissions, Credentials, renew};
use slipway_model::cause::chain;
use slipway_model::cluster::Server;
use slipway_model::name::NodeName;
use slipway_model::unit::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::said::Said;

/// Between two times that a server tells where it is.
const TELL_INTERVAL: Duration = Duration::from_secs(60);
/// The same when it could not.
const TELL_AGAIN: Duration = Duration::from_secs(5);

/// What links need.
pub struct Identity {
    pub credentials: watch::Receiver<Arc<Credentials>>,
    pub admissions: Admissions,
    /// Where servers of this cluster take links, this one's too.
    pub servers: watch::Receiver<Vec<String>>,
}

/// Gives this server a certificate and keeps all of it fresh, in tasks that never end.
pub fn establish(
    access: &Access,
    authority: Arc<Authority>,
    name: &NodeName,
    cluster_address: &str,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<Identity> {
    let own = authority.server_credentials(name.as_str(), Timestamp::from(SystemTime::now()))?;
    let (renewed, credentials) = watch::channel(Arc::new(own));
    tasks.spawn(keep(authority, renewed));
    let admissions = Admissions::default();
    let (access_of_task, fed) = (access.clone(), admissions.clone());
    tasks.spawn(async move { access_of_task.keep_admissions(&fed).await });
    tasks.spawn(tell(access.clone(), name.clone(), cluster_address.to_owned()));
    let (found, servers) = watch::channel(vec![cluster_address.to_owned()]);
    let access_of_task = access.clone();
    tasks.spawn(async move { access_of_task.keep_server_addresses(&found).await });
    Ok(Identity { credentials, admissions, servers })
}

async fn keep(authority: Arc<Authority>, credentials: watch::Sender<Arc<Credentials>>) {
    renew::keep_server(&authority, credentials, renew::Clock::system()).await;
}

/// Tells where this server is.
async fn tell(access: Access, name: NodeName, cluster_address: String) {
    let mut said = Said::default();
    loop {
        let server = Server {
            name: name.clone(),
            cluster_address: cluster_address.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            // Set where it is written.
            seen_at: Timestamp(0),
        };
        let pause = match access.tell_server(server).await {
            Ok(()) => {
                said.over();
                TELL_INTERVAL
            }
            Err(error) => {
                said.why(&chain(&error), |why| {
                    tracing::warn!("this server cannot tell the others where it is: {why}; trying on");
                });
                TELL_AGAIN
            }
        };
        tokio::time::sleep(pause).await;
    }
}
