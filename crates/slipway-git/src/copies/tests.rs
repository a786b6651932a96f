use std::io::Write;
use std::process::Stdio;

use slipway_storage::Place;
use tempfile::TempDir;

use super::state::{name_of, number_of};
use super::*;

const KEY: [u8; 32] = [7; 32];
const MAIN: &str = "refs/namespaces/dev/refs/heads/main";

/// One server's end of a storage.
struct Server {
    _dir: TempDir,
    copies: Copies,
    copy: Copy,
}

/// The storage, which one of them has founded.
async fn found(storage: &TempDir) -> Authenticated {
    let place = Place::directory(storage.path());
    Authenticated::found(place, &KEY).await.unwrap().below("git").unwrap()
}

async fn server(storage: &TempDir, epoch: u64) -> Server {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let shared = SharedStorage { storage: found(storage).await, epoch: Epoch(epoch) };
    let copies = Copies::new(shared, Git::over(&root, None), None);
    let project: ProjectPath = "acme/shop".parse().unwrap();
    let path = crate::repository::path_of(&root, &project);
    Server { _dir: dir, copies, copy: Copy { project, path } }
}

impl Server {
    fn git(&self, arguments: &[&str], input: &str) -> String {
        let mut git = std::process::Command::new("git");
        git.args(arguments).env("GIT_DIR", &self.copy.path).stdin(Stdio::piped()).stdout(Stdio::piped());
        for who in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{who}_NAME"), "Ada").env(format!("GIT_{who}_EMAIL"), "ada@example.com");
        }
        let mut git = git.spawn().unwrap();
        git.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = git.wait_with_output().unwrap();
        assert!(output.status.success(), "git {arguments:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// A commit on top of another, and the change that a push of it to main is.
    async fn pushed(&self, text: &str, parent: Option<&str>) -> (String, Change) {
        let blob = self.git(&["hash-object", "-w", "--stdin"], text);
        let tree = self.git(&["mktree"], &format!("100644 blob {blob}\tfile\n"));
        let mut arguments = vec!["commit-tree", &tree, "-m", text];
        arguments.extend(parent.into_iter().flat_map(|parent| ["-p", parent]));
        let commit = self.git(&arguments, "");
        let quarantine = self.copies.git.passing().join("quarantine");
        std::fs::create_dir_all(quarantine.join("pack")).unwrap();
        let base = quarantine.join("pack/pack").display().to_string();
        self.git(&["pack-objects", "-q", &base], &format!("{commit}\n{tree}\n{blob}\n"));
        let packs = self.copies.put_packs(&self.copy, &quarantine).await.unwrap();
        std::fs::remove_dir_all(quarantine).unwrap();
        let refs = vec![(MAIN.to_owned(), Some(commit.parse().unwrap()))];
        (commit, Change { refs, packs, ..Change::default() })
    }

    async fn push(&self, text: &str, parent: Option<&str>) -> String {
        let (commit, change) = self.pushed(text, parent).await;
        self.copies.change(&self.copy, change).await.unwrap();
        commit
    }

    fn main(&self) -> String {
        self.git(&["rev-parse", MAIN], "")
    }
}

fn packs_of(storage: &TempDir) -> Vec<PathBuf> {
    let listing = std::fs::read_dir(storage.path().join("git/of/acme/shop/packs")).unwrap();
    listing.map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test]
async fn an_older_keeper_cannot_move_a_ref_once_a_newer_one_has_begun() {
    let storage = tempfile::tempdir().unwrap();
    let (old, new) = (server(&storage, 1).await, server(&storage, 2).await);
    old.copies.bring_or_make(&old.copy).await.unwrap();
    let first = old.push("first", None).await;
    // Received before the pause, moved after it; the newer leader has changed nothing.
    let (_, late) = old.pushed("late", Some(&first)).await;
    assert!(new.copies.bring(&new.copy).await.unwrap());
    assert_eq!(new.main(), first);
    let refused = old.copies.change(&old.copy, late.clone()).await.unwrap_err();
    assert!(refused.is_overtaken(), "{refused}");
    let second = new.push("second", Some(&first)).await;
    assert!(old.copies.change(&old.copy, late).await.unwrap_err().is_overtaken());
    assert_eq!((old.main(), new.main()), (first, second.clone()));
    // Whoever leads next sees what the newer one has done.
    let next = server(&storage, 3).await;
    assert!(next.copies.bring(&next.copy).await.unwrap());
    assert_eq!(next.main(), second);
    next.git(&["fsck", "--strict"], "");
}

#[tokio::test]
async fn an_old_number_that_is_free_again_proves_nothing() {
    let storage = tempfile::tempdir().unwrap();
    let (one, two) = (server(&storage, 1).await, server(&storage, 1).await);
    one.copies.bring_or_make(&one.copy).await.unwrap();
    let first = one.push("first", None).await;
    assert!(two.copies.bring(&two.copy).await.unwrap());
    let (_, late) = two.pushed("late", Some(&first)).await;
    let mut parent = first;
    for text in ["a", "b", "c"] {
        parent = one.push(text, Some(&parent)).await;
    }
    assert!(two.copies.change(&two.copy, late).await.unwrap_err().is_overtaken());
    assert!(two.copies.bring(&two.copy).await.unwrap());
    assert_eq!(two.main(), parent);
    let states = std::fs::read_dir(storage.path().join("git/of/acme/shop/states")).unwrap();
    assert_eq!(states.count(), 2, "old states are deleted");
}

#[tokio::test]
async fn a_deleted_repository_leaves_nothing_to_inherit() {
    let storage = tempfile::tempdir().unwrap();
    let (one, two) = (server(&storage, 1).await, server(&storage, 2).await);
    one.copies.bring_or_make(&one.copy).await.unwrap();
    one.push("secret", None).await;
    two.copies.bring(&two.copy).await.unwrap();
    two.copies.forget(&two.copy).await.unwrap();
    assert_eq!(packs_of(&storage), Vec::<PathBuf>::new());
    let three = server(&storage, 3).await;
    assert!(!three.copies.bring(&three.copy).await.unwrap());
    three.copies.bring_or_make(&three.copy).await.unwrap();
    // A server that has the old one in its directory does not take it for the new one.
    let four = Server { copies: Copies { epoch: 4, ..one.copies }, ..one };
    *four.copies.turns.take(&four.copy.project).await = None;
    assert!(four.copies.bring(&four.copy).await.unwrap());
    assert_eq!(four.git(&["for-each-ref"], ""), "");
}

#[tokio::test]
async fn many_packs_become_one_and_what_nothing_leads_to_goes() {
    let storage = tempfile::tempdir().unwrap();
    let one = server(&storage, 1).await;
    one.copies.bring_or_make(&one.copy).await.unwrap();
    let mut parent = one.push("0", None).await;
    for text in 1..=PACKS_MAX {
        parent = one.push(&text.to_string(), Some(&parent)).await;
    }
    let (_, _abandoned) = one.pushed("abandoned", Some(&parent)).await;
    assert_eq!(packs_of(&storage).len(), PACKS_MAX + 2);
    one.copies.tidy(&one.copy, || true).await.unwrap();
    assert_eq!(packs_of(&storage).len(), PACKS_MAX + 3, "a push is under way");
    one.copies.tidy(&one.copy, || false).await.unwrap();
    assert_eq!(packs_of(&storage).len(), 1);
    let last = one.push("after", Some(&parent)).await;
    let two = server(&storage, 2).await;
    assert!(two.copies.bring(&two.copy).await.unwrap());
    assert_eq!(two.main(), last);
    two.git(&["fsck", "--strict"], "");
}

#[tokio::test]
async fn a_damaged_or_missing_pack_is_named_and_mended_by_putting_it_back() {
    let storage = tempfile::tempdir().unwrap();
    let one = server(&storage, 1).await;
    one.copies.bring_or_make(&one.copy).await.unwrap();
    let first = one.push("first", None).await;
    let pack = packs_of(&storage).remove(0);
    let (whole, name) = (std::fs::read(&pack).unwrap(), pack.file_name().unwrap().to_str().unwrap());
    let two = server(&storage, 2).await;
    let mut rotten = whole.clone();
    rotten[20] ^= 1;
    std::fs::write(&pack, rotten).unwrap();
    let said = two.copies.bring(&two.copy).await.unwrap_err().to_string();
    assert!(said.contains(name) && said.contains("is damaged") && said.contains("backup"), "{said}");
    std::fs::remove_file(&pack).unwrap();
    let said = two.copies.bring(&two.copy).await.unwrap_err().to_string();
    assert!(said.contains(name) && said.contains("is missing"), "{said}");
    std::fs::write(&pack, whole).unwrap();
    assert!(two.copies.bring(&two.copy).await.unwrap());
    assert_eq!(two.main(), first);
}

#[tokio::test]
async fn the_repositories_of_one_machine_are_brought_into_a_storage() {
    let (machine, storage) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = machine.path().join("acme/shop.git");
    std::fs::create_dir_all(&path).unwrap();
    let mut one = server(&storage, 1).await;
    one.copy.path = path;
    one.git(&["init", "-q", "--bare"], "");
    let blob = one.git(&["hash-object", "-w", "--stdin"], "x");
    let tree = one.git(&["mktree"], &format!("100644 blob {blob}\tfile\n"));
    let commit = one.git(&["commit-tree", &tree, "-m", "x"], "");
    one.git(&["update-ref", MAIN, &commit], "");
    one.git(&["symbolic-ref", "refs/namespaces/dev/HEAD", MAIN], "");
    for _ in 0..2 {
        assert_eq!(bring_up(machine.path(), None, found(&storage).await).await.unwrap(), 1);
    }
    assert_eq!(packs_of(&storage).len(), 1);
    let two = server(&storage, 1).await;
    assert!(two.copies.bring(&two.copy).await.unwrap());
    assert_eq!(two.main(), commit);
    assert_eq!(two.git(&["symbolic-ref", "refs/namespaces/dev/HEAD"], ""), MAIN);
}

fn state_of(storage: &TempDir, number: u64) -> PathBuf {
    storage.path().join(format!("git/of/acme/shop/states/{number:020}"))
}

fn newest_state(storage: &TempDir) -> u64 {
    let listing = std::fs::read_dir(storage.path().join("git/of/acme/shop/states")).unwrap();
    listing.filter_map(|entry| number_of(entry.unwrap().file_name().to_str()?)).max().unwrap()
}

#[tokio::test]
async fn a_state_that_no_server_wrote_is_named_and_moves_nothing() {
    let storage = tempfile::tempdir().unwrap();
    let one = server(&storage, 1).await;
    one.copies.bring_or_make(&one.copy).await.unwrap();
    let first = one.push("first", None).await;
    let second = one.push("second", Some(&first)).await;
    let newest = newest_state(&storage);
    let (object, earlier) = (state_of(&storage, newest), state_of(&storage, newest - 1));
    let whole = std::fs::read(&object).unwrap();
    let text = String::from_utf8(whole.clone()).unwrap();
    assert!(text.contains(&second), "{text}");
    let check = async |changed: Vec<u8>, why: &str| {
        std::fs::write(&object, changed).unwrap();
        let two = server(&storage, 2).await;
        let error = two.copies.bring(&two.copy).await.unwrap_err();
        let said = format!("{:#}", std::error::Error::source(&error).unwrap());
        assert!(said.contains("git/of/acme/shop/states/") && said.contains(why), "{said}");
        assert!(error.words_for_a_pusher().unwrap().contains("cannot be believed"), "{error}");
        assert!(!two.copy.path.exists(), "nothing is taken over");
    };
    // Main at the first commit again.
    check(text.replace(&second, &first).into_bytes(), "its code is wrong").await;
    check(text.split("\nhmac:").next().unwrap().into(), "it has no code").await;
    check(whole[..whole.len() / 2].to_vec(), "it has no code").await;
    check(std::fs::read(&earlier).unwrap(), "was put there from another place").await;
    // The newest state of another project.
    std::fs::write(&object, &whole).unwrap();
    let other = storage.path().join("git/of/acme/other/states");
    std::fs::create_dir_all(&other).unwrap();
    std::fs::copy(&object, other.join(name_of(newest))).unwrap();
    let mut two = server(&storage, 2).await;
    let own = std::mem::replace(&mut two.copy.project, "acme/other".parse().unwrap());
    assert!(two.copies.bring(&two.copy).await.is_err());
    two.copy.project = own;
    assert!(two.copies.bring(&two.copy).await.unwrap());
    assert_eq!(two.main(), second);
}

#[tokio::test]
async fn a_state_after_the_newest_that_no_server_wrote_holds_up_and_does_not_depose() {
    let storage = tempfile::tempdir().unwrap();
    let one = server(&storage, 1).await;
    one.copies.bring_or_make(&one.copy).await.unwrap();
    let first = one.push("first", None).await;
    let newest = newest_state(&storage);
    std::fs::copy(state_of(&storage, newest), state_of(&storage, newest + 1)).unwrap();
    let (_, change) = one.pushed("second", Some(&first)).await;
    let refused = one.copies.change(&one.copy, change.clone()).await.unwrap_err();
    assert!(!refused.is_overtaken(), "{refused}");
    std::fs::remove_file(state_of(&storage, newest + 1)).unwrap();
    one.copies.change(&one.copy, change).await.unwrap();
}

#[tokio::test]
async fn a_pack_that_was_swapped_brings_nothing_in() {
    let storage = tempfile::tempdir().unwrap();
    let one = server(&storage, 1).await;
    one.copies.bring_or_make(&one.copy).await.unwrap();
    let first = one.push("first", None).await;
    let pack = packs_of(&storage).remove(0);
    let whole = std::fs::read(&pack).unwrap();
    // A pack that is whole, with other objects, and one with the right ones and others.
    let (_, _abandoned) = one.pushed("evil", Some(&first)).await;
    let other = packs_of(&storage).into_iter().find(|other| *other != pack).unwrap();
    std::fs::copy(&other, &pack).unwrap();
    let two = server(&storage, 2).await;
    let said = two.copies.bring(&two.copy).await.unwrap_err().to_string();
    assert!(said.contains("is damaged"), "{said}");
    assert!(two.git(&["rev-list", "--all", "--objects"], "").is_empty());
    // An index beside it is nobody's business.
    std::fs::write(&pack, whole).unwrap();
    std::fs::write(pack.with_extension("idx"), "not what git would make").unwrap();
    assert!(two.copies.bring(&two.copy).await.unwrap());
    assert_eq!(two.main(), first);
    two.git(&["fsck", "--strict"], "");
}

#[tokio::test]
async fn newest_states_that_were_deleted_are_missed_by_whoever_knew_them() {
    let storage = tempfile::tempdir().unwrap();
    let one = server(&storage, 1).await;
    one.copies.bring_or_make(&one.copy).await.unwrap();
    let first = one.push("first", None).await;
    let second = one.push("second", Some(&first)).await;
    let newest = newest_state(&storage);
    let whole = std::fs::read(state_of(&storage, newest)).unwrap();
    std::fs::remove_file(state_of(&storage, newest)).unwrap();
    let again = async |one: Server, epoch| later(one, &storage, epoch).await;
    let is_missed = async |one: &Server, found: u64| {
        let error = one.copies.bring(&one.copy).await.unwrap_err();
        let said = error.to_string();
        assert!(matches!(error, Error::PutBack { .. }), "{said}");
        assert!(
            said.contains(&format!("number {found} and not")) && said.contains("accept-storage"),
            "{said}"
        );
    };
    let one = again(one, 2).await;
    is_missed(&one, newest - 1).await;
    assert_eq!(one.main(), second, "its copy stays");
    // Somebody who never knew goes on with the older one, to the same number.
    let two = server(&storage, 3).await;
    assert!(two.copies.bring(&two.copy).await.unwrap());
    assert_eq!((two.main(), newest_state(&storage)), (first.clone(), newest));
    let one = again(one, 4).await;
    is_missed(&one, newest).await;
    // All of them away.
    let later = std::fs::read(state_of(&storage, newest)).unwrap();
    std::fs::remove_dir_all(state_of(&storage, newest).parent().unwrap()).unwrap();
    is_missed(&one, 0).await;
    std::fs::create_dir(state_of(&storage, newest).parent().unwrap()).unwrap();
    std::fs::write(state_of(&storage, newest), whole).unwrap();
    assert!(one.copies.bring(&one.copy).await.unwrap(), "put back from a backup");
    assert_eq!(one.main(), second);
    // An older storage, on purpose.
    std::fs::remove_dir_all(state_of(&storage, newest).parent().unwrap()).unwrap();
    std::fs::create_dir(state_of(&storage, newest).parent().unwrap()).unwrap();
    std::fs::write(state_of(&storage, newest), later).unwrap();
    let one = again(one, 5).await;
    is_missed(&one, newest).await;
    let accepted = Authenticated::accept(Place::directory(storage.path()), &KEY, 1).await.unwrap();
    assert!(accepted.is_some());
    let one = again(one, 6).await;
    assert!(one.copies.bring(&one.copy).await.unwrap());
    assert_eq!(one.main(), first);
}

/// The same server, in a later term.
async fn later(one: Server, storage: &TempDir, epoch: u64) -> Server {
    *one.copies.turns.take(&one.copy.project).await = None;
    let storage = found(storage).await;
    Server { copies: Copies { epoch, storage, ..one.copies }, ..one }
}

#[tokio::test]
async fn states_of_a_course_that_was_given_up_are_believed_no_more() {
    let storage = tempfile::tempdir().unwrap();
    let one = server(&storage, 1).await;
    one.copies.bring_or_make(&one.copy).await.unwrap();
    let first = one.push("first", None).await;
    let kept_from = newest_state(&storage);
    let backup = std::fs::read(state_of(&storage, kept_from)).unwrap();
    let second = one.push("second", Some(&first)).await;
    let third = one.push("third", Some(&second)).await;
    one.push("fourth", Some(&third)).await;
    let given_up = newest_state(&storage);
    let kept = std::fs::read(state_of(&storage, given_up)).unwrap();

    // An operator puts the first back, on purpose, and the servers go on from there.
    let states = state_of(&storage, 0).parent().unwrap().to_owned();
    std::fs::remove_dir_all(&states).unwrap();
    std::fs::create_dir(&states).unwrap();
    std::fs::write(state_of(&storage, kept_from), backup).unwrap();
    Authenticated::accept(Place::directory(storage.path()), &KEY, 1).await.unwrap().unwrap();
    let one = later(one, &storage, 2).await;
    assert!(one.copies.bring(&one.copy).await.unwrap());
    assert_eq!(one.main(), first);
    assert!(newest_state(&storage) < given_up);

    // Somebody has kept the newest of those that were given up; its code is right.
    std::fs::write(state_of(&storage, given_up), kept).unwrap();
    let one = later(one, &storage, 3).await;
    let error = one.copies.bring(&one.copy).await.unwrap_err();
    assert!(matches!(error, Error::PutBack { .. }), "{error}");
    assert_eq!(one.main(), first);
    // Once more on purpose it counts.
    Authenticated::accept(Place::directory(storage.path()), &KEY, 2).await.unwrap().unwrap();
    let one = later(one, &storage, 4).await;
    assert!(one.copies.bring(&one.copy).await.unwrap());
    assert_ne!(one.main(), first);
}

#[tokio::test]
async fn a_deleted_repository_that_is_put_back_is_not_its_namesakes() {
    let storage = tempfile::tempdir().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let records = crate::records::Records(slipway_store::Store::open(dir.path()).unwrap());
    let with_records =
        |one: Server| Server { copies: Copies { records: Some(records.clone()), ..one.copies }, ..one };
    let one = with_records(server(&storage, 1).await);
    one.copies.bring_or_make(&one.copy).await.unwrap();
    one.push("secret", None).await;
    let newest = newest_state(&storage);
    let kept = std::fs::read(state_of(&storage, newest)).unwrap();
    one.copies.forget(&one.copy).await.unwrap();
    // All of it away, and swept again.
    let states = state_of(&storage, 0).parent().unwrap().to_owned();
    std::fs::remove_dir_all(&states).unwrap();
    one.copies.forget(&one.copy).await.unwrap();
    std::fs::create_dir(&states).unwrap();
    std::fs::write(state_of(&storage, newest), kept).unwrap();

    // Another server, which never knew of it, makes a project of that name.
    let two = with_records(server(&storage, 2).await);
    let error = two.copies.bring_or_make(&two.copy).await.unwrap_err();
    assert!(matches!(error, Error::PutBack { .. }), "{error}");
}
