//! Who may not come in, and what may not be asked for.

use std::time::{Duration, Instant};

use slipway_model::account::{SshKey, User};
use slipway_store::Batch;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::{World, make_key};

super::cases!(wrong_people, weak_keys, no_shell_and_no_other_command, nothing_but_exec, a_flood_of_strangers,);

async fn wrong_people() {
    let world = World::new().await;
    let work = world.checkout("shop").await;
    let push = |who: &'static str, environment: &'static str| {
        let (world, work, url) = (&world, &work, world.url(environment));
        async move { world.git(who, work, &["push", &url, "main"]).await }
    };
    let fingerprint = world.key_record("stranger", "stranger").fingerprint;
    push("stranger", "acme/shop/dev").await.fails(&[
        "no SSH key of yours is known here",
        fingerprint.as_str(),
        "slipway keys add",
    ]);
    // Another tenant's key learns nothing about what exists.
    let existing = push("eve", "acme/shop/dev").await;
    existing.fails(&["acme/shop/dev does not exist, or you have no access to it"]);
    let absent = push("eve", "acme/ghost/dev").await;
    assert_eq!(existing.text.replace("shop", "ghost"), absent.text);
    push("ada", "acme/shop/staging").await.fails(&["acme/shop/staging does not exist"]);
    push("ada", "acme/ghost/dev").await.fails(&["acme/ghost/dev does not exist"]);
    push("ada", "nobody/shop/dev").await.fails(&["nobody/shop/dev does not exist"]);
    push("vic", "acme/shop/dev").await.fails(&["needs the role developer", "yours here is viewer"]);
    assert!(!world.repository().exists(), "no repository is made for nobody");

    // A key counts until it is taken away, and a user until disabled.
    push("ada", "acme/shop/dev").await.succeeds(&["runs v1"]);
    let key = world.key_record("ada", "ada").fingerprint;
    let version = world.store.get::<SshKey>(&key).await.unwrap().unwrap().version;
    world.store.commit(Batch::new().delete::<SshKey>(&key, version)).await.unwrap();
    push("ada", "acme/shop/dev").await.fails(&["no SSH key of yours is known here", key.as_str()]);
    let mut vic = world.store.get::<User>(&"vic".parse().unwrap()).await.unwrap().unwrap();
    vic.record.disabled = true;
    world.store.commit(Batch::new().update(&vic.record, vic.version)).await.unwrap();
    push("vic", "acme/shop/dev").await.fails(&["no SSH key of yours is known here"]);
}

async fn weak_keys() {
    let world = World::new().await;
    make_key(world.dir.path(), "short", &["-t", "rsa", "-b", "1024"]).await;
    make_key(world.dir.path(), "long", &["-t", "rsa", "-b", "2048"]).await;
    let batch =
        Batch::new().create(&world.key_record("short", "ada")).create(&world.key_record("long", "ada"));
    world.store.commit(batch).await.unwrap();
    let short = world.ssh("short", &["-o", "RequiredRSASize=1024"], &["true"]).await;
    short.fails(&["an RSA key of fewer than 2048 bits"]);
    world.ssh("long", &[], &["true"]).await.fails(&["Hi ada!"]);
    let sha1 = world.ssh("long", &["-o", "PubkeyAcceptedAlgorithms=ssh-rsa"], &["true"]).await;
    assert!(!sha1.text.contains("Hi ada!"), "{}", sha1.text);
    assert_eq!(sha1.status, 255);
}

