//! Deaths and returns in any order, and every decision carried out: a model of an ensemble in which a
//! server serves while it lives, is listed, and a majority of the voters lives.

use super::*;

const STEP: Duration = Duration::from_secs(30);
const HOSTS: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];

#[derive(Debug, Clone)]
enum Happens {
    Dies(usize),
    Returns(usize),
    Nothing,
    /// Somebody else holds the lock, so that what is decided is not done.
    NoLock,
}

struct Model {
    rules: Rules,
    list: Servers,
    highest_id: u8,
    configuration: Configuration,
    lives: [bool; HOSTS.len()],
    seen: Vec<Instance>,
    since_change: Duration,
    /// Who ever had an id.
    ids: BTreeMap<u8, String>,
}

impl Model {
    fn new(rules: Rules, voters: usize) -> Self {
        let servers = (0..voters).map(|at| Server {
            kind: Kind::Standard,
            id: u8::try_from(at + 1).unwrap(),
            host: HOSTS[at].to_owned(),
        });
        let list = Servers::of(servers).unwrap();
        let seen = HOSTS.iter().map(|host| Instance {
            host: (*host).to_owned(),
            state: State::Latent,
            since: Duration::ZERO,
        });
        let mut model = Self {
            rules,
            highest_id: 0,
            configuration: configuration(&list.to_string()),
            lives: [true; HOSTS.len()],
            seen: seen.collect(),
            since_change: Duration::ZERO,
            ids: list.iter().map(|server| (server.id, server.host.clone())).collect(),
            list,
        };
        model.look();
        model
    }

    fn lives(&self, host: &str) -> bool {
        self.lives[HOSTS.iter().position(|other| *other == host).unwrap()]
    }

    /// One that was taken from the list stops only when its vote is gone.
    fn has_quorum(&self) -> bool {
        let voters: Vec<&Member> = self.configuration.voters().collect();
        let live = voters.iter().filter(|voter| self.lives(&voter.host)).count();
        live >= majority(voters.len())
    }

    fn look(&mut self) {
        let has_quorum = self.has_quorum();
        for (at, host) in HOSTS.iter().enumerate() {
            let is_listed = self.list.iter().any(|server| server.host == *host);
            let state = match (self.lives[at], is_listed, has_quorum) {
                (false, _, _) => State::Down,
                (true, false, _) => State::Latent,
                (true, true, true) => State::Serving,
                (true, true, false) => State::NotServing,
            };
            let seen = &mut self.seen[at];
            seen.since = if seen.state == state { seen.since + STEP } else { Duration::ZERO };
            seen.state = state;
        }
        self.since_change += STEP;
    }

    fn decide(&self) -> Decision {
        let leader = self.configuration.voters().find(|voter| self.lives(&voter.host));
        decide(&Situation {
            rules: self.rules,
            list: &self.list,
            highest_id: self.highest_id,
            instances: &self.seen,
            configuration: self.has_quorum().then_some(&self.configuration),
            leader: leader.map(|voter| voter.id),
            since_change: self.since_change,
        })
    }

    /// Returns whether something was done.
    fn round(&mut self, happens: &Happens) -> bool {
        match happens {
            Happens::Dies(at) => self.lives[*at] = false,
            Happens::Returns(at) => self.lives[*at] = true,
            Happens::Nothing | Happens::NoLock => {}
        }
        self.look();
        let had_quorum = self.has_quorum();
        if matches!(happens, Happens::NoLock) {
            return false;
        }
        let decision = self.decide();
        match decision.clone() {
            Decision::Wait(_) => return false,
            Decision::Rewrite { list, highest_id, .. } => self.rewrite(list, highest_id),
            Decision::Reconfigure(change) => self.reconfigure(&change),
        }
        assert!(had_quorum, "it acted without a quorum: {decision:?}");
        assert!(self.has_quorum(), "it lost the quorum by {decision:?}");
        true
    }

