//! What runs while the faults come: one program in six copies behind one host name, and a record that is
//! written over and over.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use super::containers::Containers;
use super::ledger;
use crate::cluster::ask::{ask, request};
use crate::cluster::{HostKind, Lab, developer, slipway};
use crate::run::step;

/// The tenant whose quota is the record that is written; nobody else looks at it.
pub const LEDGER: &str = "ledger";
/// The same for [`Setting::write_for`].
const KEPT: &str = "kept";
const COPIES: usize = 6;
const PATIENCE: Duration = Duration::from_secs(5);

/// Everything that the watchers need to know.
pub struct Setting {
    pub token: String,
    pub routers: usize,
    pub next_number: Arc<AtomicU32>,
    /// See [`ledger::Seen::unknown`]; of all faults so far.
    pub unknown: Mutex<BTreeSet<u32>>,
}

impl Setting {
    /// Makes it on a cluster that has just come up.
    pub fn make(lab: &Lab) -> anyhow::Result<Self> {
        let output = slipway::command(lab).args(["tokens", "create", "faults", "--json"]).output()?;
        if !output.status.success() {
            bail!("no token: {}", String::from_utf8_lossy(&output.stderr));
        }
        let token: Value = serde_json::from_slice(&output.stdout)?;
        let token = token["token"].as_str().context("an answer without a token")?.to_owned();
        for tenant in [LEDGER, KEPT] {
            let made =
                slipway::command(lab).args(["tenants", "create", tenant]).stdout(Stdio::null()).status()?;
            anyhow::ensure!(made.success(), "the tenant {tenant} was not made");
        }
        let setting = Self {
            token,
            routers: usize::from(slipway::ROUTERS),
            next_number: Arc::new(AtomicU32::new(1)),
            unknown: Mutex::default(),
        };
        step("A program is pushed, and runs in six copies", || {
            developer::push(lab)?;
            developer::slipway(lab, &["scale", &format!("web={COPIES}"), "-e", "dev"])?;
            setting.wait_until_whole(lab, Duration::from_secs(120))
        })?;
        Ok(setting)
    }

    /// Until the leader counts every copy healthy, the nodes run exactly those, and both routers serve.
    pub fn wait_until_whole(&self, lab: &Lab, patience: Duration) -> anyhow::Result<()> {
        lab.wait("six copies run, are healthy and answer", patience, || {
            let containers = Containers::look(lab);
            let serves = lab.of(HostKind::Node).take(self.routers).all(|host| {
                let request =
                    format!("GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", developer::HOST);
                ask((host.address, slipway::ROUTER), &request, PATIENCE)
                    .is_ok_and(|answer| answer.status == 200)
            });
            self.healthy(lab) == Some(COPIES)
                && containers.count() == COPIES
                && containers.duplicates() == 0
                && serves
        })
        .with_context(|| {
            let (healthy, nodes) = (self.healthy(lab), Containers::look(lab));
            format!("the leader counts {healthy:?} healthy; the nodes run {:?}", nodes.by_node())
        })
    }

    /// How many copies the leader counts healthy.
    fn healthy(&self, lab: &Lab) -> Option<usize> {
        let app = self.ask(lab, "GET", "/v2/apps//acme/dev/web/web", "").ok()?;
        usize::try_from(app["app"]["tasksHealthy"].as_u64()?).ok()
    }

    /// What was acknowledged last is there, or something later, or a write of unknown fate (S1).
    pub fn check_ledger(&self, lab: &Lab, seen: ledger::Seen) -> anyhow::Result<()> {
        let Some(acknowledged) = seen.acknowledged else { bail!("no write was acknowledged") };
        let mut unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        unknown.extend(seen.unknown);
        let stored = self.stored(lab, LEDGER)?;
        match stored {
            Some(stored) if stored >= u64::from(acknowledged) => Ok(()),
            Some(stored) if unknown.iter().any(|number| u64::from(*number) == stored) => Ok(()),
            stored => bail!("an acknowledged write is lost: {acknowledged} was, {stored:?} is there (S1)"),
        }
    }

    /// Writes one record over and over for so long, and says which write was acknowledged last. Nothing else
    /// writes that record.
    pub fn write_for(&self, lab: &Lab, time: Duration) -> anyhow::Result<u64> {
        let began = Instant::now();
        let mut acknowledged = None;
        while began.elapsed() < time {
            let number = self.next_number.fetch_add(1, Ordering::Relaxed);
            let body = format!("{{\"instances\":{number},\"weight\":1}}");
            if self.ask(lab, "PUT", &format!("/v1/quotas/{KEPT}"), &body).is_ok() {
                acknowledged = Some(u64::from(number));
            }
        }
        acknowledged.context("no write was acknowledged")
    }

    /// What is stored of that record.
    pub fn written(&self, lab: &Lab) -> anyhow::Result<u64> {
        self.stored(lab, KEPT)?.with_context(|| format!("the quota of {KEPT} is not there"))
    }

    fn stored(&self, lab: &Lab, tenant: &str) -> anyhow::Result<Option<u64>> {
        let quotas = self.ask(lab, "GET", "/v1/quotas", "")?;
        let list = quotas["items"].as_array().context("no list of quotas")?;
        let ours = list.iter().find(|quota| quota["tenant"] == tenant);
        Ok(ours.and_then(|quota| quota["instances"].as_u64()))
    }

    /// Asks the servers in turn until one answers well.
    fn ask(&self, lab: &Lab, method: &str, path: &str, body: &str) -> anyhow::Result<Value> {
        let mut last = "no server".to_owned();
        for host in lab.of(HostKind::Server) {
            match ask((host.address, slipway::API), &request(method, path, &self.token, body), PATIENCE) {
                Ok(answer) if answer.may_be_old => last = "an answer that may be old".to_owned(),
                Ok(answer) if answer.status < 300 => return Ok(serde_json::from_slice(&answer.body)?),
                Ok(answer) => last = format!("{}: {}", answer.status, String::from_utf8_lossy(&answer.body)),
                Err(error) => last = format!("{error:#}"),
            }
        }
        bail!("{method} {path}: {last}")
    }
}
