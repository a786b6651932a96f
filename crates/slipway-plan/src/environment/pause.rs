//! Deployments that are held: by somebody, or by themselves after their canaries (AU-05).
//!
//! A held deployment starts nothing of the new release and lets no more of the old one go than has come
//! already; what ends is replaced by what was there before. Its time stands still: when it goes on it has
//! all of it.

use slipway_model::deployment::DeploymentEvent;
use slipway_model::name::ServiceName;
use slipway_model::release::Origin;
use slipway_model::unit::{Span, Timestamp};

use super::Planner;
use super::services::{Aim, Course};
use crate::action::Action;
use crate::rollout::{Counts, Pace};

/// How events that tell of a hold begin.
const PAUSED: &str = "Paused";
const RESUMED: &str = "Resumed";

impl Planner<'_> {
    /// Whether somebody has paused the environment.
    pub(super) fn is_paused(&self) -> bool {
        self.view.wanted.as_ref().is_some_and(|wanted| wanted.is_paused)
    }

    /// How fast a service may be rolled out now.
    pub(super) fn pace(
        &mut self,
        course: Course,
        service: &ServiceName,
        aim: &Aim<'_>,
        counts: Counts,
    ) -> Pace {
        let Aim { spec, asked, .. } = *aim;
        let is_resident = !spec.volumes.is_empty();
        if course != Course::Rollout {
            return Pace { is_resident, ..Pace::default() };
        }
        if self.is_paused() {
            self.held = Some(PAUSED.to_owned());
            let new_max = Some(counts.new_serving + counts.new_unfit);
            return Pace { is_resident, batch: None, new_max };
        }
        let canary = spec.rollout.canary.filter(|canary| *canary < asked && self.has_canaries(service));
        if let Some(canary) = canary.filter(|canary| counts.new_serving >= *canary) {
            self.held = Some(format!("{PAUSED} after {canary} of {asked} {service}"));
        }
        Pace { is_resident, batch: spec.rollout.batch, new_max: canary }
    }

    /// A canary is compared with what runs: without that there is nothing to wait for, and neither in a
    /// restart. What somebody goes back to has run before, and they are in a hurry.
    fn has_canaries(&self, service: &ServiceName) -> bool {
        let Some(current) = &self.deployment else { return false };
        let resumed = self.view.wanted.as_ref().map_or(0, |wanted| wanted.resume_generation);
        let is_running = self.view.live().is_some_and(|live| self.view.asked(live, service) > 0);
        let origin = self.view.releases.get(&current.to).map(|release| &release.origin);
        let goes_back = matches!(origin, Some(Origin::Rollback { .. }));
        is_running && !goes_back && current.from != Some(current.to) && resumed <= current.resume_generation
    }

    /// The deadline of something that is held: never nearer than all the time it is given. Rarely another
    /// one, because each is a write.
    pub(super) fn deadline_of_held(&self, deadline: Timestamp, time: Span) -> Option<Timestamp> {
        (deadline < self.now.plus(time)).then(|| self.now.plus(time).plus(time))
    }

    /// Tells when the deployment is held, and when it goes on.
    pub(super) fn tell_of_hold(&mut self) {
        let Some(current) = &self.deployment else { return };
        let deployment = current.number;
        let events = self.view.deployments.get(&deployment).into_iter().flat_map(|d| &d.events);
        let is_about = |text: &str| text.starts_with(PAUSED) || text == RESUMED;
        let last = events.map(|event| event.text.as_str()).rfind(|text| is_about(text));
        let text = match (&self.held, last) {
            (Some(held), last) if last != Some(held) => held.clone(),
            (None, Some(last)) if last != RESUMED => RESUMED.to_owned(),
            _ => return,
        };
        let event = DeploymentEvent { at: self.now, text };
        self.plan.actions.push(Action::Tell { deployment, event });
    }
}
