//! Who may read and write, and what is believed.

use super::*;

#[test]
fn nodes_are_closed_to_strangers() {
    let ensemble = Ensemble::start(1);
    run(async {
        let with = |credential: &str| ZooKeeperOptions {
            auth: vec![("digest".to_owned(), credential.as_bytes().to_vec())],
            acl: vec![Acl::creator()],
            ..options(ensemble.addresses())
        };
        let store = Store::connect(with("slipway:secret")).await.unwrap();
        store.commit(Batch::new().create(&made("ann", 1))).await.unwrap();
        let same = Store::connect(with("slipway:secret")).await.unwrap();
        assert_eq!(user(&same, "ann").await.unwrap().0, 1);
        for stranger in [with("slipway:guess"), options(ensemble.addresses())] {
            let error = Store::connect(stranger).await.unwrap_err();
            assert!(matches!(error, Error::Refused { .. }), "{error}");
        }
        assert_eq!(user(&store, "ann").await.unwrap().0, 1);
    });
}

/// F13: what has rotted, was forged or moved is named, and nothing else suffers.
#[test]
fn a_record_that_is_not_as_it_was_written_is_unreadable() {
    let ensemble = Ensemble::start(1);
    run(async {
        let with = |authentication| ZooKeeperOptions { authentication, ..options(ensemble.addresses()) };
        let store = Store::connect(with(Some([1; 32]))).await.unwrap();
        let mut watch = store.watch::<User>("");
        assert_eq!(watch.next().await, WatchEvent::Whole(Vec::new()));
        let names = ["ann", "bob", "eve", "joe"];
        let batch = names.iter().fold(Batch::new(), |batch, name| batch.create(&made(name, 1)));
        store.commit(batch).await.unwrap();
        for name in names {
            let WatchEvent::Put(put) = watch.next().await else { panic!("{name} is told") };
            assert_eq!(put.record, made(name, 1));
        }

        let node = |name: &str| format!("/tests/slipway/records/users/{name}");
        let mut raw = Raw::to(&ensemble.servers[0].address());
        let good = raw.get(&node("ann"));
        let mut rotten = good.clone();
        rotten[12] ^= 1;
        let forged = serde_json::to_vec(&made("bob", 666)).unwrap();
        for (name, payload, part) in [
            ("ann", &rotten, "authentication code is wrong"),
            ("bob", &forged, "not authenticated"),
            ("eve", &good, "put in another's place"),
        ] {
            raw.set(&node(name), payload);
            let error = store.get::<User>(&name.parse().unwrap()).await.unwrap_err();
            let Error::Unreadable { key, why } = &error else { panic!("{error}") };
            assert!(key == &format!("/users/{name}") && why.contains(part), "{error}");
            assert!(matches!(store.list::<User>("").await, Err(Error::Unreadable { .. })));
            assert_eq!(watch.next().await, WatchEvent::Unreadable(key.clone()));
        }
        assert_eq!(user(&store, "joe").await.unwrap().0, 1);

        // It can go, or be written anew and then go.
        store.commit(Batch::new().discard::<User>(&"bob".parse().unwrap())).await.unwrap();
        assert_eq!(user(&store, "bob").await, None);
        store
            .commit(Batch::new().put(&made("ann", 2)).put(&made("bob", 2)).put(&made("eve", 2)))
            .await
            .unwrap();
        let (_, version) = user(&store, "ann").await.unwrap();
        store.commit(Batch::new().delete::<User>(&"ann".parse().unwrap(), version)).await.unwrap();
        assert_eq!(store.list::<User>("").await.unwrap().len(), 3);

        // No leader's words either are believed.
        let leadership = store.elect(&candidate("a")).await.unwrap();
        let leader = raw.get("/tests/slipway/leader");
        raw.set("/tests/slipway/leader", &leader[..leader.len() - 1]);
        let error =
            store.commit(Batch::new().put(&made("ann", 3)).fenced(leadership.epoch)).await.unwrap_err();
        assert!(matches!(&error, Error::Unreadable { key, .. } if key == "leader"), "{error}");
        // Nor what it said before.
        raw.set("/tests/slipway/leader", &leader);
        let error =
            store.commit(Batch::new().put(&made("ann", 3)).fenced(leadership.epoch)).await.unwrap_err();
        assert!(matches!(&error, Error::Unreadable { key, .. } if key == "leader"), "{error}");
    });
}

