//! One build, from a push to an image. [`Job::run`] is the arrow `Push → Build` of the map, and reads
//! as the story that the pusher sees.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

use slipway_model::account::Tenant;
use slipway_model::limit::MANIFEST_BYTES_MAX;
use slipway_model::manifest::{self, Manifest};
use slipway_model::project::{Environment, HostClaim, HostState};
use slipway_model::push::{BuiltImage, ImageRef, Push};
use slipway_registry::image::ImageBuilder;
use slipway_registry::{Reference, Registry, Repository};
use slipway_store::Store;
use tokio::task::block_in_place;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::base::Base;
use crate::beneath::Dir;
use crate::builder::{self, CONTENT_BYTES_MAX, Files, Inputs, Plan, Recipe};
use crate::buildpack::{self, Materials, PackSource};
use crate::config_source::{ConfigSource, ConfigVar};
use crate::error::Error;
use crate::layer::LayerBuilder;
use crate::made::{self, MadeLayer, Remembered};
use crate::output::Output;
use crate::procfile::{self, Procfile};
use crate::sandbox::Sandbox;
use crate::services::{self, Services};
use crate::slugignore::SlugIgnore;
use crate::source::{Source, Tree, extract, mebi};
use crate::workshop::{Order, Step, Workshop};

/// Longest Procfile.
const PROCFILE_BYTES_MAX: u64 = 64 << 10;

/// Everything one build needs.
pub(crate) struct Job<'a, S, C> {
    pub store: &'a Store,
    pub registry: &'a Registry,
    pub sandbox: &'a S,
    pub config: &'a C,
    pub repositories: PathBuf,
    pub cache: PathBuf,
    pub stack_default: &'a str,
    pub ca_bundle: Option<PathBuf>,
    pub push: &'a Push,
    pub output: &'a Output,
    pub cancel: &'a CancellationToken,
}

/// What the first look at a commit tells.
struct Commit {
    source: Source,
    manifest: Manifest,
    /// All files below the build's root, and the contents of some.
    files: Files,
    ignore: SlugIgnore,
}

/// What a way of building ends with.
struct Outcome {
    image: ImageRef,
    builder: String,
    services: Services,
}

