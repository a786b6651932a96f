//! Passwords that have just been right, so that a client which sends one with every request waits for
//! argon2 once and not each time.
//!
//! A password is remembered by a keyed hash, together with the stored argon2 hash that it was right for,
//! for a short time. It is recognised only as long as the user still has that very hash, and whoever asks
//! looks up the user first: somebody who is switched off, or whose password was changed, is not
//! recognised from then on. The key is drawn at start and never leaves the process.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use slipway_model::name::UserName;
use tokio::sync::MutexGuard;

/// How long a password is recognised. Then it is hashed again, which costs some 20 ms.
const LIFE: Duration = Duration::from_secs(300);

/// Users whose password is remembered; beyond, all are forgotten.
const USERS_MAX: usize = 10_000;

/// Requests wait for one another by user and source, spread over so many turns.
const TURNS: usize = 64;

pub(crate) struct Verified {
    key: [u8; 32],
    users: Mutex<HashMap<UserName, Known>>,
    turns: [tokio::sync::Mutex<()>; TURNS],
    spread: RandomState,
}

struct Known {
    /// Over the argon2 hash and the password.
    tag: [u8; 32],
    until: Instant,
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verified(…)")
    }
}

impl Default for Verified {
    fn default() -> Self {
        Self {
            key: rand::random(),
            users: Mutex::default(),
            turns: std::array::from_fn(|_| tokio::sync::Mutex::default()),
            spread: RandomState::new(),
        }
    }
}

impl Verified {
    /// Whether this is the password that was right for that hash a short while ago.
    pub(crate) fn recognise(&self, user: &UserName, password: &str, hash: &str, now: Instant) -> bool {
        let users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let known = users.get(user).filter(|known| now < known.until);
        // Compares without telling by its duration how much is right.
        known.is_some_and(|known| self.mac(password, hash).verify_slice(&known.tag).is_ok())
    }

    /// Remembers a password that is right for that hash.
    pub(crate) fn remember(&self, user: &UserName, password: &str, hash: &str, now: Instant) {
        let tag = self.mac(password, hash).finalize().into_bytes().into();
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if users.len() >= USERS_MAX {
            users.clear();
        }
        users.insert(user.clone(), Known { tag, until: now + LIFE });
    }

    /// Waits until nobody else's password is being hashed for that user from there. It is the source,
    /// too, so that somebody who guesses elsewhere keeps nobody waiting.
    pub(crate) async fn turn(&self, user: &UserName, source: IpAddr) -> MutexGuard<'_, ()> {
        let place = self.spread.hash_one((user, source)) as usize % TURNS;
        self.turns[place].lock().await
    }

    fn mac(&self, password: &str, hash: &str) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("a key may have any length");
        // The hash is ASCII and has no NUL.
        for part in [hash.as_bytes(), b"\0", password.as_bytes()] {
            mac.update(part);
        }
        mac
    }
}

#[cfg(test)]
mod tests;
