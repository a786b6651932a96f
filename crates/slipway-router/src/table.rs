//! The route table as the router knows it: what an update changes in it, and what it refuses.
//! Pure. The workers get only the changes, so that one more endpoint among 10,000 routes costs the
//! same as among ten.

use std::collections::BTreeMap;

use slipway_model::route::{Route, RouteTable, RouteUpdate};

/// Differences between two tables.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Change {
    /// Routes that are new or different.
    pub set: BTreeMap<String, Route>,
    /// Host names that lead nowhere now.
    pub remove: Vec<String>,
}

/// Why an update was not taken; the table is as before (F57).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It follows a table that we do not have: ask for the whole.
    #[error("the change follows generation {after}, but the table has {have}")]
    Gap {
        /// What the change follows.
        after: u64,
        /// What we have.
        have: u64,
    },
    /// It would lead back.
    #[error("the update leads to generation {generation}, but the table has {have} already")]
    Regression {
        /// Where it leads to.
        generation: u64,
        /// What we have.
        have: u64,
    },
    /// It has generation 0: its sender does not know anything yet.
    #[error("the update says that nothing is known yet")]
    NothingKnown,
}

/// Applies an update. `first` says that it is the first on a new connection: then a lower generation
/// is no error but a leader that has begun to count anew.
pub fn apply(table: &mut RouteTable, update: RouteUpdate, first: bool) -> Result<Change, Refused> {
    let have = table.generation;
    match update {
        RouteUpdate::Whole { table: RouteTable { generation: 0, .. } } => Err(Refused::NothingKnown),
        RouteUpdate::Whole { table: new } if new.generation < have && !first => {
            Err(Refused::Regression { generation: new.generation, have })
        }
        RouteUpdate::Whole { table: new } => {
            let new = RouteTable { generation: new.generation, routes: lower_case(new.routes) };
            let change = difference(table, &new);
            *table = new;
            Ok(change)
        }
        RouteUpdate::Change { after, .. } if after != have => Err(Refused::Gap { after, have }),
        RouteUpdate::Change { generation, .. } if generation <= have => {
            Err(Refused::Regression { generation, have })
        }
        RouteUpdate::Change { generation, set, remove, .. } => {
            let set = lower_case(set);
            let remove: Vec<String> = remove
                .into_iter()
                .filter(|host| !set.contains_key(host) && table.routes.remove(host).is_some())
                .collect();
            for (host, route) in &set {
                table.routes.insert(host.clone(), route.clone());
            }
            table.generation = generation;
            Ok(Change { set, remove })
        }
    }
}

/// What leads from one table to another.
pub fn difference(old: &RouteTable, new: &RouteTable) -> Change {
    let set = new.routes.iter().filter(|(host, route)| old.routes.get(*host) != Some(route));
    let remove = old.routes.keys().filter(|host| !new.routes.contains_key(*host));
    Change {
        set: set.map(|(host, route)| (host.clone(), route.clone())).collect(),
        remove: remove.cloned().collect(),
    }
}

/// Host names are lower case by contract; one that is not would never be found. A path behind one
/// stays as it is: there, case counts.
fn lower_case(routes: BTreeMap<String, Route>) -> BTreeMap<String, Route> {
    let host_end = |key: &str| key.find('/').unwrap_or(key.len());
    if routes.keys().all(|key| !key[..host_end(key)].bytes().any(|b| b.is_ascii_uppercase())) {
        return routes;
    }
    let lower = |mut key: String| {
        let end = host_end(&key);
        key[..end].make_ascii_lowercase();
        key
    };
    routes.into_iter().map(|(key, route)| (lower(key), route)).collect()
}

#[cfg(test)]
mod tests;
