use super::*;

const THREE: &str = "server.1=127.0.0.1:2888:3888:participant;127.0.0.1:2181\n\
    server.3=zoo-3.example:2890:3890:observer;0.0.0.0:2183\nserver.2=[::1]:2889:3889:participant;2182\n\
    version=10000000a";

#[test]
fn zk_09_a_configuration_is_read_and_its_members_written_as_zookeeper_writes_them() {
    let read: Configuration = THREE.parse().unwrap();
    assert_eq!(read.version, 0x1_0000_000a);
    assert_eq!(read.members.iter().map(|member| member.id).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(read.voters().count(), 2);
    assert_eq!(read.member(2).unwrap().host, "::1");
    for member in &read.members {
        assert!(THREE.contains(&member.to_string()), "{member}");
    }
}

#[test]
fn zk_09_a_configuration_whose_majorities_we_would_miscount_is_refused() {
    for (line, error) in [
        ("weight.1=2", Error::Line("weight.1=2".to_owned())),
        ("group.1=1:2", Error::Line("group.1=1:2".to_owned())),
        ("server.4=a:1:2|b:3:4:participant", Error::Line("server.4=a:1:2|b:3:4:participant".to_owned())),
        ("server.4=a:1:2:leader", Error::Line("server.4=a:1:2:leader".to_owned())),
        ("server.0=a:1:2", Error::Line("server.0=a:1:2".to_owned())),
        ("server.1=a:1:2", Error::Members),
    ] {
        assert_eq!(format!("{THREE}\n{line}").parse::<Configuration>(), Err(error), "{line}");
    }
    assert_eq!("server.1=a:1:2".parse::<Configuration>(), Err(Error::NoVersion));
}
