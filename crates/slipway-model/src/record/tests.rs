use serde_json::Value;

use super::*;

/// `key json` of one record of each kind, as the first version with a store wrote them. Lines are only
/// ever added: servers in use have such records.
const WRITTEN: &str = include_str!("written-by-0.1.txt");

/// The record is read, has the key that it had, and what it said it still says.
fn check<R: Record>(key: &str, json: &str) {
    let record: R = serde_json::from_str(json).unwrap_or_else(|error| panic!("{key}: {error}"));
    assert_eq!(record.own_key(), key);
    let before: Value = serde_json::from_str(json).unwrap();
    let after = serde_json::to_value(&record).unwrap();
    assert_holds(key, &before, &after);
}

/// Everything in `before` is in `after`; new fields may stand beside it.
fn assert_holds(place: &str, before: &Value, after: &Value) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for (name, value) in before {
                let place = format!("{place}.{name}");
                match after.get(name) {
                    Some(after) => assert_holds(&place, value, after),
                    None => assert!(value.is_null(), "{place} is not written any more"),
                }
            }
        }
        (Value::Array(before), Value::Array(after)) => {
            assert_eq!(before.len(), after.len(), "{place}");
            before.iter().zip(after).for_each(|(before, after)| assert_holds(place, before, after));
        }
        (before, after) => assert_eq!(before, after, "{place}"),
    }
}

#[test]
fn records_of_earlier_versions_are_read() {
    let mut kinds = std::collections::BTreeSet::new();
    for line in WRITTEN.lines() {
        let (key, json) = line.split_once(' ').unwrap();
        let kind = &key[..key[1..].find('/').unwrap() + 2];
        let check = match kind {
            Claim::PREFIX => check::<Claim>,
            MasterKeyCheck::PREFIX => check::<MasterKeyCheck>,
            TenantIndexes::PREFIX => check::<TenantIndexes>,
            User::PREFIX => check::<User>,
            SshKey::PREFIX => check::<SshKey>,
            Token::PREFIX => check::<Token>,
            Tenant::PREFIX => check::<Tenant>,
            Member::PREFIX => check::<Member>,
            Invitation::PREFIX => check::<Invitation>,
            Project::PREFIX => check::<Project>,
            Environment::PREFIX => check::<Environment>,
            HostClaim::PREFIX => check::<HostClaim>,
            Push::PREFIX => check::<Push>,
            Build::PREFIX => check::<Build>,
            BuildCancellation::PREFIX => check::<BuildCancellation>,
            ReleaseRequest::PREFIX => check::<ReleaseRequest>,
            RunRequest::PREFIX => check::<RunRequest>,
            EnvironmentStatus::PREFIX => check::<EnvironmentStatus>,
            Release::PREFIX => check::<Release>,
            Deployment::PREFIX => check::<Deployment>,
            Assignments::PREFIX => check::<Assignments>,
            Node::PREFIX => check::<Node>,
            unknown => panic!("{unknown}"),
        };
        check(key, json);
        kinds.insert(kind.to_owned());
    }
    assert_eq!(kinds.len(), 22);
}