async fn no_shell_and_no_other_command() {
    let world = World::new().await;
    let shell = world.ssh("ada", &[], &[]).await;
    shell.fails(&["Hi ada! Slipway does not offer a shell"]);
    assert_eq!(shell.status, 1);
    let marker = world.dir.path().join("marker");
    let touch = format!("touch {}", marker.display());
    let dev = "'/acme/shop/dev.git'";
    for command in [
        format!("git-receive-pack {dev}; {touch}"),
        format!("git-receive-pack '$({touch})'"),
        format!("git-receive-pack '/acme/shop/dev.git`{touch}`'"),
        format!("git-receive-pack '/acme/shop/dev.git\n{touch}'"),
        format!("git-upload-pack --upload-pack='{touch}' {dev}"),
        format!("git-upload-pack '-oProxyCommand={touch}'"),
        "git-receive-pack '/acme/../../../etc'".to_owned(),
        "git-receive-pack '/etc/passwd'".to_owned(),
        "git-receive-pack '/acme/shop/dеv.git'".to_owned(),
        format!("git-upload-archive {dev}"),
        format!("git-receive-pack '/{}'", "a".repeat(4096)),
        touch.clone(),
        "scp -t /tmp".to_owned(),
    ] {
        let refused = world.ssh("ada", &[], &[&command]).await;
        assert!(matches!(refused.status, 1 | 128), "{command:?}: {}", refused.text);
        assert!(!refused.text.contains("report-status"), "{command:?} was run: {}", refused.text);
    }
    assert!(!marker.exists());
    assert!(!world.repository().exists());
}

async fn nothing_but_exec() {
    let world = World::new().await;
    let work = world.checkout("shop").await;
    let sftp = world.ssh("ada", &["-s"], &["sftp"]).await;
    sftp.fails(&["subsystem request failed"]);
    world.ssh("ada", &["-W", "127.0.0.1:22"], &[]).await.fails(&["administratively prohibited"]);
    let tunnel =
        world.ssh("ada", &["-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:22"], &["true"]).await;
    tunnel.fails(&["remote port forwarding failed"]);
    world.ssh("ada", &["-tt"], &["true"]).await.fails(&["PTY allocation request failed"]);
    // An agent and variables are refused, and what was asked for is still served.
    world.ssh("ada", &["-A"], &["true"]).await.fails(&["Hi ada!"]);
    let marker = world.dir.path().join("marker");
    let wrapper = format!("ssh {} -o SetEnv=LD_PRELOAD=/nonexistent.so", world.ssh_options("ada").join(" "));
    let mut push = world.git_command("ada", &work, &["push", "dev", "main"]);
    push.env("GIT_SSH_COMMAND", wrapper);
    crate::world::said(push.output().await.unwrap()).succeeds(&["runs v1"]);
    let trace = format!("SetEnv=GIT_TRACE={}", marker.display());
    world.ssh("ada", &["-o", &trace], &["git-upload-pack '/acme/shop/dev.git'"]).await;
    assert!(!marker.exists());
}

async fn a_flood_of_strangers() {
    let world = World::new().await;
    let work = world.checkout("shop").await;
    world.push(&work, &["dev", "main"]).await.succeeds(&[]);
    let before = memory_kib();
    let mut held = Vec::new();
    for n in 0..1000 {
        let Ok(mut stream) = TcpStream::connect(world.address).await else { continue };
        let greeting: &[u8] = match n % 4 {
            0 => b"",
            1 => b"SSH-2.0-x\r\n\xff\xff\xff\xff\xff\xff\xff\xff",
            2 => b"GET / HTTP/1.1\r\n\r\n",
            _ => b"SSH-2.0-x\r\n",
        };
        let _ = stream.write_all(greeting).await;
        held.push(stream);
    }
    // Banner lines without end are not read without end.
    let mut chatter = TcpStream::connect(world.address).await.unwrap();
    let line = [b'x'; 1000];
    let mut sent = 0;
    while sent < 64 << 20 {
        match tokio::time::timeout(Duration::from_secs(5), chatter.write(&line)).await {
            Ok(Ok(count)) => sent += count,
            _ => break,
        }
    }
    assert!(sent < 64 << 20, "64 MB of banner were read");
    let grown = memory_kib().saturating_sub(before);
    assert!(grown < 50 << 10, "grew by {grown} KiB");
    // The door is still open, and what was crowded out was closed.
    let began = Instant::now();
    world.commit(&work, "Second").await;
    world.push(&work, &["dev", "main"]).await.succeeds(&["runs v2"]);
    assert!(began.elapsed() < Duration::from_secs(10));
    let mut closed = 0;
    for stream in &mut held {
        let mut rest = Vec::new();
        closed += usize::from(
            tokio::time::timeout(Duration::from_millis(1), stream.read_to_end(&mut rest)).await.is_ok(),
        );
    }
    assert!(closed >= 800, "{closed} closed");
}

fn memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}