impl<S: Sandbox, C: ConfigSource> Job<'_, S, C> {
    /// Builds. What the pusher should read is in the output, what the record needs is returned.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::reason`] is for the record.
    pub async fn run(&self) -> Result<BuiltImage, Error> {
        let began = Instant::now();
        self.config.bring_source(&self.push.environment).await.map_err(Error::Source)?;
        let mut commit = block_in_place(|| self.read_commit())?;
        let Outcome { image, builder, services } = match commit.manifest.build.builder {
            manifest::Builder::Image => block_in_place(|| self.take_image(&commit.manifest))?,
            builder => self.build(builder, &mut commit, began).await?,
        };
        let environment = &self.push.environment.environment;
        let domains =
            commit.manifest.environments.get(environment).map(|e| e.domains.clone()).unwrap_or_default();
        let Services { specs, release_command } = services;
        for (name, spec) in &specs {
            self.output
                .note(&format!("{name}: {}", spec.command.as_deref().unwrap_or("what the image starts")));
        }
        for domain in &domains {
            self.tell_domain(domain).await?;
        }
        self.tell_environments(&commit.manifest).await?;
        Ok(BuiltImage { image, builder, services: specs, release_command, domains })
    }

    /// A domain in the manifest is a wish: only what somebody has claimed and proven is routed.
    async fn tell_domain(&self, host: &str) -> Result<(), Error> {
        let environment = &self.push.environment;
        let claim = self.store.get::<HostClaim>(&host.to_lowercase()).await?;
        let ours = claim.filter(|claim| claim.record.service.environment() == *environment);
        match ours.map(|claim| claim.record.state) {
            Some(HostState::Proven) => self.output.note(&format!("{host} leads here")),
            Some(HostState::Unproven { .. }) => self.output.alarm(&format!(
                "{host} is claimed but not proven; see: slipway domains verify {host} -e {environment}"
            )),
            _ => self.output.alarm(&format!(
                "{host} is not claimed yet, so it does not lead here: slipway domains add {host} -e {environment}"
            )),
        }
        Ok(())
    }

    /// An environment whose name is misspelt would be passed over in silence.
    async fn tell_environments(&self, manifest: &Manifest) -> Result<(), Error> {
        let project = self.push.environment.project();
        let known = self.store.list::<Environment>(&project.to_string()).await?;
        let known: Vec<_> = known.iter().map(|found| found.record.path.environment.as_str()).collect();
        for name in manifest.environments.keys().filter(|name| !known.contains(&name.as_str())) {
            self.output.alarm(&format!(
                "slipway.yaml speaks of the environment {name}, but {project} has only {}",
                known.join(", ")
            ));
        }
        Ok(())
    }

    fn read_commit(&self) -> Result<Commit, Error> {
        let environment = &self.push.environment;
        let repository =
            self.repositories.join(environment.tenant.as_str()).join(format!("{}.git", environment.project));
        let mut source = Source::open(&repository, &self.push.commit)?;
        let text = source
            .root_file("slipway.yaml", MANIFEST_BYTES_MAX)?
            .ok_or_else(|| Error::refused("the commit has no slipway.yaml at its top level"))?;
        let manifest = manifest::parse(&text).map_err(|e| Error::refused(e.to_string()))?;
        if manifest.project != environment.project() {
            return Err(Error::refused(format!(
                "slipway.yaml says project: {}, but this is {}",
                manifest.project,
                environment.project()
            )));
        }
        let tree = source.tree(manifest.build.root.as_deref())?;
        let mut contents = BTreeMap::new();
        for path in builder::contents_wanted(&tree) {
            if let Some(file) = tree.file(path) {
                contents.insert(path.to_owned(), source.read(path, file, CONTENT_BYTES_MAX)?);
            }
        }
        let ignore = contents.get(".slugignore").map(|text| SlugIgnore::parse(text)).unwrap_or_default();
        Ok(Commit { source, manifest, files: Files { tree, contents }, ignore })
    }

    /// `builder: image`: nothing is built, a name of the tenant's registry is resolved once.
    fn take_image(&self, manifest: &Manifest) -> Result<Outcome, Error> {
        let environment = &self.push.environment;
        let wanted = manifest.build.image.as_deref().unwrap_or_default();
        let (name, reference) = Reference::split(wanted);
        let full =
            if name.contains('/') { name.to_owned() } else { format!("{}/{name}", environment.tenant) };
        let refuse = |why: &str| Error::refused(format!("build.image: {wanted} {why}"));
        let repository: Repository = full.parse().map_err(|_| refuse("is not the name of an image"))?;
        if repository.tenant() != environment.tenant.as_str() {
            return Err(refuse(&format!("is not in the registry of {}", environment.tenant)));
        }
        let reference = reference.map_err(|_| refuse("has neither a valid tag nor a digest"))?;
        let image = self.registry.image(&repository, &reference).map_err(|error| match error {
            slipway_registry::Error::ManifestUnknown { .. } => {
                refuse("is not in the registry; push it first")
            }
            error => Error::Registry(error),
        })?;
        self.output.step(&format!("Using image {full}@{}", image.digest.short()));
        let services = services::merge(manifest, &environment.environment, None, &BTreeMap::new(), true)?;
        let image = ImageRef { repository: repository.to_string(), digest: image.digest };
        Ok(Outcome { image, builder: "image".to_owned(), services })
    }

    async fn build(
        &self,
        builder: manifest::Builder,
        commit: &mut Commit,
        began: Instant,
    ) -> Result<Outcome, Error> {
        let stack = commit.manifest.build.stack.as_deref().unwrap_or(self.stack_default);
        let base = block_in_place(|| Base::load(self.registry, stack))?;
        if matches!(builder, manifest::Builder::Auto | manifest::Builder::Buildpacks) {
            let config = self.config.config(&self.push.environment).await.map_err(Error::Config)?;
            let packs = buildpack::named(&commit.manifest, &commit.files, &config)?;
            if !packs.is_empty() {
                return self.build_with_packs(commit, &base, &packs, &config, began).await;
            }
            if builder == manifest::Builder::Buildpacks {
                return Err(Error::refused(
                    "builder: buildpacks needs a buildpack: name it in build.buildpacks, in .buildpacks or in the \
                     config variable BUILDPACK_URL",
                ));
            }
        }
        let plan = builder::choose(builder, &commit.files)?;
        self.output.step(&plan.headline);
        plan.notes.iter().for_each(|note| self.output.note(note));
        if let Some(made) = plan.recipe.as_ref().map(|recipe| recipe.dependencies)
            && commit.files.tree.has_directory(made)
        {
            self.output.note(&format!("{made} of the commit is not used: it is made here"));
        }
        // What the app starts can be known before anything runs, and so can its absence.
        let procfile = commit.files.contents.get("Procfile").map(|text| procfile::parse(text)).transpose()?;
        let environment = &self.push.environment.environment;
        let services = services::merge(&commit.manifest, environment, procfile, &plan.process_types, false)?;

        let mut layers = Vec::new();
        let mut complete = false;
        if let Some(recipe) = &plan.recipe {
            layers = self.carry_out(recipe, &plan, commit, &base, began).await?;
            complete = recipe.changes_tree;
        }
        let image = block_in_place(|| {
            if !complete {
                let Commit { source, files, ignore, .. } = commit;
                let mut app = self.layer(&layers)?;
                app.add_tree(source, &files.tree, |path| is_wanted(path, &plan.left_out, ignore))?;
                let app = app.finish()?;
                layers.push(MadeLayer::new(&app.layer, app.size));
            }
            self.put_image(&base, &layers, &plan.env, began)
        })?;
        Ok(Outcome { image, builder: plan.builder.to_owned(), services })
    }

    /// Runs a recipe, or finds what it made before. Returns the layer of its dependencies and, if
    /// the recipe changes the tree, that of everything else.
    async fn carry_out(
        &self,
        recipe: &Recipe,
        plan: &Plan,
        commit: &mut Commit,
        base: &Base,
        began: Instant,
    ) -> Result<Vec<MadeLayer>, Error> {
        let Commit { source, files, ignore, .. } = commit;
        let wanted = |path: &[u8]| is_wanted(path, &plan.left_out, ignore);
        let environment = &self.push.environment;
        let memory = Remembered::new(&self.cache.join(environment.to_string()));
        let key = made::key(recipe, &base.build, &files.tree, wanted);
        let use_cache = !self.push.options.no_cache;
        if use_cache {
            let found = block_in_place(|| memory.find(&key, self.registry, &self.repository()))?;
            if let Some(made) = found {
                self.output.step("Dependencies are unchanged; using those of an earlier build");
                return Ok(made.layers);
            }
        }

        self.output.step(recipe.title);
        let workshop = self.workshop(base, use_cache, began).await?;
        block_in_place(|| {
            let seen = |path: &[u8]| match &recipe.inputs {
                Inputs::Tree => wanted(path),
                Inputs::Files(names) => names.iter().any(|name| name.as_bytes() == path),
            };
            let all = files.tree.files.iter().filter(|(path, _)| seen(path));
            let tree = Tree { files: all.map(|(path, file)| (path.clone(), file.clone())).collect() };
            extract(source, &tree, &workshop.directory("app")?, workshop.uid())
        })?;
        let step = Step {
            what: &recipe.title.to_lowercase(),
            script: recipe.script,
            arguments: &recipe.arguments,
            env: BTreeMap::new(),
            sees: &[("app", "/app")],
            cwd: "/app",
            network: true,
        };
        workshop.run(step).await?;

        block_in_place(|| {
            let app = workshop.open_directory("app")?;
            let dependencies = recipe.dependencies.as_bytes();
            let mut layer = self.layer(&[])?;
            let mut skipped = layer.add_dir(&app, b"", |name| name == dependencies)?;
            let packed = layer.finish()?;
            let mut layers = vec![MadeLayer::new(&packed.layer, packed.size)];
            if recipe.changes_tree {
                let mut layer = self.layer(&layers)?;
                skipped.extend(layer.add_dir(&app, b"", |name| name != dependencies)?);
                let packed = layer.finish()?;
                layers.push(MadeLayer::new(&packed.layer, packed.size));
            }
            self.tell_skipped(&skipped);
            if let Err(error) = memory.remember(key, layers.clone()) {
                // The image is good; only the next build is slower.
                tracing::warn!(environment = %environment, %error, "what a build made cannot be remembered");
            }
            Ok(layers)
        })
    }

    async fn build_with_packs(
        &self,
        commit: &mut Commit,
        base: &Base,
        packs: &[PackSource],
        config: &[ConfigVar],
        began: Instant,
    ) -> Result<Outcome, Error> {
        self.output.redact(config.iter().filter(|var| var.secret).map(|var| var.value.clone()));
        let Commit { source, manifest, files, ignore } = commit;
        let workshop = self.workshop(base, !self.push.options.no_cache, began).await?;
        let kept = files.tree.files.iter().filter(|(path, _)| !ignore.excludes(path));
        let tree = Tree { files: kept.map(|(path, file)| (path.clone(), file.clone())).collect() };
        let commit_id = self.push.commit.to_string();
        let materials = Materials { packs, tree: &tree, whole: &files.tree, config, commit: &commit_id };
        let proposed = buildpack::run(&workshop, source, &materials).await?;
        block_in_place(|| {
            let build = workshop.open_directory("build")?;
            // A buildpack may have written the Procfile.
            let procfile = read_procfile(&build)?;
            let environment = &self.push.environment.environment;
            let services = services::merge(manifest, environment, procfile, &proposed, false)?;
            let mut layer = self.layer(&[])?;
            let skipped = layer.add_dir(&build, b"", |name| name != b".git")?;
            self.tell_skipped(&skipped);
            let packed = layer.finish()?;
            let layers = [MadeLayer::new(&packed.layer, packed.size)];
            let image = self.put_image(base, &layers, &[], began)?;
            Ok(Outcome { image, builder: "buildpacks".to_owned(), services })
        })
    }

    async fn workshop(&self, base: &Base, use_cache: bool, began: Instant) -> Result<Workshop<'_, S>, Error> {
        let environment = &self.push.environment;
        let tenant = self.store.get::<Tenant>(&environment.tenant).await?;
        let tenant =
            tenant.ok_or_else(|| Error::refused(format!("the tenant {} is gone", environment.tenant)))?;
        let order = Order {
            sandbox: self.sandbox,
            output: self.output,
            cancel: self.cancel,
            image: base.build.clone(),
            tenant_index: tenant.record.index,
            cache_of: use_cache.then_some(environment),
            cache_dir: &self.cache,
            // No name has two dashes in a row, so no two builds share a name.
            name: format!("build--{}--{}", environment.to_string().replace('/', "--"), self.push.number),
            ca_bundle: self.ca_bundle.clone(),
            began,
        };
        Workshop::open(order).await
    }

    fn put_image(
        &self,
        base: &Base,
        layers: &[MadeLayer],
        env: &[(&str, &str)],
        began: Instant,
    ) -> Result<ImageRef, Error> {
        let repository = self.repository();
        let mut image = ImageBuilder::over(self.registry, &repository, &base.repository, &base.run)?;
        for layer in layers {
            image.push(layer.layer(), "slipway build");
        }
        for (key, value) in env {
            image.env(key, value);
        }
        let config = image.config();
        config.entrypoint = vec!["/slipway/launch".to_owned()];
        config.cmd = Vec::new();
        config.working_dir = "/app".to_owned();
        config.user = "1000:1000".to_owned();
        let digest = image.finish(None)?;
        let size = layers.iter().map(|layer| layer.size).sum();
        let layers =
            if layers.len() == 1 { "1 layer".to_owned() } else { format!("{} layers", layers.len()) };
        let seconds = began.elapsed().as_secs_f64();
        self.output.step(&format!(
            "Image {layers}, {}, on {}, built in {seconds:.1} s",
            mebi(size),
            base.name
        ));
        Ok(ImageRef { repository: repository.to_string(), digest })
    }

    /// A layer to put on those.
    fn layer(&self, below: &[MadeLayer]) -> Result<LayerBuilder, Error> {
        let size_before = below.iter().map(|layer| layer.size).sum();
        LayerBuilder::new(self.registry, &self.repository(), size_before, self.cancel.clone())
    }

    fn repository(&self) -> Repository {
        Repository::of_project(&self.push.environment.project())
    }

    fn tell_skipped(&self, skipped: &[String]) {
        for path in skipped {
            self.output.note(&format!("Left out {path}: it is a device, fifo or socket"));
        }
    }
}

/// What of a commit goes into the sandbox and the image.
fn is_wanted(path: &[u8], left_out: &[&str], ignore: &SlugIgnore) -> bool {
    let top = path.split(|b| *b == b'/').next().unwrap_or(path);
    !left_out.iter().any(|name| name.as_bytes() == top) && !ignore.excludes(path)
}

fn read_procfile(dir: &Dir) -> Result<Option<Procfile>, Error> {
    let Ok(file) = dir.file("Procfile") else { return Ok(None) };
    let mut text = Vec::new();
    file.take(PROCFILE_BYTES_MAX).read_to_end(&mut text).map_err(Error::io("read", "Procfile".as_ref()))?;
    procfile::parse(&text).map(Some)
}