    fn rewrite(&mut self, list: Servers, highest_id: u8) {
        let ids = |list: &Servers| list.iter().map(|server| server.id).collect::<BTreeSet<_>>();
        let (old, new) = (ids(&self.list), ids(&list));
        for joined in new.difference(&old) {
            assert!(self.since_change >= self.rules.settling, "{list} came too soon");
            let server = list.iter().find(|server| server.id == *joined).unwrap();
            let former = self.ids.insert(server.id, server.host.clone());
            assert_eq!(former, None, "an id was given twice");
        }
        for gone in old.difference(&new) {
            let seen = self.seen.iter().find(|seen| seen.host == self.ids[gone]).unwrap();
            assert_eq!(seen.state, State::Down, "{list} lacks one that lives");
            assert!(seen.since >= self.rules.settling, "{list} lacks one that might come back");
        }
        assert!(old.symmetric_difference(&new).count() <= 1, "{list} changes more than one");
        assert!(highest_id >= self.highest_id && new.iter().all(|id| *id <= highest_id));
        (self.list, self.highest_id, self.since_change) = (list, highest_id, Duration::ZERO);
    }

    fn reconfigure(&mut self, change: &Change) {
        if let Some((server, role)) = &change.joining {
            let former = self.configuration.member(server.id).map(|old| old.role);
            if *role == Role::Participant {
                assert!(self.lives(&server.host), "a vote for one that is dead");
                // ZooKeeper refuses this (-13): an observer does not count for the majority of two.
                let is_second = self.configuration.voters().count() == 1;
                assert!(!is_second || former.is_none(), "the second voter was an observer");
            }
            self.configuration.members.retain(|old| old.id != server.id);
            self.configuration.members.push(member(server, *role));
        }
        self.configuration.members.retain(|old| Some(old.id) != change.leaving);
        assert!(self.configuration.voters().next().is_some(), "nobody votes");
        self.configuration.version += 1;
    }
}

fn happens() -> impl Strategy<Value = Happens> {
    let host = 0..HOSTS.len();
    prop_oneof![
        2 => host.clone().prop_map(Happens::Dies),
        2 => host.prop_map(Happens::Returns),
        8 => Just(Happens::Nothing),
        1 => Just(Happens::NoLock),
    ]
}

fn size() -> impl Strategy<Value = Size> {
    prop_oneof![(1..6_usize).prop_map(Size::Fixed), Just(Size::Flexible)]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(600) })]

    #[test]
    fn ex_12_no_sequence_of_deaths_and_decisions_loses_a_quorum_or_gives_an_id_twice(
        size in size(),
        observer_threshold in prop_oneof![Just(999_usize), 1..5_usize],
        voters in 1..6_usize,
        story in prop::collection::vec(happens(), 1..150),
    ) {
        let mut model = Model::new(Rules { observer_threshold, ..rules(size) }, voters);
        for happens in &story {
            model.round(happens);
        }
    }

    #[test]
    fn ex_12_when_deaths_end_it_comes_to_rest_at_the_size_that_was_asked_for(
        size in size(),
        voters in 1..6_usize,
        story in prop::collection::vec(happens(), 1..100),
    ) {
        let mut model = Model::new(rules(size), voters);
        for happens in &story {
            model.round(happens);
        }
        model.lives = [true; HOSTS.len()];
        for _ in 0..400 {
            model.round(&Happens::Nothing);
        }
        let acts = (0..20).any(|_| model.round(&Happens::Nothing));
        prop_assert!(!acts, "it does not come to rest: {}", model.list);
        let votes = model.configuration.voters().count();
        let wanted = match size {
            Size::Fixed(size) => size,
            Size::Flexible => HOSTS.len(),
        };
        prop_assert_eq!(votes, wanted, "{}", model.list);
        prop_assert_eq!(model.list.iter().count(), HOSTS.len(), "{}", model.list);
    }
}
