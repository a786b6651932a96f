//! An error on one line. Each crate's errors say what was tried and keep the cause as their source, so
//! whoever logs one, or tells it to somebody, has to put the two together again.

use std::error::Error;

/// An error and what it came from, outermost first.
pub fn chain(error: &dyn Error) -> String {
    joined(Some(error))
}

/// What an error came from, outermost first, without the error itself; empty when it says all itself.
pub fn causes(error: &dyn Error) -> String {
    joined(error.source())
}

fn joined(first: Option<&dyn Error>) -> String {
    let (mut all, mut next) = (Vec::new(), first);
    while let Some(error) = next {
        all.push(error.to_string());
        next = error.source();
    }
    all.join(": ")
}

#[cfg(test)]
mod tests;
