//! How many instances to start and to retire now: the upgrade arithmetic of MA-48…51.
//!
//! Marathon counts along while it kills and starts. Here each step is computed from what is there, so
//! that a new leader, or one that missed a message, takes the same step. `retire` means: take out of
//! the routes, and stop once the routers have let go. An instance that is retired, but not yet told to
//! stop, can be called back, so it still counts as old and serving.

use slipway_model::service::UpgradeStrategy;

/// What there is of one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Of the wanted release and in the routes.
    pub new_serving: u32,
    /// Of the wanted release, goal run, not serving (yet).
    pub new_unfit: u32,
    /// Of other releases, healthy, goal run.
    pub old_serving: u32,
    /// Of other releases, goal run, not healthy.
    pub old_unfit: u32,
    /// Told to stop and not gone yet, of any release.
    pub ending: u32,
}

/// What else holds a rollout back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pace {
    /// It has volumes, so a new instance takes the place of one that has ended and none comes in addition
    /// (MA-49).
    pub is_resident: bool,
    /// At most so many new instances that do not serve yet (AU-05).
    pub batch: Option<u32>,
    /// At most so many new instances at all, for now: canaries, or as many as there were when somebody
    /// paused it (AU-05).
    pub new_max: Option<u32>,
}

impl Pace {
    /// How many of the new release there may be when so many of it serve.
    fn reach(self, instances: u32, new_serving: u32) -> u32 {
        let batch = self.batch.map_or(u32::MAX, |batch| new_serving.saturating_add(batch.max(1)));
        instances.min(batch).min(self.new_max.unwrap_or(u32::MAX))
    }
}

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Step {
    /// New instances to start.
    pub start: u32,
    /// How many of the healthy old ones should be out of the routes now.
    pub retire_serving: u32,
    /// How many of the old ones that are not healthy should.
    pub retire_unfit: u32,
    /// How many of the wanted release are too many.
    pub retire_new: u32,
}

/// MA-48: what stays healthy throughout.
pub fn min_healthy(instances: u32, strategy: UpgradeStrategy) -> u32 {
    let permille = u64::from(strategy.minimum_health_permille.min(1000));
    (u64::from(instances) * permille).div_ceil(1000) as u32
}

/// MA-48 and MA-49: how many may exist at once. One more when nothing could move otherwise, unless it has
/// volumes: then one less stays healthy.
///
/// Marathon grants that one only if `healthy` has already reached it, and then waits for ever when an
/// old instance is alive and not healthy; here it is granted in that case too (L2).
pub fn max_capacity(instances: u32, strategy: UpgradeStrategy, is_resident: bool) -> u32 {
    if is_resident {
        return instances;
    }
    let permille = 1000 + u64::from(strategy.maximum_over_permille);
    let most = u64::from(instances).saturating_mul(permille) / 1000;
    let one_more = u64::from(most == u64::from(min_healthy(instances, strategy)));
    u32::try_from(most + one_more).unwrap_or(u32::MAX)
}

/// The next step towards `instances` of the wanted release and nothing else.
pub fn step(instances: u32, strategy: UpgradeStrategy, pace: Pace, counts: Counts) -> Step {
    let Counts { new_serving, new_unfit, old_serving, old_unfit, ending } = counts;
    let (new, old) = (new_serving + new_unfit, old_serving + old_unfit);
    let capacity = max_capacity(instances, strategy, pace.is_resident);
    let reach = pace.reach(instances, new_serving);

    // MA-50: at once, and again whenever an old one has ended.
    let room = capacity.saturating_sub(new + old + ending);
    let start = reach.saturating_sub(new).min(room);

    let retire_new = new.saturating_sub(instances);
    if new_serving >= instances {
        return Step { start, retire_new, retire_serving: old_serving, retire_unfit: old_unfit };
    }

    // MA-48 and MA-50: whatever is healthy beyond the minimum may go, so one old for each new.
    let min_healthy = min_healthy(instances, strategy);
    // MA-49: where none may come in addition, one has to go first.
    let first = u32::from(pace.is_resident && min_healthy >= capacity);
    let spare = (new_serving + old_serving + first).saturating_sub(min_healthy);
    // MA-49: fewer are wanted than there are.
    let surplus = old.saturating_sub(instances);
    // What nothing new may take the place of yet has to stay.
    let may_go = old.saturating_sub(instances - reach);
    // Those that do not serve go first, one for each new one that does.
    let retire_unfit = old_unfit.min(new_serving.max(spare).max(surplus)).min(may_go);
    let retire_serving =
        old_serving.min(spare.max(surplus.saturating_sub(old_unfit))).min(may_go - retire_unfit);
    // Only instances that do not serve are in the way of the first new one.
    let is_stuck = start == 0 && new == 0 && ending == 0 && retire_serving + retire_unfit == 0;
    let retire_unfit = if is_stuck && reach > 0 { old_unfit.min(1) } else { retire_unfit };
    Step { start, retire_new, retire_serving, retire_unfit }
}

/// Rounds of starting that a rollout takes, for its deadline.
pub fn waves(instances: u32, strategy: UpgradeStrategy, pace: Pace) -> u32 {
    let capacity = max_capacity(instances, strategy, pace.is_resident);
    let at_once = capacity.saturating_sub(min_healthy(instances, strategy)).max(1);
    let at_once = at_once.min(pace.batch.unwrap_or(u32::MAX).max(1));
    let after_canaries = u32::from(pace.new_max.is_some());
    instances.div_ceil(at_once).max(1).saturating_add(after_canaries)
}

#[cfg(test)]
mod tests;
