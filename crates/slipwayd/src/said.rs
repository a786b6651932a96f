//! What goes on and on is said now and then, not at each try.

use std::time::{Duration, Instant};

/// Between two times that the same is said.
const AGAIN: Duration = Duration::from_secs(300);

/// What was said last, and when.
#[derive(Default)]
pub struct Said(Option<(String, Instant)>);

impl Said {
    /// Says why something does not succeed: when that is another reason than the last, and once in a while.
    pub fn why(&mut self, reason: &str, say: impl FnOnce(&str)) {
        self.why_at(Instant::now(), reason, say);
    }

    fn why_at(&mut self, now: Instant, reason: &str, say: impl FnOnce(&str)) {
        if !self.0.as_ref().is_some_and(|(last, at)| last == reason && now.duration_since(*at) < AGAIN) {
            say(reason);
            self.0 = Some((reason.to_owned(), now));
        }
    }

    /// It has succeeded: the next failure is news.
    pub fn over(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_said_once_in_a_while_and_a_new_one_at_once() {
        let (mut said, mut lines, now) = (Said::default(), Vec::new(), Instant::now());
        let mut why = |said: &mut Said, after: Duration, reason: &str| {
            said.why_at(now + after, reason, |reason| lines.push(reason.to_owned()));
            lines.len()
        };
        let counts = ["away", "away", "full", "full"].map(|reason| why(&mut said, Duration::ZERO, reason));
        assert_eq!(counts, [1, 1, 2, 2]);
        assert_eq!(why(&mut said, AGAIN, "full"), 3);
        said.over();
        assert_eq!(why(&mut said, AGAIN, "full"), 4);
    }
}
