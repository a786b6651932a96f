use super::*;

#[test]
fn whoever_is_passed_on_comes_to_the_same_door() {
    for door in [Door::Api, Door::Registry, Door::Ssh] {
        assert_eq!(Door::of(door.service()), Some(door));
    }
}
