//! What the labels of an app ask for and requests do not get (MA-80), for the people who wrote them.

use std::collections::BTreeMap;

use slipway_marathon::virtual_host;
use slipway_model::name::EnvironmentPath;
use slipway_model::project::HostState;
use slipway_model::route::RouteTable;
use slipway_plan::view::EnvironmentView;

use super::{Asking, Claims};

/// The keys that do not lead to the environment though its release asks for them, each with the reason.
/// `name` is what people call an environment of the same tenant.
pub fn unrouted(
    view: &EnvironmentView,
    asking: &Asking,
    claims: &Claims,
    table: &RouteTable,
    name: impl Fn(&EnvironmentPath) -> String,
) -> BTreeMap<String, String> {
    let reason = |key: &str| {
        let (host, path) = virtual_host::split(key);
        let Some(claim) = claims.get(host) else {
            return Some(format!(
                "nobody has claimed the name: slipway domains add {host} -e {}",
                name(&view.path)
            ));
        };
        if claim.service.tenant != view.path.tenant {
            return Some("the name is not this tenant's".to_owned());
        }
        let holder = claim.service.environment();
        match claim.state {
            HostState::Unproven { .. } => Some(format!(
                "the name is not proven yet: slipway domains verify {host} -e {}",
                name(&holder)
            )),
            HostState::Tombstone => {
                Some(format!("the name was given up: slipway domains add {host} -e {}", name(&view.path)))
            }
            HostState::Platform | HostState::Proven => {
                let there = table.routes.get(key).map(|route| route.service.environment());
                let there = there.or(path.is_empty().then_some(holder))?;
                (there != view.path).then(|| format!("it leads to {}", name(&there)))
            }
        }
    };
    asking.wanted().filter_map(|key| Some((key.to_owned(), reason(key)?))).collect()
}