/// Whoever may write nodes un-revokes nobody: an earlier content of the same record is not believed,
/// however it is put back, by a store that saw the later one or by a new one.
#[test]
fn an_earlier_content_that_is_put_back_is_named() {
    let ensemble = Ensemble::start(1);
    run(async {
        let options = |keep_mirror| ZooKeeperOptions {
            keep_mirror,
            authentication: Some([1; 32]),
            ..options(ensemble.addresses())
        };
        let store = Store::connect(options(true)).await.unwrap();
        let node = "/tests/slipway/records/users/ann";
        let mut raw = Raw::to(&ensemble.servers[0].address());
        store.commit(Batch::new().create(&made("ann", 1))).await.unwrap();
        let first = raw.get(node);
        store.commit(Batch::new().put(&made("ann", 2))).await.unwrap();
        let second = raw.get(node);
        store.commit(Batch::new().put(&made("ann", 3)).create(&made("bob", 1))).await.unwrap();
        // Time passes; on an ensemble it is transactions.
        raw.create("/time", b"");
        (0..300).for_each(|_| raw.set("/time", b""));

        for (how, content) in [("set", &first), ("set", &second), ("made", &first), ("as often", &second)] {
            if how == "set" {
                raw.set(node, content);
            } else {
                raw.delete(node);
                raw.create(node, content);
            }
            if how == "as often" {
                raw.set(node, content);
            }
            let fresh = Store::connect(options(false)).await.unwrap();
            for store in [&store, &fresh] {
                let error = store.get::<User>(&"ann".parse().unwrap()).await.unwrap_err();
                let Error::Unreadable { key, why } = &error else { panic!("{error}") };
                assert!(key == "/users/ann" && why.contains("an earlier content"), "{how}: {error}");
                assert!(matches!(store.list::<User>("").await, Err(Error::Unreadable { .. })));
                assert_eq!(user(store, "bob").await.unwrap().0, 1);
            }
            store.commit(Batch::new().put(&made("ann", 4))).await.unwrap();
            assert_eq!(user(&fresh, "ann").await.unwrap().0, 4);
        }
    });
}

/// A record that the servers make so late that it would not be believed is made again, before its
/// writer is told that it is there.
#[test]
fn what_comes_late_is_written_again() {
    let ensemble = Ensemble::start(1);
    run(async {
        let proxy = Proxy::to(ensemble.servers[0].address()).await;
        let options = ZooKeeperOptions {
            authentication: Some([1; 32]),
            session_timeout: Duration::from_secs(20),
            ..options(vec![proxy.address.clone()])
        };
        let store = Store::connect(options).await.unwrap();
        store.commit(Batch::new().create(&made("ann", 1))).await.unwrap();
        let mut raw = Raw::to(&ensemble.servers[0].address());
        raw.create("/time", b"");

        proxy.set(Way::Hold(MULTI));
        let batch = Batch::new().put(&made("ann", 2)).create(&made("bob", 1));
        let committing = tokio::spawn({
            let store = store.clone();
            async move { store.commit(batch).await }
        });
        proxy.held().await;
        (0..300).for_each(|_| raw.set("/time", b""));
        proxy.set(Way::Open);
        committing.await.unwrap().unwrap();
        assert_eq!((user(&store, "ann").await.unwrap().0, user(&store, "bob").await.unwrap().0), (2, 1));
    });
}

