//! Domains of a tenant's own. A claim is made by a create that fails if the name is taken, proven by
//! a TXT record that only the domain's owner can make, and leaves a tombstone when it is given up,
//! so that nobody else inherits its visitors (Heroku 2023).

use std::collections::{BTreeMap, BTreeSet};

use slipway_model::account::Right;
use slipway_model::limit::{DOMAIN_PROOF_TIME, DOMAINS_MAX};
use slipway_model::name::{EnvironmentPath, ServiceName, ServicePath};
use slipway_model::project::{Environment, HostClaim, HostState};
use slipway_model::unit::Timestamp;
use slipway_store::{Batch, Versioned};

use super::Scoped;
use crate::access::{Access, TRIES, too_busy};
use crate::domain_name;
use crate::error::Error;

impl Scoped<Environment> {
    /// The host names that lead here, those that the platform gave included.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn hosts(&self) -> Result<Vec<HostClaim>, Error> {
        let claims = self.access.claims_of(&self.path).await?;
        Ok(claims.into_iter().map(|claim| claim.record).collect())
    }

    /// Claims a domain for a service. `base` is the domain whose names the platform gives. The claim
    /// says which text the TXT record `_slipway-challenge.<host>` must hold. Claiming again what one
    /// has claimed already only changes the service. Needs [`Right::Administer`].
    ///
    /// # Errors
    /// [`Error::Taken`] when somebody else has the name, [`Error::Invalid`], [`Error::Limit`],
    /// [`Error::Forbidden`], [`Error::Store`].
    pub async fn claim_domain(
        &self,
        host: &str,
        service: &ServiceName,
        base: &str,
    ) -> Result<HostClaim, Error> {
        let host = domain_name::parse(host, base)?;
        for _ in 0..TRIES {
            let environment = self.again(Right::Administer).await?;
            let found = self.access.get::<HostClaim>(&host).await?;
            let own = self.access.claims_of(&self.path).await?;
            let own = own.iter().filter(|claim| claim.record.state != HostState::Platform);
            if own.filter(|claim| claim.record.host != host).count() >= DOMAINS_MAX {
                return Err(Error::Limit { what: "domains in one environment", max: DOMAINS_MAX });
            }
            let now = self.access.now();
            let keeps = found.as_ref().map(|found| self.claimable(&found.record, now)).transpose()?.flatten();
            let claim = HostClaim {
                host: host.clone(),
                service: self.path.service(service.clone()),
                state: keeps.unwrap_or_else(|| HostState::Unproven { challenge: challenge() }),
                created_at: now,
            };
            // The environment is written as it is, so that its deletion does not overlook this one.
            let batch = Batch::new().update(&environment.found.record, environment.version());
            let batch = match found {
                Some(found) => batch.update(&claim, found.version),
                None => batch.create(&claim),
            };
            if self.access.commit(batch).await? {
                return Ok(claim);
            }
        }
        Err(too_busy())
    }

    /// Whether a name that has been claimed before may be claimed now; `Some` is a state that stays.
    fn claimable(&self, claim: &HostClaim, now: Timestamp) -> Result<Option<HostState>, Error> {
        let here = claim.service.environment() == self.path;
        let own = claim.service.tenant == self.path.tenant;
        match &claim.state {
            HostState::Unproven { .. } | HostState::Proven if here => Ok(Some(claim.state.clone())),
            HostState::Unproven { .. } if own || now.since(claim.created_at) >= DOMAIN_PROOF_TIME => Ok(None),
            HostState::Tombstone if own => Ok(None),
            _ => Err(Error::Taken { what: format!("a claim of {}", claim.host) }),
        }
    }

    /// Takes the texts that were found in the TXT record `_slipway-challenge.<host>`, and proves the
    /// claim if one of them is the wanted one. Needs [`Right::Administer`].
    ///
    /// # Errors
    /// [`Error::Rule`] with the wanted record when it was not found, [`Error::NotFound`],
    /// [`Error::Forbidden`], [`Error::Store`].
    pub async fn prove_domain(&self, host: &str, texts: &[String]) -> Result<HostClaim, Error> {
        self.again(Right::Administer).await?;
        let found = self.own_domain(host).await?;
        let HostState::Unproven { challenge } = &found.record.state else {
            return Ok(found.record);
        };
        if !texts.iter().any(|text| text.trim() == challenge) {
            return Err(Error::rule(format!(
                "no TXT record _slipway-challenge.{} with the text {challenge} was found; make it, wait until your DNS \
                 shows it, and try again",
                found.record.host
            )));
        }
        let proven = HostClaim { state: HostState::Proven, ..found.record };
        if self.access.commit(Batch::new().update(&proven, found.version)).await? {
            return Ok(proven);
        }
        Err(too_busy())
    }

    /// Gives a domain up. Needs [`Right::Administer`].
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`], [`Error::Store`].
    pub async fn remove_domain(&self, host: &str) -> Result<(), Error> {
        self.again(Right::Administer).await?;
        let found = self.own_domain(host).await?;
        if self.access.commit(give_up(Batch::new(), found, &BTreeMap::new())).await? {
            return Ok(());
        }
        Err(too_busy())
    }

    /// A domain that leads here and was not given by the platform.
    async fn own_domain(&self, host: &str) -> Result<Versioned<HostClaim>, Error> {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let own = self.access.claims_of(&self.path).await?;
        let found = own
            .into_iter()
            .find(|claim| claim.record.host == host && claim.record.state != HostState::Platform);
        found.ok_or_else(|| Error::NotFound { what: format!("domain {host} of {}", self.path) })
    }
}

impl Access {
    /// All claims that lead to an environment and are not given up.
    async fn claims_of(&self, environment: &EnvironmentPath) -> Result<Vec<Versioned<HostClaim>>, Error> {
        let mut claims = self.list::<HostClaim>("").await?;
        claims.retain(|claim| {
            claim.record.service.environment() == *environment && claim.record.state != HostState::Tombstone
        });
        Ok(claims)
    }

    /// Adds to a batch that the environments' own domains are given up, or go to their heirs. Names that the
    /// platform gave are the leader's to clear.
    pub(super) async fn give_up_domains(
        &self,
        batch: Batch,
        environments: &BTreeSet<&EnvironmentPath>,
        heirs: &BTreeMap<String, ServicePath>,
    ) -> Result<Batch, Error> {
        let mut claims = self.list::<HostClaim>("").await?;
        claims.retain(|claim| {
            !matches!(claim.record.state, HostState::Platform | HostState::Tombstone)
                && environments.contains(&claim.record.service.environment())
        });
        Ok(claims.into_iter().fold(batch, |batch, claim| give_up(batch, claim, heirs)))
    }
}

/// A domain goes to its heir. One without, if it was proven, has had visitors, and leaves a tombstone;
/// otherwise it is forgotten.
pub(super) fn give_up(
    batch: Batch,
    claim: Versioned<HostClaim>,
    heirs: &BTreeMap<String, ServicePath>,
) -> Batch {
    if let Some(heir) = heirs.get(&claim.record.host) {
        return batch.update(&HostClaim { service: heir.clone(), ..claim.record }, claim.version);
    }
    match claim.record.state {
        HostState::Unproven { .. } => batch.delete::<HostClaim>(&claim.record.host, claim.version),
        _ => batch.update(&HostClaim { state: HostState::Tombstone, ..claim.record }, claim.version),
    }
}

pub(super) fn challenge() -> String {
    format!("slipway-{}", hex::encode(rand::random::<[u8; 16]>()))
}
