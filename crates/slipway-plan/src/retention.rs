//! Which releases and deployments are not kept any longer (F34), never one that somebody may need: the
//! live one, the one before it, those that a deployment is about or that instances run (S8).

use std::collections::BTreeSet;

use slipway_model::deployment::DeploymentState;
use slipway_model::id::ReleaseNumber;
use slipway_model::limit::RELEASES_KEPT;

use crate::action::Action;
use crate::view::EnvironmentView;

/// Deployments kept per environment: restarts come on top of releases.
const DEPLOYMENTS_KEPT: usize = 2 * RELEASES_KEPT;

/// What goes when one more release and deployment come.
pub fn expired(view: &EnvironmentView) -> Vec<Action> {
    let needed = needed(view);
    let surplus = (view.releases.len() + 1).saturating_sub(RELEASES_KEPT);
    let unneeded = view.releases.keys().filter(|number| !needed.contains(number));
    let releases = unneeded.take(surplus).map(|number| Action::ForgetRelease(*number));

    let surplus = (view.deployments.len() + 1).saturating_sub(DEPLOYMENTS_KEPT);
    let final_ones = view.deployments.values().filter(|deployment| deployment.state.is_final());
    let deployments = final_ones.take(surplus).map(|deployment| Action::ForgetDeployment(deployment.number));
    releases.chain(deployments).collect()
}

fn needed(view: &EnvironmentView) -> BTreeSet<ReleaseNumber> {
    let mut needed: BTreeSet<_> = view.live().into_iter().collect();
    needed.extend(view.assignments.iter().map(|assignment| assignment.release));
    needed.extend(
        view.deployment()
            .into_iter()
            .flat_map(|deployment| deployment.from.into_iter().chain([deployment.to])),
    );
    let went_live =
        view.deployments.values().rev().filter(|d| matches!(d.state, DeploymentState::Live { .. }));
    let before_live = went_live.map(|deployment| deployment.to).find(|to| Some(*to) != view.live());
    needed.extend(before_live);
    // A request that has not been taken up yet finds what the API saw.
    for request in view.requests.values() {
        if let slipway_model::release::WantedRelease::Rollback { to } = request.wanted {
            needed.insert(to);
        }
    }
    needed
}
