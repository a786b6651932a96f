//! What people do in the simulated world: they push, scale, restart, change config and run commands.

use std::collections::BTreeMap;

use slipway_model::instance::RunRequest;
use slipway_model::project::Environment;
use slipway_model::push::{Build, BuildState, BuiltImage, ImageRef, Push, PushOptions};
use slipway_model::service::{ServiceSpec, UpgradeStrategy};
use slipway_model::unit::Bytes;

use super::{Program, World, last_build, web};

impl World {
    /// The environment exists.
    pub(super) fn found(&mut self) {
        self.disk.wanted = Some(Environment {
            path: self.disk.path.clone(),
            deploy_branch: "main".into(),
            config: BTreeMap::new(),
            scale: BTreeMap::new(),
            restart_generation: 0,
            config_generation: 0,
            config_changed_by: None,
            created_at: self.now,
            app: None,
            is_paused: false,
            resume_generation: 0,
            retry_generation: 0,
        });
    }

    pub(super) fn push(&mut self, program: Program, instances: u32, release_command: bool) {
        self.push_with(program, instances, release_command, UpgradeStrategy::default());
    }

    pub(super) fn push_with(
        &mut self,
        program: Program,
        instances: u32,
        release_command: bool,
        upgrade: UpgradeStrategy,
    ) {
        let mem = Bytes::mebi(256);
        let spec = ServiceSpec { instances, listens: true, mem, upgrade, ..ServiceSpec::default() };
        self.push_spec(program, spec, release_command);
    }

    pub(super) fn push_spec(&mut self, program: Program, spec: ServiceSpec, release_command: bool) {
        self.next_program = program;
        let instances = spec.instances;
        let newest = self.disk.builds.keys().next_back().copied().unwrap_or(last_build(self));
        let number = newest.next();
        let digest = format!("sha256:{}", "ab".repeat(32)).parse().expect("a digest");
        let image = BuiltImage {
            image: ImageRef { repository: "acme/shop".into(), digest },
            builder: "python".into(),
            services: [(web(), spec)].into(),
            release_command: release_command.then(|| "migrate".into()),
            domains: Vec::new(),
        };
        let push = Push {
            environment: self.disk.path.clone(),
            number,
            commit: "0123456789012345678901234567890123456789".parse().expect("a commit"),
            subject: "Change".into(),
            branch: "main".into(),
            by: "ann".parse().expect("a name"),
            options: PushOptions::default(),
            forced: false,
            received_at: self.now,
        };
        let build = Build {
            environment: self.disk.path.clone(),
            number,
            state: BuildState::Succeeded { image },
            attempt: 1,
            started_at: self.now,
            ended_at: Some(self.now),
        };
        self.disk.pushes.insert(number, push);
        self.disk.builds.insert(number, build);
        self.tell(|| format!("push {number}: {program:?} × {instances}"));
    }

    pub(super) fn scale(&mut self, instances: u32) {
        let wanted = self.disk.wanted.as_mut().expect("an environment");
        wanted.scale.insert(web(), instances);
        self.tell(|| format!("scale to {instances}"));
    }

    pub(super) fn restart(&mut self) {
        self.disk.wanted.as_mut().expect("an environment").restart_generation += 1;
        self.tell(|| "restart".into());
    }

    pub(super) fn change_config(&mut self) {
        self.next_program = Program::Good;
        self.disk.wanted.as_mut().expect("an environment").config_generation += 1;
        self.tell(|| "config".into());
    }

    pub(super) fn pause(&mut self, is_paused: bool) {
        let wanted = self.disk.wanted.as_mut().expect("an environment");
        wanted.is_paused = is_paused;
        wanted.resume_generation += u64::from(!is_paused);
        self.tell(|| if is_paused { "pause" } else { "resume" }.into());
    }

    /// Whoever fails is tried again at once (MA-18).
    pub(super) fn retry(&mut self) {
        self.disk.wanted.as_mut().expect("an environment").retry_generation += 1;
        self.tell(|| "retry".into());
    }

    pub(super) fn run(&mut self) {
        let instance = self.dice.id();
        let run = RunRequest {
            environment: self.disk.path.clone(),
            instance: instance.clone(),
            command: "ls".into(),
            tty: false,
            by: "ann".parse().expect("a name"),
            created_at: self.now,
        };
        self.disk.runs.insert(instance, run);
        self.tell(|| "run".into());
    }

    pub(super) fn delete(&mut self) {
        self.disk.wanted = None;
        self.disk.runs.clear();
        self.tell(|| "delete".into());
    }
}
