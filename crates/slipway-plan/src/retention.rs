//! Which releases and deployments are not kept any longer (F34), never one that somebody may need: the
//! live one, the one before it, those that a deployment is about or that instances run (S8). Of releases that
//! are large there are fewer.

use std::collections::BTreeSet;

use slipway_model::deployment::DeploymentState;
use slipway_model::id::ReleaseNumber;
use slipway_model::limit::RELEASES_KEPT;
use slipway_model::service::ServiceSpec;

use crate::action::Action;
use crate::view::EnvironmentView;

/// Deployments kept per environment: restarts come on top of releases.
const DEPLOYMENTS_KEPT: usize = 2 * RELEASES_KEPT;

/// What the texts of all releases of one environment may have, those that are needed apart: fifty of the
/// largest would be ten times as much.
const RELEASES_BYTES_MAX: usize = 1 << 20;

/// What goes when one more release and deployment come.
pub fn expired(view: &EnvironmentView) -> Vec<Action> {
    let needed = needed(view);
    let surplus = (view.releases.len() + 1).saturating_sub(RELEASES_KEPT);
    let too_large = view.releases.len() - that_fit(view);
    let unneeded = view.releases.iter().enumerate().filter(|(_, (number, _))| !needed.contains(number));
    let releases = unneeded
        .enumerate()
        .take_while(|(gone, (at, _))| *gone < surplus || *at < too_large)
        .map(|(_, (_, (number, _)))| Action::ForgetRelease(*number));

    let surplus = (view.deployments.len() + 1).saturating_sub(DEPLOYMENTS_KEPT);
    let final_ones = view.deployments.values().filter(|deployment| deployment.state.is_final());
    let deployments = final_ones.take(surplus).map(|deployment| Action::ForgetDeployment(deployment.number));
    releases.chain(deployments).collect()
}

/// How many releases, newest first, have no more bytes than there may be.
fn that_fit(view: &EnvironmentView) -> usize {
    let sums = view.releases.values().rev().scan(0, |sum, release| {
        *sum += release.services.values().map(bytes).sum::<usize>();
        Some(*sum)
    });
    sums.take_while(|sum| *sum <= RELEASES_BYTES_MAX).count()
}

/// The texts that people choose the length of.
fn bytes(spec: &ServiceSpec) -> usize {
    let pairs = spec.env.iter().chain(&spec.labels).map(|(name, value)| name.len() + value.len());
    let words = spec.command.iter().chain(spec.args.iter().flatten()).map(String::len);
    let files = spec.fetch.iter().map(|fetch| fetch.uri.len());
    let ports = spec.ports.iter().flat_map(|port| &port.labels).map(|(name, value)| name.len() + value.len());
    pairs.chain(words).chain(files).chain(ports).sum()
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
