//! Sealed values: config variables and secrets as they are stored.
//!
//! Each tenant has a key of its own, derived from the master key, the tenant's name and its index,
//! so a tenant that takes the name of a deleted one cannot open what that one left. XChaCha20-
//! Poly1305 with a random nonce of 192 bits; the place of the value, environment and variable, is
//! authenticated along with it, so that a value moved elsewhere in the store does not open (N72).

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use slipway_model::account::Tenant;
use slipway_model::name::{ConfigKey, EnvironmentPath};
use slipway_model::project::{ConfigEntry, Sealed};

use crate::error::Error;
use crate::master_key::MasterKey;

/// Before the nonce: which way of sealing this is.
const WAY: u8 = 1;
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;

/// Seals and opens values. Clones are cheap.
#[derive(Debug, Clone)]
pub struct Keyring {
    master: MasterKey,
}

/// An opened value. It has neither `Debug` nor `Display` nor `Serialize`: whoever wants the text
/// says so.
#[derive(Clone, PartialEq, Eq)]
pub struct Plaintext(String);

impl Plaintext {
    /// The text itself, for the environment of a program or for the API's answer about a variable
    /// that is not secret. Never for a log.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// As [`Plaintext::expose`], without a copy.
    pub fn into_exposed(self) -> String {
        self.0
    }
}

impl Keyring {
    /// A keyring under that master key.
    pub fn new(master: MasterKey) -> Self {
        Self { master }
    }

    /// Opens the config of a release or environment, for the program that shall have it.
    ///
    /// # Errors
    /// [`Error::Unsealable`] when a value is damaged or belongs elsewhere; names the variable.
    pub fn open_config(
        &self,
        tenant: &Tenant,
        environment: &EnvironmentPath,
        config: &BTreeMap<ConfigKey, ConfigEntry>,
    ) -> Result<BTreeMap<ConfigKey, Plaintext>, Error> {
        let cipher = self.cipher(tenant);
        let open = |(key, entry): (&ConfigKey, &ConfigEntry)| {
            open(&cipher, environment, key, &entry.value).map(|value| (key.clone(), value))
        };
        config.iter().map(open).collect()
    }

    pub(crate) fn seal(
        &self,
        tenant: &Tenant,
        environment: &EnvironmentPath,
        key: &ConfigKey,
        value: &str,
    ) -> Sealed {
        seal(&self.cipher(tenant), &place(environment, key), value)
    }

    pub(crate) fn open(
        &self,
        tenant: &Tenant,
        environment: &EnvironmentPath,
        key: &ConfigKey,
        sealed: &Sealed,
    ) -> Result<Plaintext, Error> {
        open(&self.cipher(tenant), environment, key, sealed)
    }

    /// Seals what belongs to the platform itself and to no tenant; `place` says which thing it is.
    pub fn seal_own(&self, place: &str, value: &str) -> Sealed {
        seal(&self.own_cipher(), place, value)
    }

    /// Opens what [`Keyring::seal_own`] sealed for that very place.
    ///
    /// # Errors
    /// [`Error::Unsealable`] when it is damaged, belongs elsewhere, or was sealed under another master key.
    pub fn open_own(&self, place: &str, sealed: &Sealed) -> Result<Plaintext, Error> {
        open_at(&self.own_cipher(), place, sealed).ok_or_else(|| Error::Unsealable { what: place.to_owned() })
    }

    /// See [`MasterKey::id`].
    pub(crate) fn id(&self) -> String {
        self.master.id()
    }

    fn cipher(&self, tenant: &Tenant) -> XChaCha20Poly1305 {
        let key = self
            .master
            .derive("tenant data", &[tenant.name.as_str().as_bytes(), &tenant.index.to_le_bytes()]);
        XChaCha20Poly1305::new(&key.into())
    }

    fn own_cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&self.master.derive("platform data", &[]).into())
    }
}

/// How many bytes a sealed value has once it is open, without opening it.
pub(crate) fn plaintext_bytes(sealed: &Sealed) -> usize {
    let padding = sealed.0.bytes().rev().take_while(|byte| *byte == b'=').count();
    (sealed.0.len() / 4 * 3).saturating_sub(padding + 1 + NONCE_BYTES + TAG_BYTES)
}

fn open(
    cipher: &XChaCha20Poly1305,
    environment: &EnvironmentPath,
    key: &ConfigKey,
    sealed: &Sealed,
) -> Result<Plaintext, Error> {
    open_at(cipher, &place(environment, key), sealed)
        .ok_or_else(|| Error::Unsealable { what: format!("{key} in {environment}") })
}

fn seal(cipher: &XChaCha20Poly1305, place: &str, value: &str) -> Sealed {
    let nonce: [u8; NONCE_BYTES] = rand::random();
    let payload = Payload { msg: value.as_bytes(), aad: place.as_bytes() };
    let ciphertext = cipher
        .encrypt(&XNonce::from(nonce), payload)
        .expect("only a text of hundreds of gigabytes cannot be sealed");
    Sealed(STANDARD.encode([&[WAY][..], &nonce, &ciphertext].concat()))
}

fn open_at(cipher: &XChaCha20Poly1305, place: &str, sealed: &Sealed) -> Option<Plaintext> {
    let bytes = STANDARD.decode(&sealed.0).ok()?;
    let (nonce, ciphertext) = bytes.strip_prefix(&[WAY])?.split_first_chunk::<NONCE_BYTES>()?;
    let payload = Payload { msg: ciphertext, aad: place.as_bytes() };
    let text = cipher.decrypt(&XNonce::from(*nonce), payload).ok()?;
    String::from_utf8(text).ok().map(Plaintext)
}

/// Neither names nor keys contain a space.
fn place(environment: &EnvironmentPath, key: &ConfigKey) -> String {
    format!("config {environment} {key}")
}

#[cfg(test)]
mod tests;
