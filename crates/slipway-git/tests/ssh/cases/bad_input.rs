//! Pushes that must be refused, each with words that name the thing, leaving nothing behind.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use slipway_model::push::Push;
use slipway_model::unit::Bytes;

use crate::world::{Wishes, World, manifest, until};

super::cases!(
    manifests,
    names_of_refs,
    dangerous_trees,
    links_are_inert,
    too_many_files,
    too_large,
    files_in_lfs,
    a_full_disk,
    too_many_options,
    a_pack_that_unfolds_to_gigabytes,
    a_head_that_lies,
);

/// Asserts that a refused push has left nothing.
async fn nothing_is_stored(world: &World) {
    let objects = world.stored_objects();
    assert!(objects.iter().all(|name| name.starts_with("info/")), "{objects:?}");
    assert_eq!(world.store.list::<Push>("").await.unwrap(), []);
    assert_eq!(world.main_of("dev").await, None);
}

async fn manifests() {
    let world = World::new().await;
    let work = world.checkout("shop").await;
    let large = format!("{}# {}\n", manifest("acme/shop"), "x".repeat(1 << 20));
    let aliases = "a: &a [x, x]\nb: *a\n";
    for (text, expected) in [
        (None, "There is no slipway.yaml at the root of the tree."),
        (Some("project: [\n"), "slipway.yaml:"),
        (Some("project: acme/shop\ncredential: x\ninstnaces: 2\n"), "slipway.yaml:3:1"),
        (Some("project: acme/shop\ncredential: x\nservices: 3\n"), "slipway.yaml:3:"),
        (Some(aliases), "slipway.yaml:1:"),
        (Some(large.as_str()), "slipway.yaml has 10"),
        (
            Some(manifest("evil/lair").as_str()),
            "slipway.yaml is that of evil/lair, but this is a push to acme/shop",
        ),
        (
            Some("project: acme/shop\ncredential: slwp_evil_lair\n"),
            "The credential in slipway.yaml is not that of acme/shop",
        ),
    ] {
        match text {
            Some(text) => std::fs::write(work.join("slipway.yaml"), text).unwrap(),
            None => std::fs::remove_file(work.join("slipway.yaml")).unwrap(),
        }
        world.commit(&work, "Bad").await;
        world.push(&work, &["-f", "dev", "main"]).await.fails(&[
            " !     ",
            expected,
            "pre-receive hook declined",
        ]);
        nothing_is_stored(&world).await;
    }
    std::fs::remove_file(work.join("slipway.yaml")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", work.join("slipway.yaml")).unwrap();
    world.commit(&work, "Link").await;
    world.push(&work, &["dev", "main"]).await.fails(&["slipway.yaml is a symbolic link"]);
    nothing_is_stored(&world).await;
}

async fn names_of_refs() {
    let world = World::new().await;
    let work = world.checkout("shop").await;
    let marker = work.join("marker");
    let long = format!("refs/heads/{}", "x".repeat(240));
    for name in [
        "refs/heads/-h",
        "refs/heads/--exec=x",
        "refs/heads/$(id)",
        "refs/heads/`id`",
        "refs/notes/x",
        "refs/heads/x;id>marker",
    ] {
        world.push(&work, &["dev", &format!("main:{name}")]).await.fails(&["is refused"]);
        nothing_is_stored(&world).await;
    }
    assert!(!marker.exists());
    world.push(&work, &["dev", &format!("main:{long}/{}", "y".repeat(30))]).await.fails(&["255 bytes"]);
    nothing_is_stored(&world).await;
}

async fn dangerous_trees() {
    let world = World::new().await;
    let work = world.checkout("shop").await;
    let blob = hash(&work, "blob", b"x");
    let manifest = hash(&work, "blob", manifest("acme/shop").as_bytes());
    let modules = hash(&work, "blob", b"[submodule \"a\"]\n\tpath = a\n\turl = -u./x\n");
    let carriage_return =
        hash(&work, "blob", b"[submodule \"a\"]\n\tpath = \"a\\r\"\n\turl = ext::sh -c id\n");
    let hooks = tree(&work, &[("100755", "pre-commit", &blob)]);
    for (name, mode, object) in [
        (".git", "40000", &hooks),
        (".GIT", "40000", &hooks),
        ("..", "40000", &hooks),
        (".", "100644", &blob),
        ("git~1", "40000", &hooks),
        (".gitmodules", "100644", &modules),
        (".gitmodules", "100644", &carriage_return),
        (".gitmodules", "120000", &blob),
        ("a/b", "100644", &blob),
    ] {
        let mut entries = vec![(mode, name, object.as_str()), ("100644", "slipway.yaml", &manifest)];
        entries.sort_by_key(
            |(mode, name, _)| if *mode == "40000" { format!("{name}/") } else { (*name).into() },
        );
        let commit = commit_tree(&work, &tree(&work, &entries));
        let push = world.push(&work, &["-f", "dev", &format!("{commit}:refs/heads/main")]).await;
        push.fails(&["remote rejected"]);
        nothing_is_stored(&world).await;
    }
}

async fn links_are_inert() {
    let world = World::new().await;
    let work = world.checkout("shop").await;
    std::os::unix::fs::symlink("/etc", work.join("outside")).unwrap();
    std::os::unix::fs::symlink("../../../../../../etc/shadow", work.join("shadow")).unwrap();
    world.commit(&work, "Links").await;
    world.push(&work, &["dev", "main"]).await.succeeds(&["runs v1"]);
}

async fn too_many_files() {
    let world = World::new().await;
    let work = world.checkout("shop").await;
    // 10^10 files in eleven small trees.
    let blob = hash(&work, "blob", b"x");
    let names: Vec<_> = (0..10).map(|n| n.to_string()).collect();
    let mut bomb =
        tree(&work, &names.iter().map(|name| ("100644", name.as_str(), blob.as_str())).collect::<Vec<_>>());
    for _ in 0..9 {
        bomb = tree(
            &work,
            &names.iter().map(|name| ("40000", name.as_str(), bomb.as_str())).collect::<Vec<_>>(),
        );
    }
    let commit = commit_tree(&work, &bomb);
    world
        .push(&work, &["-f", "dev", &format!("{commit}:refs/heads/main")])
        .await
        .fails(&["more than 100000 files"]);
    nothing_is_stored(&world).await;
}

async fn too_large() {
    let world = World::with(Wishes { push_bytes_max: Bytes::mebi(1), ..Wishes::default() }).await;
    let work = world.checkout("shop").await;
    let noise: Vec<u8> = (0..3 << 20).map(|_| rand::random()).collect();
    std::fs::write(work.join("noise"), noise).unwrap();
    world.commit(&work, "Large").await;
    world.push(&work, &["dev", "main"]).await.fails(&["exceeds maximum allowed size"]);
    nothing_is_stored(&world).await;
}

async fn files_in_lfs() {
    let world = World::new().await;
    let work = world.checkout("shop").await;
    std::fs::write(work.join(".gitattributes"), "*.bin filter=lfs diff=lfs merge=lfs -text\n").unwrap();
    for n in 0..7 {
        let pointer =
            format!("version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {n}\n", "0".repeat(64));
        std::fs::write(work.join(format!("{n}.bin")), pointer).unwrap();
    }
    world.commit(&work, "LFS").await;
    world
        .push(&work, &["dev", "main"])
        .await
        .fails(&["7 files are stored in Git LFS", "0.bin, 1.bin, 2.bin, 3.bin, 4.bin, …"]);
    nothing_is_stored(&world).await;
}

async fn a_full_disk() {
    if !rustix::process::getuid().is_root() {
        return;
    }
    // A disk of its own for the repositories, large enough to begin and too small to end. The server keeps a
    // copy of its program beside them, for git's hooks, which is this one.
    let program = std::fs::metadata(std::env::current_exe().unwrap()).unwrap().len();
    let options = format!("size={},mode=755", program + (72 << 20));
    let dir = tempfile::tempdir().unwrap();
    let git = dir.path().join("data/git");
    std::fs::create_dir_all(&git).unwrap();
    let status =
        Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&git).status().unwrap();
    assert!(status.success());
    let _unmount = Unmount(git.clone());
    let mut world = World::at(dir, Wishes::default()).await;
    let work = world.checkout("shop").await;
    world.push(&work, &["dev", "main"]).await.succeeds(&["runs v1"]);
    let before = world.stored_objects();
    let noise: Vec<u8> =
        std::iter::repeat_with(rand::random::<u64>).take(20 << 20 >> 3).flat_map(u64::to_ne_bytes).collect();
    for n in 0..4 {
        let mut noise = noise.clone();
        noise.iter_mut().step_by(17).for_each(|byte| *byte = byte.wrapping_add(n));
        std::fs::write(work.join(format!("noise{n}")), noise).unwrap();
    }
    world.commit(&work, "Large").await;
    world.push(&work, &["dev", "main"]).await.fails(&["No space left on device"]);
    assert_eq!(world.stored_objects(), before, "nothing is left of it");
    std::fs::write(git.join("filler"), vec![0; 100 << 20]).unwrap_or_default();
    world.push(&work, &["dev", "main"]).await.fails(&["the server's disk is full; nothing was changed"]);
    std::fs::remove_file(git.join("filler")).unwrap();
    world.git("ada", &work, &["reset", "-q", "--hard", "HEAD~1"]).await.succeeds(&[]);
    world.commit(&work, "Small").await;
    world.push(&work, &["dev", "main"]).await.succeeds(&["runs v2"]);
    world.server.take().unwrap().stop(std::time::Duration::from_secs(5)).await;
}

struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l"]).arg(&self.0).status();
    }
}

async fn too_many_options() {
    let world = World::new().await;
    let work = world.checkout("shop").await;
    let options: Vec<String> = (0..17).flat_map(|n| ["-o".to_owned(), n.to_string()]).collect();
    let mut arguments: Vec<&str> = options.iter().map(String::as_str).collect();
    arguments.extend(["dev", "main"]);
    world.push(&work, &arguments).await.fails(&["at most 16 options"]);
    world.push(&work, &["-o", &"x".repeat(300), "dev", "main"]).await.fails(&["at most 256 bytes"]);
    nothing_is_stored(&world).await;
}

/// Stores an object of any content in a work tree's repository.
fn hash(work: &Path, kind: &str, content: &[u8]) -> String {
    git(work, &["hash-object", "-t", kind, "-w", "--literally", "--stdin"], content)
}

/// A tree of any entries, in the given order; `git mktree` would refuse most that are tested here.
fn tree(work: &Path, entries: &[(&str, &str, &str)]) -> String {
    let mut content = Vec::new();
    for (mode, name, object) in entries {
        content.extend_from_slice(format!("{mode} {name}\0").as_bytes());
        content.extend(hex::decode(object).unwrap());
    }
    hash(work, "tree", &content)
}

