//! Names that people choose, and the paths made of them. Parsed once, at the edge.
//!
//! A name is `[a-z]`, then up to 29 of `[a-z0-9-]`, without `-` at the end or twice in a row
//! (`robustness.md` section 6, the Dokku rule): safe in a path, a DNS label, a cgroup, an argv.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

/// Longest name, in bytes. Four of them joined still leave room in a path, three in a DNS label
/// only sometimes; [`crate::route::HostLabel`] deals with that.
pub const NAME_BYTES_MAX: usize = 30;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {text:?} is not valid: {why}")]
pub struct NameError {
    /// What was being named, such as `tenant name`.
    pub kind: &'static str,
    /// The refused text, shortened to 64 characters.
    pub text: String,
    /// The rule that it breaks.
    pub why: &'static str,
}

impl NameError {
    pub(crate) fn new(kind: &'static str, text: &str, why: &'static str) -> Self {
        Self { kind, text: text.chars().take(64).collect(), why }
    }
}

/// Words that would be ambiguous as a name in a URL, a Marathon id (`MA-27`) or a command line.
/// `stacks` is the platform's own part of the registry.
const RESERVED: &[&str] =
    &["stacks", "restart", "tasks", "versions", "new", "me", "self", "all", "none", "slipway"];

fn check(kind: &'static str, text: &str) -> Result<(), NameError> {
    let why = if text.is_empty() {
        "it is empty"
    } else if text.len() > NAME_BYTES_MAX {
        "it is longer than 30 characters"
    } else if !text.as_bytes()[0].is_ascii_lowercase() {
        "it must start with a lower-case letter"
    } else if !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        "only lower-case letters, digits and '-' are allowed"
    } else if text.ends_with('-') || text.contains("--") {
        "'-' must stand alone between two letters or digits"
    } else if RESERVED.contains(&text) {
        "it is a reserved word"
    } else {
        return Ok(());
    };
    Err(NameError::new(kind, text, why))
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal) => {
        $(#[$doc])*
        // Shared, because a name is copied far more often than it is made.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $type(Arc<str>);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                check($kind, text)?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.as_str().to_owned()
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// Who owns things: members, quota and a namespace of its own.
    TenantName, "tenant name"
);
name!(
    /// What is pushed: one git repository.
    ProjectName, "project name"
);
name!(
    /// `dev`, `prod`, …: config, secrets, domains, scale and a git remote of its own.
    EnvironmentName, "environment name"
);
name!(
    /// A process type of a project, such as `web` or `worker`.
    ServiceName, "service name"
);
name!(
    /// A person.
    UserName, "user name"
);
name!(
    /// A machine with an agent.
    NodeName, "node name"
);

macro_rules! path {
    ($(#[$doc:meta])* $type:ident, $kind:literal, $shape:literal, $($field:ident: $part:ident),+) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $type {
            $(#[doc = concat!("The `", stringify!($field), "` part.")] pub $field: $part,)+
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                let shape = || NameError::new($kind, text, concat!("it must look like ", $shape));
                let mut parts = text.split('/');
                let path = Self { $($field: parts.next().ok_or_else(shape)?.parse()?,)+ };
                if parts.next().is_some() {
                    return Err(shape());
                }
                Ok(path)
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(path: $type) -> String {
                path.to_string()
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                for (place, part) in [$(self.$field.as_str()),+].into_iter().enumerate() {
                    f.write_str(if place == 0 { "" } else { "/" })?;
                    f.write_str(part)?;
                }
                Ok(())
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

path!(
    /// `acme/shop`: a project inside its tenant.
    ProjectPath, "project", "tenant/project", tenant: TenantName, project: ProjectName
);
path!(
    /// `acme/shop/dev`: where a push goes to, and where releases are numbered.
    EnvironmentPath, "environment", "tenant/project/environment",
    tenant: TenantName, project: ProjectName, environment: EnvironmentName
);
path!(
    /// `acme/shop/dev/web`: what is kept running in so many copies.
    ServicePath, "service", "tenant/project/environment/service",
    tenant: TenantName, project: ProjectName, environment: EnvironmentName, service: ServiceName
);

impl ProjectPath {
    /// The environment of this project with that name.
    pub fn environment(&self, environment: EnvironmentName) -> EnvironmentPath {
        EnvironmentPath { tenant: self.tenant.clone(), project: self.project.clone(), environment }
    }
}

impl EnvironmentPath {
    /// The project that the environment belongs to.
    pub fn project(&self) -> ProjectPath {
        ProjectPath { tenant: self.tenant.clone(), project: self.project.clone() }
    }

    /// The service of this environment with that name.
    pub fn service(&self, service: ServiceName) -> ServicePath {
        ServicePath {
            tenant: self.tenant.clone(),
            project: self.project.clone(),
            environment: self.environment.clone(),
            service,
        }
    }
}

impl ServicePath {
    /// The environment that the service runs in.
    pub fn environment(&self) -> EnvironmentPath {
        EnvironmentPath {
            tenant: self.tenant.clone(),
            project: self.project.clone(),
            environment: self.environment.clone(),
        }
    }
}

/// The name of a config variable or secret: `[A-Z_][A-Z0-9_]*` in either case, at most 128 bytes.
/// Names that the platform sets or that steer the dynamic loader of our own helpers are allowed:
/// they only ever reach the tenant's own sandbox (N10).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ConfigKey(String);

impl ConfigKey {
    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ConfigKey {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let first_ok = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
        if !first_ok || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            let why = "only letters, digits and '_' are allowed, and no digit first";
            return Err(NameError::new("config key", text, why));
        }
        if text.len() > 128 {
            return Err(NameError::new("config key", text, "it is longer than 128 characters"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for ConfigKey {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<ConfigKey> for String {
    fn from(key: ConfigKey) -> String {
        key.0
    }
}

impl fmt::Display for ConfigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ConfigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests;
