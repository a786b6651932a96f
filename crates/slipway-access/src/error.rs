//! Why something was not done, in words that may be shown to the caller.

use std::path::PathBuf;

use slipway_model::account::Role;
use slipway_model::id::GroupDeploymentId;
use slipway_model::name::NameError;
use slipway_model::unit::Span;

/// Why a request was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing proves who is asking, or not any more. Does not say what was wrong: that would help
    /// guessing.
    #[error("not logged in, or the user name, password, key or token is not right")]
    NotAuthenticated,
    /// The claim token is wrong or used; or the server has its first operator.
    #[error(
        "the claim token is not right, or was used already; each start of a server that nobody has claimed \
         prints a new one"
    )]
    WrongClaim,
    /// Too many failures, of this account or from this place.
    #[error("too many failed attempts; try again in {}s", .wait.millis().div_ceil(1000))]
    Throttled {
        /// When it is worth another try.
        wait: Span,
    },
    /// There is no such thing, or the caller has no right at all to it: the same answer.
    #[error("{what} does not exist, or you have no access to it")]
    NotFound {
        /// What was asked for, in words.
        what: String,
    },
    /// The caller is a member, with too low a role.
    #[error("this needs the role {needs}; yours here is {has}")]
    Forbidden {
        /// The lowest role that may.
        needs: Role,
        /// The caller's, as far as its token lets it act.
        has: Role,
    },
    /// For operators only.
    #[error("only an operator may do this")]
    OperatorOnly,
    /// A token that is limited to a tenant or a role may not change the account it belongs to, because
    /// that would lift its limit.
    #[error("a limited token cannot do this; log in with your password first")]
    LimitedToken,
    /// The name, key or host is taken.
    #[error("{what} exists already")]
    Taken {
        /// What, in words.
        what: String,
    },
    /// Somebody else changes the same thing all the time, or a deletion is still under way.
    #[error("{what}; try again in a moment")]
    Busy {
        /// What is going on.
        what: String,
    },
    /// A rule of the domain forbids it.
    #[error("{rule}")]
    Rule {
        /// The rule, as a sentence that says what to do instead.
        rule: String,
    },
    /// What was given is not what it should be.
    #[error("{why}")]
    Invalid {
        /// What is wrong, as a sentence.
        why: String,
    },
    /// A name breaks the rules of names.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A limit is reached.
    #[error("at most {max} {what}")]
    Limit {
        /// Of what.
        what: &'static str,
        /// How many.
        max: usize,
    },
    /// Services are part of deployments that are under way (MA-26, MA-53).
    #[error(
        "locked by the deployment {}, which is under way; wait until it is done, or force the change",
        .deployments.iter().map(GroupDeploymentId::as_str).collect::<Vec<_>>().join(", ")
    )]
    Locked {
        /// Which, oldest first.
        deployments: Vec<GroupDeploymentId>,
    },
    /// It comes from a push, and only another push changes it.
    #[error("{what}; {instead}")]
    Pushed {
        /// What comes from where.
        what: String,
        /// What to do.
        instead: &'static str,
    },
    /// So many deployments of one tenant are under way that another has to wait (MA-25).
    #[error("at most {max} deployments of one tenant can be under way at once; wait for one of them")]
    TooManyDeployments {
        /// How many.
        max: usize,
    },
    /// The key file could not be read or made.
    #[error("failed to {step} the master key {path}")]
    MasterKeyFile {
        /// What was tried.
        step: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The key file is there and must not be used.
    #[error("the master key {path} {why}")]
    MasterKeyRefused {
        /// Which file.
        path: PathBuf,
        /// Why, and what to do.
        why: String,
    },
    /// The store was sealed under another key (N99).
    #[error(
        "the master key (id {given}) is not the one that this data was sealed under (id {wanted}); \
         give the right key file back"
    )]
    WrongMasterKey {
        /// Of the key that was given.
        given: String,
        /// Of the key that is needed.
        wanted: String,
    },
    /// A sealed value does not belong where it is, or was damaged (N72).
    #[error("the sealed value of {what} cannot be opened: it was damaged, or moved from elsewhere")]
    Unsealable {
        /// Which.
        what: String,
    },
    /// A certificate could not be made or read.
    #[error("failed to {step}")]
    Link {
        /// What was tried.
        step: &'static str,
        /// Why it failed.
        source: slipway_link::Error,
    },
    /// The store could not do it.
    #[error("failed to {step}")]
    Store {
        /// What was tried.
        step: &'static str,
        /// What the store said.
        source: slipway_store::Error,
    },
}

/// What a caller needs to know of an error, for instance to choose an HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 401.
    NotAuthenticated,
    /// 429.
    Throttled,
    /// 404.
    NotFound,
    /// 403.
    Forbidden,
    /// 409: the state of things is against it.
    Conflict,
    /// 422: the request is wrong in itself.
    Invalid,
    /// 503: worth another try.
    Unavailable,
    /// 500: somebody should look at it.
    Internal,
}

impl Error {
    /// What kind of error it is.
    pub fn kind(&self) -> Kind {
        match self {
            Error::NotAuthenticated | Error::WrongClaim => Kind::NotAuthenticated,
            Error::Throttled { .. } => Kind::Throttled,
            Error::NotFound { .. } => Kind::NotFound,
            Error::Forbidden { .. }
            | Error::OperatorOnly
            | Error::LimitedToken
            | Error::Pushed { .. }
            | Error::TooManyDeployments { .. } => Kind::Forbidden,
            Error::Taken { .. } | Error::Busy { .. } | Error::Rule { .. } | Error::Locked { .. } => {
                Kind::Conflict
            }
            Error::Invalid { .. } | Error::Name(_) | Error::Limit { .. } => Kind::Invalid,
            Error::Store { source, .. } if source.is_worth_a_retry() => Kind::Unavailable,
            Error::Store { source, .. } if source.is_conflict() => Kind::Conflict,
            Error::Store { source, .. } if source.is_callers_fault() => Kind::Invalid,
            Error::Store { .. }
            | Error::MasterKeyFile { .. }
            | Error::MasterKeyRefused { .. }
            | Error::WrongMasterKey { .. }
            | Error::Link { .. }
            | Error::Unsealable { .. } => Kind::Internal,
        }
    }

    /// True when nothing proves who is asking.
    pub fn is_not_authenticated(&self) -> bool {
        self.kind() == Kind::NotAuthenticated
    }

    /// True when there is no such thing for this caller.
    pub fn is_not_found(&self) -> bool {
        self.kind() == Kind::NotFound
    }

    pub(crate) fn store(step: &'static str) -> impl FnOnce(slipway_store::Error) -> Self {
        move |source| Error::Store { step, source }
    }

    pub(crate) fn link(step: &'static str) -> impl FnOnce(slipway_link::Error) -> Self {
        move |source| Error::Link { step, source }
    }

    pub(crate) fn invalid(why: impl Into<String>) -> Self {
        Error::Invalid { why: why.into() }
    }

    pub(crate) fn rule(rule: impl Into<String>) -> Self {
        Error::Rule { rule: rule.into() }
    }
}
