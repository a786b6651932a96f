use super::*;

fn check(command: &str, expected: Result<(Service, &str), bool>) {
    let parsed = parse(command.as_bytes());
    let parsed = match &parsed {
        Ok((service, environment)) => Ok((*service, environment.to_string())),
        Err(Refusal::NotGit) => Err(false),
        Err(Refusal::BadPath(_)) => Err(true),
    };
    assert_eq!(parsed, expected.map(|(service, path)| (service, path.to_owned())), "{command:?}");
}

const NOT_GIT: Result<(Service, &str), bool> = Err(false);
const BAD_PATH: Result<(Service, &str), bool> = Err(true);

#[test]
fn gits_own_commands_are_understood() {
    check("git-receive-pack '/acme/shop/dev.git'", Ok((Service::ReceivePack, "acme/shop/dev")));
    check("git-upload-pack '/acme/shop/dev.git'", Ok((Service::UploadPack, "acme/shop/dev")));
    check("git receive-pack 'acme/shop/dev.git'", Ok((Service::ReceivePack, "acme/shop/dev")));
    check("git upload-pack '/acme/shop/dev'", Ok((Service::UploadPack, "acme/shop/dev")));
}

#[test]
fn everything_else_is_refused() {
    for command in [
        "",
        " ",
        "sh",
        "bash -c id",
        "git",
        "git-",
        "git-shell",
        "git-upload-archive '/acme/shop/dev.git'",
        "GIT-RECEIVE-PACK '/acme/shop/dev.git'",
        "git-receive-pack\t'/acme/shop/dev.git'",
        " git-receive-pack '/acme/shop/dev.git'",
        "git-receive-pack",
        "git--receive-pack '/acme/shop/dev.git'",
        "git-receive-pack;id '/acme/shop/dev.git'",
        "git-receive-pack\n'/acme/shop/dev.git'",
        "git -c core.sshCommand=id receive-pack '/acme/shop/dev.git'",
        "scp -t /",
        "/usr/lib/sftp-server",
    ] {
        check(command, NOT_GIT);
    }
    for command in [
        "git-receive-pack /acme/shop/dev.git",
        "git-receive-pack \"/acme/shop/dev.git\"",
        "git-receive-pack '/acme/shop/dev.git' ",
        "git-receive-pack '/acme/shop/dev.git'; id",
        "git-receive-pack '/acme/shop/dev.git' '/acme/shop/prod.git'",
        "git-receive-pack  '/acme/shop/dev.git'",
        "git-upload-pack --upload-pack=id '/acme/shop/dev.git'",
        "git-upload-pack '--strict'",
        "git-upload-pack '-oProxyCommand=id'",
        "git-receive-pack '/acme/shop/../dev.git'",
        "git-receive-pack '/etc/passwd'",
        "git-receive-pack '~root/x/y'",
        "git-receive-pack '/acme/shop/d\0v.git'",
        "git-receive-pack '/acme/shop/dev.git\n'",
        "git-receive-pack '/acme/shop/d'\\''ev.git'",
        "git-receive-pack '/acme//dev.git'",
        "git-receive-pack '//acme/shop/dev.git'",
        "git-receive-pack '$(id)'",
        "git-receive-pack '/acme/shop/dеv.git'",
        "git-receive-pack '/ACME/shop/dev.git'",
        "git-receive-pack '",
        "git-receive-pack ''",
        "git-receive-pack '/acme/shop/dev.git.git'",
        "git-receive-pack '/acme/shop/dev/web'",
    ] {
        check(command, BAD_PATH);
    }
    check(&format!("git-receive-pack '/{}/shop/dev.git'", "a".repeat(4096)), NOT_GIT);
    assert_eq!(parse(b"git-receive-pack '/acme/\xff/dev.git'"), Err(Refusal::NotGit));
}
