//! Who may do what.
//!
//! A request ends in a record of a tenant by three steps, and the types leave no other way: proving
//! who one is gives a [`Caller`]; a loader of [`Access`] checks the caller's right and gives a
//! [`Scoped`] record; reading and changing what belongs to that record goes through methods of the
//! [`Scoped`], whose arguments can name things *inside* it but never another tenant, project or
//! environment. To somebody without any right a record looks as if it did not exist.
//!
//! The rules of the domain are here too, each operation with its checks and one conditional write,
//! so that the API, the git endpoint and the command line of the server cannot differ about them.
//! Rights are looked up again for every operation: a key, a token, a user or a membership that is
//! taken away counts from then on, also for a connection that is open.
//!
//! Read in this order: [`Access`] and the ways to a [`Caller`]; [`Scoped`] with its tenant, project
//! and environment; [`Account`] and [`Operator`] for what belongs to no tenant; [`Keyring`] for
//! sealed values; `cluster` for machines instead of people: the authority, joining, renewing. Secrets
//! are made and compared in `secret`, passwords in `password`.

mod access;

mod authenticate;

mod caller;

mod scoped;

mod account;

mod operator;

mod cluster;

mod claim;

mod invitation;

mod error;

mod secret;

mod password;

mod throttle;

mod verified;

mod turn;

mod ssh_key;

mod domain_name;

mod master_key;

mod seal;

pub use access::Access;
pub use account::{Account, NewToken, TokenWish};
pub use caller::Caller;
pub use cluster::NewJoinToken;
pub use error::{Error, Kind};
pub use invitation::NewInvitation;
pub use master_key::MasterKey;
pub use operator::{NodeChange, Operator, QuotaInForce};
pub use scoped::{
    AppDraft, AppHosts, AppsChange, AppsChanged, AppsState, AppsView, ConfigChange, ConfigVariable,
    Difference, GroupDraft, InEnvironment, NewProject, PushedEnvironment, PushedService, Scoped,
};
pub use seal::{Keyring, Plaintext};
pub use ssh_key::PublicKey;

#[cfg(test)]
mod tests;
