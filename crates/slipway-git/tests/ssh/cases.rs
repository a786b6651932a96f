//! What a pusher sees.

mod bad_input;
mod cluster;
mod deploying;
mod strangers;

use std::pin::Pin;

/// A case: its name and the future that runs it.
pub type Case = (&'static str, fn() -> Pin<Box<dyn Future<Output = ()>>>);

/// Makes a list of cases out of async functions.
macro_rules! cases {
    ($($case:ident),+ $(,)?) => {
        /// The cases of this module.
        pub fn all() -> Vec<$crate::cases::Case> {
            vec![$((stringify!($case), || Box::pin($case()))),+]
        }
    };
}
pub(crate) use cases;

/// All cases that need no server of their own process.
pub fn all() -> Vec<Case> {
    [deploying::all(), bad_input::all(), strangers::all(), cluster::all()].concat()
}
