use super::*;

#[test]
fn there_is_room_for_many_times_what_came_lately() {
    let window = Window::default();
    assert_eq!(window.transactions(), TRANSACTIONS_MIN);
    window.note(1_000, 2_000);
    assert_eq!(window.transactions(), 16_000);
    // One quiet write does not make it narrow, and many do.
    window.note(2_000, 2_001);
    assert!(window.transactions() > 15_000);
    for at in 2_000..3_000 {
        window.note(at, at + 1);
    }
    assert_eq!(window.transactions(), TRANSACTIONS_MIN);
    // An election of the servers is no burst.
    window.note(1 << 32, 2 << 32);
    assert_eq!(window.transactions(), TRANSACTIONS_MIN);
}
