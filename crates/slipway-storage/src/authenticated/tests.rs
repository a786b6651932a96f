use std::fs;

use super::*;

const KEY: [u8; 32] = [7; 32];

struct World {
    dir: tempfile::TempDir,
    storage: Authenticated,
}

async fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let storage = Authenticated::found(Place::directory(dir.path()), &KEY).await.unwrap();
    World { dir, storage }
}

#[track_caller]
fn is_forged<T: fmt::Debug>(result: Result<T, Error>, object: &str, why: &str) {
    let error = result.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Forged { .. }), "{text}");
    assert!(text.contains(object) && text.contains(why) && text.contains("backup"), "{text}");
    assert!(!error.is_worth_a_retry());
}

#[tokio::test]
async fn an_object_is_believed_where_it_was_put_and_nowhere_else() {
    let World { dir, storage } = world().await;
    let images = storage.below("images").unwrap();
    images.put("log", "1", b"one").await.unwrap();
    let (text, code) = images.get("log", "1", 3).await.unwrap().unwrap();
    assert_eq!((&text[..], code), (&b"one"[..], images.close("log", "1", b"one").unwrap().code));
    assert_eq!(images.size("log", "1").await.unwrap(), Some(3));
    assert!(matches!(images.get("log", "1", 2).await, Err(Error::TooBig(..))));
    assert_eq!(images.get("log", "2", 3).await.unwrap(), None);

    let at = |path: &str| dir.path().join(path);
    let whole = fs::read(at("images/log/1")).unwrap();
    fs::write(at("images/log/2"), &whole).unwrap();
    is_forged(images.get("log", "2", 99).await, "images/log/2", "was put there from another place");
    fs::create_dir_all(at("others/log")).unwrap();
    fs::write(at("others/log/1"), &whole).unwrap();
    let others = storage.below("others").unwrap();
    is_forged(others.get("log", "1", 99).await, "others/log/1", "from another place");
    for (changed, why) in [
        (b"0ne".iter().chain(&whole[3..]).copied().collect::<Vec<_>>(), "its code is wrong"),
        (whole[..whole.len() - 1].to_vec(), "it has no code"),
        (whole[..3].to_vec(), "it has no code"),
        (Vec::new(), "it has no code"),
        ([&whole[..], b"x"].concat(), "it has no code"),
    ] {
        fs::write(at("images/log/1"), changed).unwrap();
        is_forged(images.get("log", "1", 99).await, "images/log/1", why);
    }
}

#[tokio::test]
async fn a_file_is_believed_as_an_object_is() {
    let World { dir, storage } = world().await;
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    let bytes: Vec<u8> = (0..200_000_u32).map(|at| (at % 251) as u8).collect();
    fs::write(&from, &bytes).unwrap();
    storage.put_file("a", "x", &from).await.unwrap();
    assert!(storage.get_file("a", "x", &to, bytes.len() as u64).await.unwrap());
    assert_eq!(fs::read(&to).unwrap(), bytes);
    assert_eq!(storage.get("a", "x", 1 << 20).await.unwrap().unwrap().0, bytes);
    assert!(!storage.get_file("a", "y", &to, 1).await.unwrap());
    let mut rotten = fs::read(dir.path().join("a/x")).unwrap();
    rotten[100_000] ^= 1;
    fs::write(dir.path().join("a/x"), &rotten).unwrap();
    is_forged(storage.get_file("a", "x", &to, 1 << 20).await, "a/x", "its code is wrong");
    fs::write(dir.path().join("a/x"), &bytes[..70]).unwrap();
    is_forged(storage.get_file("a", "x", &to, 1 << 20).await, "a/x", "it has no code");
    fs::write(dir.path().join("a/x"), b"short").unwrap();
    is_forged(storage.get_file("a", "x", &to, 1 << 20).await, "a/x", "it has no code");
}

#[tokio::test]
async fn another_key_or_storage_is_noticed() {
    let (one, other) = (world().await, world().await);
    one.storage.put("a", "x", b"one").await.unwrap();
    // Founding again changes nothing.
    let again = Authenticated::found(Place::directory(one.dir.path()), &KEY).await.unwrap();
    assert_eq!(again.identity(), one.storage.identity());
    assert!(again.get("a", "x", 9).await.unwrap().is_some());
    // A storage of another cluster with the same key.
    fs::create_dir(other.dir.path().join("a")).unwrap();
    fs::copy(one.dir.path().join("a/x"), other.dir.path().join("a/x")).unwrap();
    is_forged(other.storage.get("a", "x", 9).await, "a/x", "from another place");
    let place = Place::directory(one.dir.path());
    is_forged(Authenticated::open(place, &[8; 32]).await, "storage/id", "another master key");
    let empty = tempfile::tempdir().unwrap();
    assert!(Authenticated::open(Place::directory(empty.path()), &KEY).await.unwrap().is_none());
    fs::create_dir(empty.path().join("storage")).unwrap();
    fs::write(empty.path().join("storage/id"), "an id").unwrap();
    is_forged(Authenticated::open(Place::directory(empty.path()), &KEY).await, "storage/id", "no code");
}

#[tokio::test]
async fn what_was_put_back_on_purpose_is_told_and_stays_the_same_storage() {
    let World { dir, storage } = world().await;
    storage.put("a", "x", b"one").await.unwrap();
    let accept = async |now| {
        let place = Place::directory(dir.path());
        let accepted = Authenticated::accept(place.clone(), &KEY, now).await.unwrap().unwrap();
        let opened = Authenticated::open(place, &KEY).await.unwrap().unwrap();
        assert_eq!(accepted.identity(), opened.identity());
        assert_eq!(opened.identity().id, storage.identity().id);
        assert!(opened.get("a", "x", 9).await.unwrap().is_some());
        opened.identity().restored
    };
    assert_eq!(accept(50).await, 50);
    // A clock that was set back.
    assert_eq!(accept(40).await, 51);
    let empty = tempfile::tempdir().unwrap();
    assert!(Authenticated::accept(Place::directory(empty.path()), &KEY, 1).await.unwrap().is_none());
    // The id, which is printed, may have two of these digits by chance.
    let printed = format!("{storage:?}");
    assert!(!["07070707", "7, 7, 7"].iter().any(|key| printed.contains(key)), "no key is printed: {printed}");
}
