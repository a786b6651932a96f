//! Passwords: rules, hashing, comparing.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use slipway_model::limit::{PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN};
use slipway_model::name::UserName;
use slipway_model::unit::Span;
use tokio::sync::Semaphore;

use crate::error::Error;

/// Memory of one hash in KiB, passes, lanes (`robustness.md` section 7).
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// Hashes computed at once, so that logins take neither all memory nor all processors.
const HASHING_MAX: usize = 2;

/// Hashes that wait. Each takes some 20 ms, so the last of them waits a second.
const WAITING_MAX: usize = 100;

/// Passwords of ten characters and more that lead every published list of stolen ones.
const COMMON: &[&str] = &[
    "1234567890",
    "12345678910",
    "123456789a",
    "0123456789",
    "0987654321",
    "9876543210",
    "1q2w3e4r5t",
    "1qaz2wsx3edc",
    "qwertyuiop",
    "qwerty12345",
    "qwerty123456",
    "asdfghjkl1",
    "password12",
    "password123",
    "password1234",
    "passw0rd123",
    "p@ssw0rd123",
    "administrator",
    "admin12345",
    "welcome123",
    "changeme123",
    "iloveyou123",
    "letmein123",
    "princess123",
    "football123",
    "baseball123",
    "sunshine123",
    "superman123",
    "michael123",
    "abcdefghij",
    "abcd123456",
    "abc1234567",
    "a123456789",
    "aa12345678",
    "zaq12wsxcde3",
    "qazwsxedcr",
    "q1w2e3r4t5",
    "q1w2e3r4t5y6",
    "unknown123",
    "testtest123",
    "slipway123",
    "correcthorsebatterystaple",
];

/// Computes hashes, a few at a time.
#[derive(Debug, Clone)]
pub(crate) struct Passwords {
    hashing: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Passwords {
    pub(crate) fn new() -> Self {
        Self {
            hashing: Arc::new(Semaphore::new(HASHING_MAX)),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
        }
    }

    /// The hash to store of a new password.
    pub(crate) async fn hash(&self, user: &UserName, password: &str) -> Result<String, Error> {
        check(user, password)?;
        let password = password.to_owned();
        let hashed = self
            .compute(move || hasher().hash_password(password.as_bytes()).map(|hash| hash.to_string()))
            .await?;
        hashed.map_err(|error| Error::invalid(format!("the password cannot be hashed: {error}")))
    }

    /// Whether the password is right. Takes the same time when there is no hash to compare with, so
    /// that the duration does not tell which users exist.
    pub(crate) async fn verify(&self, password: &str, stored: Option<String>) -> Result<bool, Error> {
        if password.len() > PASSWORD_BYTES_MAX {
            return Ok(false);
        }
        let password = password.to_owned();
        self.compute(move || match &stored {
            Some(stored) => PasswordHash::new(stored)
                .is_ok_and(|stored| hasher().verify_password(password.as_bytes(), &stored).is_ok()),
            None => {
                let mut out = [0; 32];
                let _ = hasher().hash_password_into(password.as_bytes(), b"nobody has this", &mut out);
                // Of use to nobody, but the compiler must not leave it out.
                std::hint::black_box(out);
                false
            }
        })
        .await
    }

    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let overloaded = || Error::Throttled { wait: Span::from_secs(2) };
        let _waiting = self.waiting.try_acquire().map_err(|_| overloaded())?;
        let hashing = self.hashing.clone().acquire_owned().await.map_err(|_| overloaded())?;
        // The permit goes along: a caller that stops waiting does not stop the hash.
        let computed = tokio::task::spawn_blocking(move || {
            let _hashing = hashing;
            work()
        });
        computed.await.map_err(|_| overloaded())
    }
}

fn hasher() -> Argon2<'static> {
    let params =
        Params::new(MEMORY_KIB, PASSES, LANES, Some(32)).expect("the parameters are constants in range");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// The rules, checked before anything is hashed (N12).
fn check(user: &UserName, password: &str) -> Result<(), Error> {
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(Error::invalid(format!("the password is longer than {PASSWORD_BYTES_MAX} bytes")));
    }
    if password.chars().count() < PASSWORD_CHARS_MIN {
        return Err(Error::invalid(format!(
            "the password must have at least {PASSWORD_CHARS_MIN} characters"
        )));
    }
    let lower = password.to_lowercase();
    let mut chars = lower.chars().collect::<Vec<_>>();
    chars.sort_unstable();
    chars.dedup();
    if chars.len() < 4 || COMMON.contains(&&*lower) {
        return Err(Error::invalid("the password is among the first that anybody would guess; take another"));
    }
    let user = user.as_str();
    if user.len() >= 3 && lower.contains(user) && lower.len() < user.len() + PASSWORD_CHARS_MIN {
        return Err(Error::invalid("the password is little more than the user name; take another"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
