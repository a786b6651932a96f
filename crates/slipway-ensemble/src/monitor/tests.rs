use super::*;

#[test]
fn ex_09_answers_become_states() {
    let look = |is_listed, ruok, srvr| state(Seen { is_listed, ruok, srvr });
    let serving = Some("Zxid: 0x0\nMode: follower\n");
    assert_eq!(look(false, Some("imok"), serving), State::Latent);
    assert_eq!(look(true, None, serving), State::Down);
    let idle = Some("This ZooKeeper instance is not currently serving requests");
    assert_eq!(look(true, Some("imok"), idle), State::NotServing);
    assert_eq!(look(true, Some("imok"), None), State::NotServing);
    assert_eq!(look(true, Some("imok\n"), serving), State::Serving);
}

#[test]
fn ex_09_a_server_is_restarted_when_down_or_idle_for_too_long_unless_switched_off() {
    let ticks = Ticks { tick_time_ms: 2000, init_limit: 10, sync_limit: 5 };
    let patience = Duration::from_secs(40);
    assert_eq!(ticks.patience(), patience);
    let late = patience + Duration::from_millis(1);
    let table = [
        (State::Latent, late, false),
        (State::Serving, late, false),
        (State::Down, Duration::ZERO, true),
        (State::NotServing, patience, false),
        (State::NotServing, late, true),
    ];
    for (state, since, restart) in table {
        assert_eq!(needs_restart(state, since, ticks, true), restart, "{state:?} for {since:?}");
        assert!(!needs_restart(state, since, ticks, false));
    }
}
