use super::*;

fn parse(json: &str) -> Result<Settings, String> {
    let settings: Settings = serde_json::from_str(json).map_err(|error| error.to_string())?;
    settings.check().map_err(|error| error.to_string())?;
    Ok(settings)
}

#[test]
fn ex_04_settings_have_exhibitors_names_and_defaults() {
    let settings = parse("{}").unwrap();
    assert_eq!(settings, Settings::default());
    let json = serde_json::to_value(&settings).unwrap();
    let table = [
        ("clientPort", 2181),
        ("connectPort", 2888),
        ("electionPort", 3888),
        ("checkMs", 30_000),
        ("cleanupPeriodMs", 43_200_000),
        ("cleanupMaxFiles", 3),
        ("backupPeriodMs", 60_000),
        ("backupMaxStoreMs", 86_400_000),
        ("autoManageInstances", 0),
        ("autoManageInstancesSettlingPeriodMs", 180_000),
        ("autoManageInstancesFixedEnsembleSize", 0),
        ("autoManageInstancesApplyAllAtOnce", 1),
        ("observerThreshold", 999),
    ];
    for (name, value) in table {
        assert_eq!(json[name], value, "{name}");
    }
    for name in ["zookeeperInstallDirectory", "log4jProperties", "javaEnvironment", "serversSpec"] {
        assert_eq!(json[name], "", "{name}");
    }
    assert_eq!(serde_json::from_value::<Settings>(json).unwrap(), settings);
    // Exhibitor's pages send text, and fields that we do not have.
    assert_eq!(parse(r#"{"clientPort":"2182","newThing":1}"#).unwrap().client_port, 2182);
}

#[test]
fn ex_04_bad_settings_are_refused_with_the_reason() {
    let table = [
        (r#"{"clientPort":70000}"#, "too large"),
        (r#"{"clientPort":"x"}"#, "invalid digit"),
        (r#"{"clientPort":0}"#, "three different ports"),
        (r#"{"clientPort":3888}"#, "three different ports"),
        (r#"{"serversSpec":"O:1:a,O:2:b"}"#, "must have a server that votes"),
        (r#"{"checkMs":1}"#, "checkMs must be"),
        (r#"{"zookeeperDataDirectory":"data"}"#, "absolute path"),
        (r#"{"zookeeperDataDirectory":"/a\nserver.9=x"}"#, "absolute path"),
        (r#"{"javaEnvironment":"-XX:OnError=reboot"}"#, "not an option that tunes"),
        (r#"{"javaEnvironment":"-javaagent:/tmp/x.jar"}"#, "not an option that tunes"),
        (r#"{"javaEnvironment":"@/tmp/options"}"#, "not an option that tunes"),
        (r#"{"javaEnvironment":"-Xlog:gc:file=/etc/cron.d/x"}"#, "not an option that tunes"),
        (r#"{"javaEnvironment":"-XX:SharedArchiveFile=/mnt/x.jsa"}"#, "not an option that tunes"),
        (r#"{"javaEnvironment":"-XX:+UnlockDiagnosticVMOptions"}"#, "not an option that tunes"),
        (r#"{"javaEnvironment":"-XX:Flags=1"}"#, "not an option that tunes"),
        (r#"{"javaEnvironment":"-XX:VMOptionsFile=1"}"#, "not an option that tunes"),
        (r#"{"javaEnvironment":"-XX:ErrorFile=1"}"#, "not an option that tunes"),
        (r#"{"zooCfgExtra":{"metricsProvider.className":"x"}}"#, "is not for this place"),
        (r#"{"zooCfgExtra":{"audit.impl.class":"x"}}"#, "is not for this place"),
        (r#"{"zooCfgExtra":{"quorumListenOnAllIPs":"true"}}"#, "is not for this place"),
        (r#"{"javaEnvironment":"-Dzookeeper.skipACL=yes"}"#, "not an option that tunes"),
        (r#"{"javaEnvironment":"-Dlog4j.configuration=http://x/"}"#, "not an option that tunes"),
        (r#"{"javaEnvironment":"-Dcom.sun.management.jmxremote.port=9999"}"#, "not an option that tunes"),
        (r#"{"javaEnvironment":"-Xmx1g/../x"}"#, "not an option that tunes"),
        (r#"{"zookeeperInstallDirectory":"/mnt/shared/zookeeper"}"#, "must stay empty"),
        (r#"{"zooCfgExtra":{"a":"1\nserver.9=evil:1:2"}}"#, "not one short line"),
        (r#"{"zooCfgExtra":{"a":"1\\"}}"#, "not one short line"),
        (r#"{"zooCfgExtra":{"a\nb":"1"}}"#, "not a key"),
        (r#"{"zooCfgExtra":{"a=b":"1"}}"#, "not a key"),
        (r#"{"zooCfgExtra":{"server.9":"evil:1:2"}}"#, "other settings decide it"),
        (r#"{"zooCfgExtra":{"DataDir":"/"}}"#, "other settings decide it"),
        (r#"{"zooCfgExtra":{"skipACL":"yes"}}"#, "other settings decide it"),
        (
            r#"{"zooCfgExtra":{"DigestAuthenticationProvider.superDigest":"super:x"}}"#,
            "other settings decide it",
        ),
        (r#"{"zooCfgExtra":{"X509AuthenticationProvider.superUser":"CN=x"}}"#, "other settings decide it"),
        (r#"{"zooCfgExtra":{"admin.enableServer":"true"}}"#, "other settings decide it"),
        (r#"{"zooCfgExtra":{"sslQuorum":"false"}}"#, "other settings decide it"),
        (r#"{"zooCfgExtra":{"tickTime":"-5"}}"#, "whole number"),
    ];
    for (json, reason) in table {
        let error = parse(json).unwrap_err();
        assert!(error.contains(reason), "{json}: {error}");
    }
}

#[test]
fn ex_04_options_that_tune_java_are_taken() {
    let options = "-Xmx512m -Xms1G -Xss512k -XX:+UseSerialGC -XX:-UsePerfData -XX:TieredStopAtLevel=1 \
                   -XX:MaxRAMPercentage=75.0 -Djute.maxbuffer=2097152 -Djava.net.preferIPv4Stack=true";
    let settings = parse(&serde_json::json!({ "javaEnvironment": options }).to_string()).unwrap();
    assert_eq!(settings.java_environment.iter().count(), 9);
}

#[test]
fn ex_10_only_some_changes_need_a_restart() {
    let old = parse(r#"{"serversSpec":"S:1:a"}"#).unwrap();
    let table = [
        (r#"{"serversSpec":"S:1:a","checkMs":1000}"#, false),
        (r#"{"serversSpec":"S:1:a","backupPeriodMs":0}"#, false),
        (r#"{"serversSpec":"S:1:a,S:2:b"}"#, false),
        (r#"{"serversSpec":""}"#, true),
        (r#"{"serversSpec":"S:1:a","clientPort":2182}"#, true),
        (r#"{"serversSpec":"S:1:a","javaEnvironment":"-Xmx96m"}"#, true),
        (r#"{"serversSpec":"S:1:a","zooCfgExtra":{"tickTime":"1000"}}"#, true),
    ];
    for (json, restart) in table {
        assert_eq!(old.needs_restart_for(&parse(json).unwrap()), restart, "{json}");
    }
}

#[test]
fn ex_09_patience_follows_the_configuration() {
    let settings = Settings {
        zoo_cfg_extra: "syncLimit=5&tickTime=1000&initLimit=20".parse().unwrap(),
        ..Settings::default()
    };
    assert_eq!(settings.ticks().patience(), std::time::Duration::from_secs(40));
}
