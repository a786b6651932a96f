//! An app of `/v2` in the simulated world: what the API writes of it.

use std::collections::BTreeMap;

use slipway_model::app::{App, PathId, app_service, environment_of};
use slipway_model::push::ImageRef;
use slipway_model::service::ServiceSpec;
use slipway_model::unit::Timestamp;

use super::{Faults, Program, World};
use crate::view::EnvironmentView;

impl World {
    /// A world with an app that is not there yet.
    pub(super) fn of_app(seed: u64, nodes: u32, faults: Faults, id: &PathId) -> Self {
        let mut world = Self::new(seed, nodes, faults);
        world.disk = EnvironmentView::new(environment_of(&"acme".parse().expect("a name"), id));
        world.service = app_service();
        world
    }

    /// The app is made, or gets another specification.
    pub(super) fn put_app(&mut self, id: &PathId, version: Timestamp, program: Program, spec: ServiceSpec) {
        if self.disk.wanted.is_none() {
            self.found();
            self.disk.wanted.as_mut().expect("an environment").app = Some(id.clone());
        }
        self.next_program = program;
        let restart_generation = self.disk.app.as_ref().map_or(0, |app| app.restart_generation);
        let digest = format!("sha256:{}", "ab".repeat(32)).parse().expect("a digest");
        self.disk.app = Some(App {
            tenant: "acme".parse().expect("a name"),
            id: id.clone(),
            version,
            config_version: version,
            scaled_version: version,
            restart_generation,
            definition: "{}".into(),
            spec,
            image: ImageRef { repository: "acme/app".into(), digest },
            secrets: BTreeMap::new(),
            config: BTreeMap::new(),
            by: "ann".parse().expect("a name"),
        });
        self.tell(|| format!("put {id} {version}: {program:?}"));
    }

    /// MA-33: nothing but another number of copies.
    pub(super) fn scale_app(&mut self, version: Timestamp, instances: u32) {
        let app = self.disk.app.as_mut().expect("an app");
        app.version = version;
        app.scaled_version = version;
        app.spec.instances = instances;
        self.tell(|| format!("scale to {instances}"));
    }

    pub(super) fn restart_app(&mut self, version: Timestamp) {
        let app = self.disk.app.as_mut().expect("an app");
        app.version = version;
        app.restart_generation += 1;
        self.tell(|| "restart".into());
    }

    pub(super) fn delete_app(&mut self) {
        self.disk.app = None;
        self.delete();
    }

    /// True when the app runs at that version or a later one, whatever anybody says of it.
    pub(super) fn is_up(&self, version: Timestamp) -> bool {
        let Some(live) = self.disk.live() else { return false };
        let processes = self.nodes.values().flat_map(|(_, sim)| sim.processes.values());
        let serves = |process: &&super::Process| {
            process.assignment.release == live
                && process.answers
                && !self.disk.retiring.contains(&process.assignment.instance)
        };
        self.disk.aim().is_some_and(|aim| aim.version >= version)
            && self.disk.deployment().is_none()
            && processes.filter(serves).count() >= self.disk.asked(live, &self.service) as usize
    }
}
