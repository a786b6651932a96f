use http::Method;
use slipway_model::id::Digest;
use slipway_registry::digest::Hasher;

use crate::harness::{Fixture, MANIFEST, User, files, full, noise};

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_pushed_pulled_listed_and_deleted() {
    let fixture = Fixture::new().await;
    let user = fixture.user("acme", &["acme/shop"]).await;
    user.get("/v2/").await.expect(200);
    let layer = noise(1, 3 << 20);
    let image = user.push_image("acme/shop", "v1", layer.clone()).await;

    let blob = format!("/v2/acme/shop/blobs/{}", image.layer);
    let got = user.get(&blob).await.expect(200);
    assert!(got.body == layer, "the blob comes back as it was sent");
    let head = user.call(Method::HEAD, &blob, &[], "").await.expect(200);
    assert_eq!(
        (head.header("content-length"), head.header("docker-content-digest")),
        (layer.len().to_string().as_str(), image.layer.as_str())
    );
    let part = user.call(Method::GET, &blob, &[("range", "bytes=5-9".into())], "").await.expect(206);
    assert_eq!(
        (&part.body[..], part.header("content-range")),
        (&layer[5..10], format!("bytes 5-9/{}", layer.len()).as_str())
    );
    user.call(Method::GET, &blob, &[("range", format!("bytes={}-", layer.len()))], "").await.expect(416);
    assert_eq!(
        user.call(Method::GET, &blob, &[("range", "bytes=500-0".into())], "").await.expect(200).body.len(),
        layer.len()
    );

    for reference in ["v1", image.digest.as_str()] {
        let got = user.get(&format!("/v2/acme/shop/manifests/{reference}")).await.expect(200);
        assert_eq!(
            (got.header("content-type"), got.header("docker-content-digest")),
            (MANIFEST, image.digest.as_str())
        );
        let head = user
            .call(Method::HEAD, &format!("/v2/acme/shop/manifests/{reference}"), &[], "")
            .await
            .expect(200);
        assert_eq!(head.header("content-length"), got.body.len().to_string());
    }

    user.call(Method::DELETE, &blob, &[], "").await.expect(405);
    user.call(Method::DELETE, "/v2/acme/shop/manifests/v1", &[], "").await.expect(202);
    user.get("/v2/acme/shop/manifests/v1").await.expect(404);
    user.call(Method::DELETE, &format!("/v2/acme/shop/manifests/{}", image.digest), &[], "")
        .await
        .expect(202);
    user.get(&format!("/v2/acme/shop/manifests/{}", image.digest)).await.expect(404);
    user.call(Method::DELETE, &blob, &[], "").await.expect(202);
    let error = user.get(&blob).await.expect(404).json();
    assert_eq!(error["errors"][0]["code"], "BLOB_UNKNOWN");
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_must_follow_one_another() {
    let fixture = Fixture::new().await;
    let user = fixture.user("acme", &["acme/shop"]).await;
    let bytes = noise(2, 3000);
    let digest = slipway_registry::digest::digest_of(&bytes);
    let upload = user.open_upload("acme/shop").await;
    let chunk = |start: usize, end: usize| {
        let (user, upload, bytes) = (user.clone(), upload.clone(), bytes[start..end].to_vec());
        async move {
            user.call(Method::PATCH, &upload, &[("content-range", format!("{start}-{}", end - 1))], bytes)
                .await
        }
    };
    assert_eq!(chunk(0, 1000).await.expect(202).header("range"), "0-999");
    let refused = chunk(0, 1000).await.expect(416);
    assert_eq!((refused.header("range"), refused.header("location")), ("0-999", upload.as_str()));
    chunk(2000, 3000).await.expect(416);
    let status = user.get(&upload).await.expect(204);
    assert_eq!((status.header("range"), status.header("location")), ("0-999", upload.as_str()));
    chunk(1000, 2000).await.expect(202);

    // The last chunk may ride on the closing request, and must fit there too.
    let close = format!("{upload}?digest={digest}");
    user.call(Method::PUT, &close, &[("content-range", "1500-2499".into())], bytes[1500..2500].to_vec())
        .await
        .expect(416);
    let got = user
        .call(Method::PUT, &close, &[("content-range", "2000-2999".into())], bytes[2000..].to_vec())
        .await
        .expect(201);
    assert_eq!(got.header("location"), format!("/v2/acme/shop/blobs/{digest}"));
    assert_eq!(user.get(&format!("/v2/acme/shop/blobs/{digest}")).await.expect(200).body, bytes);
    user.get(&upload).await.expect(404);

    let upload = user.open_upload("acme/shop").await;
    user.call(Method::DELETE, &upload, &[], "").await.expect(204);
    user.get(&upload).await.expect(404);
    assert_eq!(files(&fixture.dir.path().join("uploads")), [""; 0], "nothing is left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn content_must_be_what_its_digest_says_in_either_algorithm() {
    let fixture = Fixture::new().await;
    let user = fixture.user("acme", &["acme/shop"]).await;
    let sha512 = |bytes: &[u8]| -> Digest {
        let mut hasher = Hasher::like(&format!("sha512:{}", "0".repeat(128)).parse().unwrap());
        hasher.update(bytes);
        hasher.finish()
    };
    let digest = sha512(b"hello");
    // Known at the start, only at the end, and only at the end after a chunk.
    user.call(Method::POST, &format!("/v2/acme/shop/blobs/uploads/?digest={digest}"), &[], "hello")
        .await
        .expect(201);
    let upload = user.open_upload("acme/shop").await;
    user.call(Method::PUT, &format!("{upload}?digest={digest}"), &[], "hello").await.expect(201);
    let upload = user.open_upload("acme/shop").await;
    user.call(Method::PATCH, &upload, &[], "hel").await.expect(202);
    user.call(Method::PUT, &format!("{upload}?digest={digest}"), &[], "lo").await.expect(201);
    let got = user.get(&format!("/v2/acme/shop/blobs/{digest}")).await.expect(200);
    assert_eq!((&got.body[..], got.header("docker-content-digest")), (&b"hello"[..], digest.as_str()));

    for wrong in [sha512(b"other"), slipway_registry::digest::digest_of(b"other")] {
        let path = format!("/v2/acme/shop/blobs/uploads/?digest={wrong}");
        let got = user.call(Method::POST, &path, &[], "hello").await.expect(400);
        assert_eq!(got.json()["errors"][0]["code"], "DIGEST_INVALID");
        user.get(&format!("/v2/acme/shop/blobs/{wrong}")).await.expect(404);
    }
    for malformed in ["sha256:00", "sha256:", "md5:d41d8cd98f00b204e9800998ecf8427e", "x"] {
        user.get(&format!("/v2/acme/shop/blobs/{malformed}")).await.expect(400);
        let path = format!("/v2/acme/shop/blobs/uploads/?digest={malformed}");
        user.call(Method::POST, &path, &[], "hello").await.expect(400);
    }
    assert_eq!(files(&fixture.dir.path().join("uploads")), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_are_listed_in_order_page_by_page() {
    let fixture = Fixture::new().await;
    let user = fixture.user("acme", &["acme/shop", "acme/other"]).await;
    user.get("/v2/acme/shop/tags/list").await.expect(404);
    let image = user.push_image("acme/shop", "a", "layer").await;
    let manifest = user.get(&format!("/v2/acme/shop/manifests/{}", image.digest)).await.json();
    for tag in ["c", "B", "a1", "d"] {
        user.put_manifest("acme/shop", tag, &manifest).await.expect(201);
    }
    user.push_image("acme/other", "z", "layer").await;
    let list = |query: &'static str| {
        let user = user.clone();
        async move {
            let got = user.get(&format!("/v2/acme/shop/tags/list{query}")).await.expect(200);
            (got.json()["tags"].to_string(), got.header("link").to_owned())
        }
    };
    assert_eq!(list("").await, (r#"["B","a","a1","c","d"]"#.into(), String::new()));
    assert_eq!(
        list("?n=2").await,
        (r#"["B","a"]"#.into(), r#"</v2/acme/shop/tags/list?n=2&last=a>; rel="next""#.into())
    );
    assert_eq!(list("?n=2&last=a").await.0, r#"["a1","c"]"#);
    assert_eq!(list("?n=2&last=bb").await, (r#"["c","d"]"#.into(), String::new()));
    assert_eq!(list("?n=0").await.0, "[]");
    assert_eq!(list("?n=2147483648").await.0, r#"["B","a","a1","c","d"]"#);
    assert_eq!(list("?last=zzz").await.0, "[]");
    user.get("/v2/acme/shop/tags/list?n=x").await.expect(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_is_checked_before_it_is_kept() {
    let fixture = Fixture::new().await;
    let user = fixture.user("acme", &["acme/shop"]).await;
    let image = user.push_image("acme/shop", "v1", "layer").await;
    let good = user.get("/v2/acme/shop/manifests/v1").await.json();
    let absent = slipway_registry::digest::digest_of(b"absent");

    let with = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut manifest = good.clone();
        change(&mut manifest);
        manifest
    };
    let check = |manifest: serde_json::Value, status: u16, code: &'static str| {
        let user = user.clone();
        async move {
            let got = user.put_manifest("acme/shop", "bad", &manifest).await.expect(status);
            assert_eq!(got.json()["errors"][0]["code"], code);
            user.get("/v2/acme/shop/manifests/bad").await.expect(404);
        }
    };
    check(with(&|m| m["layers"][0]["digest"] = absent.as_str().into()), 400, "MANIFEST_BLOB_UNKNOWN").await;
    check(with(&|m| m["schemaVersion"] = 1.into()), 400, "MANIFEST_INVALID").await;
    check(with(&|m| m["config"] = serde_json::Value::Null), 400, "MANIFEST_INVALID").await;
    check(with(&|m| m["layers"][0]["digest"] = "sha256:../../etc".into()), 400, "MANIFEST_INVALID").await;
    check(with(&|m| m["mediaType"] = "text/plain".into()), 400, "MANIFEST_INVALID").await;
    check(
        with(&|m| m["annotations"] = serde_json::json!({ "a": "x".repeat(5 << 20) })),
        413,
        "MANIFEST_INVALID",
    )
    .await;
    let kind = [("content-type", MANIFEST.to_owned())];
    user.call(Method::PUT, "/v2/acme/shop/manifests/bad", &kind, "{").await.expect(400);
    user.put_manifest("acme/shop", absent.as_str(), &good).await.expect(400);

    // A layer that may not be distributed need not be there.
    let foreign = with(&|m| {
        m["layers"][0]["mediaType"] = "application/vnd.oci.image.layer.nondistributable.v1.tar".into();
        m["layers"][0]["digest"] = absent.as_str().into();
    });
    user.put_manifest("acme/shop", "foreign", &foreign).await.expect(201);
    // A config must, whatever it says that it is.
    let config_elsewhere = with(&|m| {
        m["config"]["mediaType"] = "application/vnd.oci.image.layer.nondistributable.v1.tar".into();
        m["config"]["digest"] = absent.as_str().into();
    });
    check(config_elsewhere, 400, "MANIFEST_BLOB_UNKNOWN").await;
    let got =
        user.put_manifest("acme/shop", &format!("{}?tag=x&tag=y", image.digest), &good).await.expect(201);
    assert_eq!(got.headers.get_all("oci-tag").iter().count(), 2);
    user.get("/v2/acme/shop/manifests/y").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn referrers_are_listed_even_for_a_subject_never_seen() {
    let fixture = Fixture::new().await;
    let user = fixture.user("acme", &["acme/shop"]).await;
    let subject = slipway_registry::digest::digest_of(b"not here yet");
    let referrers = format!("/v2/acme/shop/referrers/{subject}");
    let empty = user.get(&referrers).await.expect(200);
    assert_eq!(empty.json()["manifests"], serde_json::json!([]));
    assert_eq!(empty.header("content-type"), "application/vnd.oci.image.index.v1+json");

    user.push_image("acme/shop", "v1", "layer").await;
    let mut manifest = user.get("/v2/acme/shop/manifests/v1").await.json();
    manifest["subject"] = serde_json::json!({ "mediaType": MANIFEST, "digest": subject, "size": 5 });
    manifest["artifactType"] = "application/example".into();
    manifest["annotations"] = serde_json::json!({ "who": "me" });
    let got = user.put_manifest("acme/shop", "about", &manifest).await.expect(201);
    assert_eq!(got.header("oci-subject"), subject.as_str());
    let listed = user.get(&referrers).await.json();
    assert_eq!(listed["manifests"][0]["artifactType"], "application/example");
    assert_eq!(listed["manifests"][0]["annotations"]["who"], "me");
    let filtered = user.get(&format!("{referrers}?artifactType=application%2Fother")).await.expect(200);
    assert_eq!(
        (filtered.json()["manifests"].to_string().as_str(), filtered.header("oci-filters-applied")),
        ("[]", "artifactType")
    );

    user.call(
        Method::DELETE,
        &format!("/v2/acme/shop/manifests/{}", got.header("docker-content-digest")),
        &[],
        "",
    )
    .await
    .expect(202);
    assert_eq!(user.get(&referrers).await.json()["manifests"], serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_without_a_length_and_one_cut_off_are_handled() {
    let fixture = Fixture::new().await;
    let user = fixture.user("acme", &["acme/shop"]).await;
    let bytes = noise(3, 5 << 20);
    let digest = slipway_registry::digest::digest_of(&bytes);
    let pieces = bytes
        .chunks(70_000)
        .map(|piece| Ok(hyper::body::Frame::data(bytes::Bytes::copy_from_slice(piece))))
        .collect::<Vec<_>>();
    let streamed =
        http_body_util::BodyExt::boxed(http_body_util::StreamBody::new(futures_util::stream::iter(pieces)));
    let upload = user.open_upload("acme/shop").await;
    user.send(Method::PATCH, &upload, &[], streamed).await.expect(202);
    user.send(Method::PUT, &format!("{upload}?digest={digest}"), &[], full("")).await.expect(201);
    assert!(user.get(&format!("/v2/acme/shop/blobs/{digest}")).await.expect(200).body == bytes);

    let broken = vec![
        Ok(hyper::body::Frame::data(bytes::Bytes::from_static(b"some"))),
        Err(std::io::Error::other("cable pulled")),
    ];
    let broken =
        http_body_util::BodyExt::boxed(http_body_util::StreamBody::new(futures_util::stream::iter(broken)));
    let path = format!("/v2/acme/shop/blobs/uploads/?digest={digest}");
    let sent = user.try_send(Method::POST, &path, &[], broken).await;
    assert!(sent.is_err(), "the client itself gave up");
    let uploads = fixture.dir.path().join("uploads");
    while !files(&uploads).is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let other = User::nobody(fixture.address);
    other.get("/v2/").await.expect(401);
}
