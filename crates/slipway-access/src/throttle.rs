//! How often somebody may be wrong (N9): a bucket of attempts for each account as seen from each
//! source, for each source, and a large one for each account. The first stops a guesser without
//! locking the owner out, who comes from elsewhere; the last stops many guessers together, and does not
//! count where the account's owner has been right before: however many guess, the owner gets in from there.
//!
//! An attempt is taken before the password is looked at, so that many at once cannot all slip
//! through, and given back if it succeeds. A pure function of its calls and the time handed in.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use slipway_model::cidr::network_of;
use slipway_model::name::UserName;

/// Buckets that are remembered; beyond, the one with most attempts left is forgotten, which is the
/// one that somebody who floods us with names used once.
const BUCKETS_MAX: usize = 10_000;

/// From one source, an account may be wrong ten times at once, then every thirty seconds: some 3,000
/// guesses a day.
const ACCOUNT_FROM_SOURCE: Rate = Rate { attempts_max: 10.0, refill: Duration::from_secs(30) };

/// From everywhere together: more than one source can use up, some 9,000 guesses a day.
const ACCOUNT: Rate = Rate { attempts_max: 100.0, refill: Duration::from_secs(10) };

/// A source may be wrong for more people: there may be a whole office behind it.
const SOURCE: Rate = Rate { attempts_max: 50.0, refill: Duration::from_secs(5) };

struct Rate {
    attempts_max: f64,
    /// The time in which one attempt comes back.
    refill: Duration,
}

#[derive(Debug, Default)]
pub(crate) struct Throttle {
    accounts: HashMap<UserName, Bucket>,
    accounts_from_sources: HashMap<(UserName, IpAddr), Bucket>,
    sources: HashMap<IpAddr, Bucket>,
    /// Where each account has been right, and when last.
    right: HashMap<(UserName, IpAddr), Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    attempts: f64,
    at: Instant,
}

impl Throttle {
    /// Takes one attempt, or says how long to wait for the next.
    pub(crate) fn take(&mut self, account: &UserName, source: IpAddr, now: Instant) -> Result<(), Duration> {
        let source = network_of(source);
        let both = (account.clone(), source);
        let of_account = match self.right.contains_key(&both) {
            true => Duration::ZERO,
            false => wait(&mut self.accounts, account, &ACCOUNT, now),
        };
        let wait = of_account
            .max(wait(&mut self.accounts_from_sources, &both, &ACCOUNT_FROM_SOURCE, now))
            .max(wait(&mut self.sources, &source, &SOURCE, now));
        if wait > Duration::ZERO {
            return Err(wait);
        }
        self.add(account, source, -1.0, now);
        Ok(())
    }

    /// Gives the attempt back: it does not count.
    pub(crate) fn give_back(&mut self, account: &UserName, source: IpAddr, now: Instant) {
        self.add(account, network_of(source), 1.0, now);
    }

    /// The account's owner was right there.
    pub(crate) fn was_right(&mut self, account: &UserName, source: IpAddr, now: Instant) {
        let both = (account.clone(), network_of(source));
        if self.right.len() >= BUCKETS_MAX && !self.right.contains_key(&both) {
            // It can be pushed out only by those who are right as often.
            let oldest = self.right.iter().min_by_key(|(_, at)| **at).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| self.right.remove(&oldest));
        }
        self.right.insert(both, now);
    }

    /// As [`Throttle::take`], for what is no account's.
    pub(crate) fn take_anonymous(&mut self, source: IpAddr, now: Instant) -> Result<(), Duration> {
        let source = network_of(source);
        let wait = wait(&mut self.sources, &source, &SOURCE, now);
        if wait > Duration::ZERO {
            return Err(wait);
        }
        add(&mut self.sources, source, -1.0, &SOURCE, now);
        Ok(())
    }

    /// Gives such an attempt back: it was right.
    pub(crate) fn give_back_anonymous(&mut self, source: IpAddr, now: Instant) {
        add(&mut self.sources, network_of(source), 1.0, &SOURCE, now);
    }

    fn add(&mut self, account: &UserName, source: IpAddr, attempts: f64, now: Instant) {
        add(&mut self.accounts, account.clone(), attempts, &ACCOUNT, now);
        add(&mut self.accounts_from_sources, (account.clone(), source), attempts, &ACCOUNT_FROM_SOURCE, now);
        add(&mut self.sources, source, attempts, &SOURCE, now);
    }
}

fn wait<K: std::hash::Hash + Eq>(
    buckets: &mut HashMap<K, Bucket>,
    key: &K,
    rate: &Rate,
    now: Instant,
) -> Duration {
    let attempts = buckets.get(key).map_or(rate.attempts_max, |bucket| filled(bucket, rate, now));
    rate.refill.mul_f64((1.0 - attempts).clamp(0.0, 1.0))
}

fn add<K: std::hash::Hash + Eq + Clone>(
    buckets: &mut HashMap<K, Bucket>,
    key: K,
    attempts: f64,
    rate: &Rate,
    now: Instant,
) {
    if buckets.len() >= BUCKETS_MAX && !buckets.contains_key(&key) {
        buckets.retain(|_, bucket| filled(bucket, rate, now) < rate.attempts_max);
        let fullest = buckets.iter().max_by(|a, b| filled(a.1, rate, now).total_cmp(&filled(b.1, rate, now)));
        if let Some(fullest) = fullest.map(|(key, _)| key.clone())
            && buckets.len() >= BUCKETS_MAX
        {
            buckets.remove(&fullest);
        }
    }
    let bucket = buckets.entry(key).or_insert(Bucket { attempts: rate.attempts_max, at: now });
    *bucket = Bucket { attempts: (filled(bucket, rate, now) + attempts).min(rate.attempts_max), at: now };
}

fn filled(bucket: &Bucket, rate: &Rate, now: Instant) -> f64 {
    let since = now.saturating_duration_since(bucket.at);
    (bucket.attempts + since.as_secs_f64() / rate.refill.as_secs_f64()).min(rate.attempts_max)
}

#[cfg(test)]
mod tests;
