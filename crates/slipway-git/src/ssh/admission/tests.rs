use super::*;

fn source(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn admit(admission: &mut Admission, from: IpAddr, now: Instant) -> (ConnectionId, Option<ConnectionId>) {
    match admission.admit(from, now) {
        Admitted::Yes { id, close } => (id, close),
        Admitted::No => panic!("{from} was turned away"),
    }
}

#[test]
fn a_flood_pushes_out_its_own_oldest_and_never_a_quiet_neighbour() {
    let now = Instant::now();
    let mut admission = Admission::default();
    let (quiet, _) = admit(&mut admission, source(1), now);
    let mut closed = Vec::new();
    for _ in 0..5000 {
        closed.extend(admit(&mut admission, source(2), now).1);
    }
    assert_eq!(admission.half_open.len(), HALF_OPEN_MAX);
    assert!(admission.half_open.contains_key(&quiet));
    assert!(closed.is_sorted(), "the oldest goes first");
}

#[test]
fn misconduct_adds_up_and_fades() {
    let now = Instant::now();
    let mut admission = Admission::default();
    for _ in 0..7 {
        let (id, _) = admit(&mut admission, source(1), now);
        admission.failed(id, Misconduct::NotAuthenticated, now);
    }
    assert_eq!(admission.admit(source(1), now), Admitted::No);
    admit(&mut admission, source(2), now);
    admit(&mut admission, source(1), now + Duration::from_secs(5));
}

#[test]
fn loopback_is_never_penalised_and_a_slash_64_is_one_source() {
    let now = Instant::now();
    let mut admission = Admission::default();
    for _ in 0..100 {
        let (id, _) = admit(&mut admission, IpAddr::from([127, 0, 0, 1]), now);
        admission.failed(id, Misconduct::TooSlow, now);
    }
    admit(&mut admission, IpAddr::from([127, 0, 0, 1]), now);
    let host = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 7, 0, 0, 0, last]);
    for last in 0..3 {
        let (id, _) = admit(&mut admission, host(last), now);
        admission.failed(id, Misconduct::TooSlow, now);
    }
    assert_eq!(admission.admit(host(99), now), Admitted::No);
}

#[test]
fn the_register_is_bounded() {
    let now = Instant::now();
    let mut admission = Admission::default();
    for n in 0..10_000u32 {
        let (id, _) = admit(&mut admission, IpAddr::from((n + 0x0a00_0000).to_be_bytes()), now);
        admission.failed(id, Misconduct::Broken, now);
    }
    assert!(admission.penalties.len() <= SOURCES_MAX);
    let mut held = 0;
    while let Admitted::Yes { id, .. } = admission.admit(source(1), now) {
        admission.authenticated(id);
        held += 1;
    }
    assert_eq!(held, CONNECTIONS_MAX);
}
