use proptest::prelude::*;
use slipway_model::unit::Timestamp;

use super::*;

fn tenant(name: &str, index: u32) -> Tenant {
    Tenant {
        name: name.parse().unwrap(),
        index,
        created_at: Timestamp(0),
        created_by: "ann".parse().unwrap(),
    }
}

fn keyring() -> (tempfile::TempDir, Keyring) {
    let dir = tempfile::tempdir().unwrap();
    let keyring = Keyring::new(MasterKey::load_or_create(&dir.path().join("key")).unwrap());
    (dir, keyring)
}

#[test]
fn a_value_opens_only_where_it_was_sealed() {
    let (_dir, keys) = keyring();
    let (_other_dir, other_keys) = keyring();
    let acme = tenant("acme", 1);
    let dev: EnvironmentPath = "acme/shop/dev".parse().unwrap();
    let key: ConfigKey = "PASSWORD".parse().unwrap();
    let sealed = keys.seal(&acme, &dev, &key, "hunter2");
    assert!(keys.open(&acme, &dev, &key, &sealed).unwrap().expose() == "hunter2");

    let refused = |keys: &Keyring, tenant: &Tenant, environment: &str, key: &str, sealed: &Sealed| {
        let error =
            keys.open(tenant, &environment.parse().unwrap(), &key.parse().unwrap(), sealed).err().unwrap();
        assert!(
            matches!(error, Error::Unsealable { .. }) && !error.to_string().contains("hunter2"),
            "{error}"
        );
    };
    refused(&keys, &acme, "acme/shop/prod", "PASSWORD", &sealed);
    refused(&keys, &acme, "acme/shop/dev", "PASSWORD2", &sealed);
    refused(&keys, &tenant("evil", 1), "acme/shop/dev", "PASSWORD", &sealed);
    refused(&keys, &tenant("acme", 2), "acme/shop/dev", "PASSWORD", &sealed);
    refused(&other_keys, &acme, "acme/shop/dev", "PASSWORD", &sealed);
    let bytes = STANDARD.decode(&sealed.0).unwrap();
    for place in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[place] ^= 1;
        refused(&keys, &acme, "acme/shop/dev", "PASSWORD", &Sealed(STANDARD.encode(damaged)));
        refused(&keys, &acme, "acme/shop/dev", "PASSWORD", &Sealed(STANDARD.encode(&bytes[..place])));
    }
    refused(&keys, &acme, "acme/shop/dev", "PASSWORD", &Sealed("not base64".to_owned()));
}

proptest! {
    #[test]
    fn any_text_survives_and_its_size_shows(value in ".{0,200}") {
        let (_dir, keys) = keyring();
        let acme = tenant("acme", 1);
        let dev: EnvironmentPath = "acme/shop/dev".parse().unwrap();
        let key: ConfigKey = "A".parse().unwrap();
        let sealed = keys.seal(&acme, &dev, &key, &value);
        prop_assert_eq!(plaintext_bytes(&sealed), value.len());
        prop_assert!(keys.open(&acme, &dev, &key, &sealed).unwrap().expose() == value);
        prop_assert_eq!(format!("{:?}", sealed), "Sealed(…)");
    }
}
