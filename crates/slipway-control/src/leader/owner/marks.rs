//! Environments to look at: each tenant's in turn, so that one who has thousands of them delays another's
//! only by one look.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use slipway_model::name::{EnvironmentPath, TenantName};

/// A set of environments with a fair order.
#[derive(Debug, Default)]
pub(super) struct Marks {
    by_tenant: BTreeMap<TenantName, BTreeSet<EnvironmentPath>>,
    last: Option<TenantName>,
}

impl Marks {
    pub(super) fn insert(&mut self, path: EnvironmentPath) {
        match self.by_tenant.get_mut(&path.tenant) {
            Some(paths) => drop(paths.insert(path)),
            None => drop(self.by_tenant.insert(path.tenant.clone(), [path].into())),
        }
    }

    pub(super) fn extend(&mut self, paths: impl IntoIterator<Item = EnvironmentPath>) {
        paths.into_iter().for_each(|path| self.insert(path));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_tenant.is_empty()
    }

    /// The first of the tenant after the one whose turn it was.
    pub(super) fn pop(&mut self) -> Option<EnvironmentPath> {
        let after = self.last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.by_tenant.range_mut((after, Bound::Unbounded)).next();
        let (tenant, paths) = match next {
            Some(next) => next,
            None => self.by_tenant.iter_mut().next()?,
        };
        let path = paths.pop_first();
        let tenant = tenant.clone();
        if paths.is_empty() {
            self.by_tenant.remove(&tenant);
        }
        self.last = Some(tenant);
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_take_turns() {
        let mut marks = Marks::default();
        marks.extend(
            ["b/p/x", "a/p/x", "a/p/y", "a/p/x", "a/p/z", "c/p/x"].map(|p| p.parse().expect("a path")),
        );
        let order: Vec<_> = std::iter::from_fn(|| marks.pop()).map(|path| path.to_string()).collect();
        assert_eq!(order, ["a/p/x", "b/p/x", "c/p/x", "a/p/y", "a/p/z"]);
        assert!(marks.is_empty());
    }
}