fn commit_tree(work: &Path, tree: &str) -> String {
    let text = format!(
        "tree {tree}\nauthor A <a@example.com> 1 +0000\ncommitter A <a@example.com> 1 +0000\n\nOdd\n"
    );
    hash(work, "commit", text.as_bytes())
}

fn git(work: &Path, arguments: &[&str], input: &[u8]) -> String {
    let mut git = Command::new("git");
    git.current_dir(work).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut git = git.spawn().unwrap();
    git.stdin.take().unwrap().write_all(input).unwrap();
    let output = git.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

async fn a_pack_that_unfolds_to_gigabytes() {
    let world = World::new().await;
    // A blob of 64 KiB, and a delta of it that copies it 160,000 times: 10 GiB out of 230 KB.
    let base: Vec<u8> = (0..1 << 16).map(|_| rand::random()).collect();
    let copies = 160_000u64;
    let mut delta = [size(1 << 16), size(copies << 16)].concat();
    delta.extend(std::iter::repeat_n(0x80, copies as usize));
    let mut pack = b"PACK\0\0\0\x02\0\0\0\x02".to_vec();
    let base_at = pack.len();
    pack.extend(entry(3, base.len()));
    pack.extend(stored(&base));
    let distance = pack.len() - base_at;
    pack.extend(entry(6, delta.len()));
    // The distance back to the base, seven bits at a time, each but the last counted one too low.
    let (mut rest, mut offset) = (distance >> 7, vec![(distance & 0x7f) as u8]);
    while rest > 0 {
        rest -= 1;
        offset.insert(0, 0x80 | (rest & 0x7f) as u8);
        rest >>= 7;
    }
    pack.extend(offset);
    pack.extend(stored(&delta));
    pack.extend(sha1(&pack));
    let mut push = head(&format!("{} {} refs/heads/main\0report-status", "0".repeat(40), "1".repeat(40)));
    push.extend(pack);
    let began = std::time::Instant::now();
    let said = raw_push(&world, &push).await;
    assert!(said.contains("out of memory") || said.contains("unpack index-pack abnormal exit"), "{said}");
    assert!(began.elapsed() < std::time::Duration::from_secs(20));
    until("nothing is left of it", || async {
        world.stored_objects().iter().all(|name| !name.contains("tmp_"))
    })
    .await;
    nothing_is_stored(&world).await;
}

async fn a_head_that_lies() {
    let world = World::new().await;
    for lie in [&b"0003"[..], b"fff9x", b"ffff", b"zzzz", b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\0"] {
        assert!(raw_push(&world, lie).await.contains("slipway: the push is not understood"), "{lie:?}");
    }
    let many: Vec<u8> = (0..2000)
        .flat_map(|n| {
            let line = format!("{} {} refs/heads/b{n}", "0".repeat(40), "1".repeat(40));
            format!("{:04x}{line}", line.len() + 4).into_bytes()
        })
        .collect();
    assert!(raw_push(&world, &many).await.contains("at most 1000 branches and tags"));
    nothing_is_stored(&world).await;
    let work = world.checkout("shop").await;
    world.push(&work, &["dev", "main"]).await.succeeds(&["runs v1"]);
}

/// Speaks to `git-receive-pack` without git; what it answered after its refs.
async fn raw_push(world: &World, bytes: &[u8]) -> String {
    use tokio::io::AsyncWriteExt;
    let mut ssh = tokio::process::Command::new("ssh");
    ssh.args(world.ssh_options("ada")).args(["git@127.0.0.1", "git-receive-pack '/acme/shop/dev.git'"]);
    let mut ssh = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = ssh.stdin.take().unwrap();
    let _ = stdin.write_all(bytes).await;
    drop(stdin);
    crate::world::said(ssh.wait_with_output().await.unwrap()).text
}

/// The head of a push with one command.
fn head(command: &str) -> Vec<u8> {
    format!("{:04x}{command}0000", command.len() + 4).into_bytes()
}

/// An object's header in a pack: three bits of type, and the size, four bits and then seven at a time.
fn entry(kind: u8, length: usize) -> Vec<u8> {
    let mut rest = length >> 4;
    let mut bytes = vec![(kind << 4) | (length & 0xf) as u8];
    while rest > 0 {
        *bytes.last_mut().unwrap() |= 0x80;
        bytes.push((rest & 0x7f) as u8);
        rest >>= 7;
    }
    bytes
}

/// A size in a delta.
fn size(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(0x80 | (value & 0x7f) as u8);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A zlib stream that stores its bytes as they are.
fn stored(bytes: &[u8]) -> Vec<u8> {
    let mut stream = vec![0x78, 0x01];
    let mut blocks = bytes.chunks(0xffff).peekable();
    while let Some(block) = blocks.next() {
        let length = block.len() as u16;
        stream.push(u8::from(blocks.peek().is_none()));
        stream.extend(length.to_le_bytes());
        stream.extend((!length).to_le_bytes());
        stream.extend(block);
    }
    let (mut low, mut high) = (1u32, 0u32);
    for byte in bytes {
        low = (low + u32::from(*byte)) % 65521;
        high = (high + low) % 65521;
    }
    stream.extend((high << 16 | low).to_be_bytes());
    stream
}

fn sha1(bytes: &[u8]) -> Vec<u8> {
    let mut sha1sum = Command::new("sha1sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    sha1sum.stdin.take().unwrap().write_all(bytes).unwrap();
    let output = sha1sum.wait_with_output().unwrap().stdout;
    hex::decode(&output[..40]).unwrap()
}
