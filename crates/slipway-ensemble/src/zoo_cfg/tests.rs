use super::*;

fn options(tls: Option<Tls>) -> Options {
    Options {
        hostname: "10.0.0.1".to_owned(),
        dir: "/z".into(),
        java: "/usr/bin/java".into(),
        class_path: crate::options::CLASS_PATH.to_owned(),
        oom_score_adj: 0,
        user: None,
        tls,
        super_password: Some("secret".to_owned()),
        http_port: 8181,
        heading: String::new(),
    }
}

fn settings() -> Settings {
    Settings {
        servers_spec: "S:1:10.0.0.1,S:2:b.example,O:3:c.example".parse().unwrap(),
        zoo_cfg_extra: "tickTime=1000&maxClientCnxns=0".parse().unwrap(),
        ..Settings::default()
    }
}

#[test]
fn ex_10_the_configuration_as_a_whole() {
    let text = file(&settings(), &options(None), Some(Path::new("/z/zoo.cfg.dynamic")));
    let hash = digest("super", "secret");
    let golden = format!(
        "tickTime=1000\ninitLimit=10\nsyncLimit=5\ndataDir=/z/data\ndataLogDir=/z/data\n\
        4lw.commands.whitelist=srvr,ruok,mntr,conf,stat,isro,wchs,dirs,envi\nadmin.enableServer=false\n\
        autopurge.purgeInterval=0\nreconfigEnabled=true\nstandaloneEnabled=false\n\
        dynamicConfigFile=/z/zoo.cfg.dynamic\n\
        DigestAuthenticationProvider.superDigest={hash}\n\
        maxClientCnxns=0\n"
    );
    assert_eq!(text, golden);
    let alone = file(&Settings::default(), &options(None), None);
    assert!(alone.contains("clientPort=2181\nclientPortAddress=10.0.0.1\n"), "{alone}");
    assert!(!alone.contains("dynamicConfigFile"), "{alone}");
}

#[test]
fn zk_07_a_password_is_hashed_as_zookeeper_does() {
    // The example of ZooKeeper's own documents.
    assert_eq!(digest("super", "test"), "super:D/InIHSb7yEEbrWz8b9l71RjZJU=");
}

#[test]
fn zk_08_with_certificates_every_port_speaks_tls() {
    let tls = Tls { key_store: "/tls/own.pem".into(), trust_store: "/tls/ca.pem".into() };
    let text = file(&settings(), &options(Some(tls)), Some(Path::new("/z/zoo.cfg.dynamic")));
    for line in [
        "secureClientPort=2181",
        "ssl.clientAuth=need",
        "sslQuorum=true",
        "ssl.keyStore.location=/tls/own.pem",
        "ssl.quorum.trustStore.location=/tls/ca.pem",
    ] {
        assert!(text.lines().any(|other| other == line), "{line} in {text}");
    }
    assert!(!text.contains("\nclientPort"), "{text}");
    assert!(!founding(&settings(), true).contains(';'));
}

#[test]
fn zk_09_an_ensemble_is_founded_with_the_list() {
    let golden = "server.1=10.0.0.1:2888:3888:participant;10.0.0.1:2181\n\
        server.2=b.example:2888:3888:participant;0.0.0.0:2181\n\
        server.3=c.example:2888:3888:observer;0.0.0.0:2181\n";
    assert_eq!(founding(&settings(), false), golden);
}

#[test]
fn zk_09_who_joins_takes_the_others_word_and_observes() {
    let conf = "clientPort=2181\nmembership: \nserver.1=10.0.0.1:2888:3888:participant;10.0.0.1:2181\n\
        server.4=10.0.0.4:2888:3888:participant;10.0.0.4:2181\nversion=100000000";
    let settings = settings();
    let own = settings.server("b.example").unwrap();
    let golden = "server.1=10.0.0.1:2888:3888:participant;10.0.0.1:2181\n\
        server.4=10.0.0.4:2888:3888:participant;10.0.0.4:2181\n\
        server.2=b.example:2888:3888:observer;0.0.0.0:2181\n";
    assert_eq!(joining(conf, &settings, own, false), golden);
    // Once it is a member, its line stays as it is.
    assert_eq!(joining(golden, &settings, own, false), golden);
    // Beside one that votes alone it votes: an observer could not become the second.
    let alone = "server.1=10.0.0.1:2888:3888:participant;10.0.0.1:2181";
    assert!(joining(alone, &settings, own, false).contains("server.2=b.example:2888:3888:participant"));
    assert!(lists(golden, 2) && !lists(golden, 22) && !lists(golden, 3));
}

#[test]
fn zk_09_the_newest_file_of_zookeeper_counts() {
    let names = [
        "zoo.cfg.dynamic",
        "zoo.cfg.dynamic.100000000",
        "zoo.cfg.dynamic.f0000000a",
        "zoo.cfg.dynamic.next",
        "myid",
    ];
    let newest = newest_dynamic(names.map(PathBuf::from));
    assert_eq!(newest, Some(PathBuf::from("zoo.cfg.dynamic.f0000000a")));
}