#[test]
fn a_root_that_is_another_clusters_is_refused() {
    let ensemble = Ensemble::start(1);
    run(async {
        let with = |root: &str, authentication| ZooKeeperOptions {
            authentication,
            root: root.to_owned(),
            ..options(ensemble.addresses())
        };
        let ours = Store::connect(with("/one", Some([1; 32]))).await.unwrap();
        let same = Store::connect(with("/one", Some([1; 32]))).await.unwrap();
        let other = Store::connect(with("/other", None)).await.unwrap();
        assert_eq!(ours.cluster_id(), same.cluster_id());
        assert_ne!(ours.cluster_id(), other.cluster_id());

        let mut raw = Raw::to(&ensemble.servers[0].address());
        raw.create("/theirs", b"");
        raw.create("/theirs/config", b"x");
        raw.create("/noted", b"not ours");
        raw.create("/room", b"");
        for (root, key, part) in [
            ("/one", Some([2; 32]), "another key was used"),
            ("/one", None, "none was given to read it"),
            ("/other", Some([1; 32]), "without the cluster's key"),
            ("/theirs", Some([1; 32]), "does not say what they are"),
            ("/noted", None, "something else keeps its own"),
        ] {
            let error = Store::connect(with(root, key)).await.unwrap_err();
            assert!(matches!(&error, Error::Foreign { why, .. } if why.contains(part)), "{root}: {error}");
            assert!(error.to_string().contains(root), "{error}");
        }
        // An empty node is room that was made for us.
        Store::connect(with("/room", Some([1; 32]))).await.unwrap();

        // A copy of another cluster's record, with the same key and place.
        let key = Some([1; 32]);
        let copy = Store::connect(with("/copy", key)).await.unwrap();
        for store in [&ours, &copy] {
            store.commit(Batch::new().create(&made("ann", 1))).await.unwrap();
        }
        let record = raw.get("/one/records/users/ann");
        raw.set("/copy/records/users/ann", &record);
        let error = copy.get::<User>(&"ann".parse().unwrap()).await.unwrap_err();
        assert!(matches!(error, Error::Unreadable { .. }), "{error}");
    });
}

/// N70: over TLS, both sides show where they come from.
#[test]
fn tls_is_spoken_with_our_own_kind_only() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let port = slipway_testing::free_port();
    let ensemble = Ensemble::with(1, &ours.server(port));
    run(async {
        let with = |tls| ZooKeeperOptions {
            tls,
            // The server takes the certificate's name for a proof of who it is.
            acl: vec![Acl::creator()],
            ..options(vec![format!("127.0.0.1:{port}")])
        };
        let store = Store::connect(with(Some(ours.client()))).await.unwrap();
        store.commit(Batch::new().create(&made("ann", 1))).await.unwrap();
        let mut watch = store.watch::<User>("");
        until_equal(&mut watch, &mut Model::new(), &store).await;

        let stranger = ZooKeeperTls { authority: ours.client().authority, ..theirs.client() };
        let credulous = ZooKeeperTls { authority: theirs.client().authority, ..ours.client() };
        for tls in [Some(stranger), Some(credulous), None] {
            let patience = Duration::from_secs(1);
            let error = Store::connect(ZooKeeperOptions { patience, ..with(tls) }).await.unwrap_err();
            println!("{error}");
            assert!(matches!(error, Error::Unavailable { .. }), "{error}");
        }
        // Where TLS is asked for, nothing is said without it.
        let plain = ZooKeeperOptions { patience: Duration::from_secs(1), ..with(Some(ours.client())) };
        let error = Store::connect(ZooKeeperOptions { servers: ensemble.addresses(), ..plain }).await;
        let error = error.unwrap_err();
        assert!(
            matches!(&error, Error::Unavailable { why } if why.contains("does not speak TLS")),
            "{error}"
        );

        let missing = ZooKeeperTls { key: "/nowhere".into(), ..ours.client() };
        let error = Store::connect(with(Some(missing))).await.unwrap_err();
        assert!(matches!(&error, Error::Tls { path, .. } if path == Path::new("/nowhere")), "{error}");
    });
}
