use super::*;

fn check(text: &str, expected: &str) {
    let said = match parse(text.as_bytes()) {
        Ok(Procfile { services, release }) => {
            let mut all: Vec<_> =
                services.iter().map(|(name, command)| format!("{name}={command}")).collect();
            all.extend(release.map(|command| format!("release={command}")));
            all.join(" | ")
        }
        Err(e) => e.to_string(),
    };
    assert_eq!(said, expected, "{text:?}");
}

#[test]
fn process_types_are_read_as_heroku_reads_them() {
    check(
        "web: gunicorn app:app\n# a comment\n\nworker : python w.py # kept\r\n",
        "web=gunicorn app:app | worker=python w.py # kept",
    );
    check("release: ./migrate\nweb: a: b", "web=a: b | release=./migrate");
    check("", "");
    check("web gunicorn", "Procfile:1: a line must read `type: command`");
    check("\nweb:", "Procfile:2: web has no command");
    check("web: a\nweb: b", "Procfile:2: web is given twice");
    check(
        "Web_1: a",
        "Procfile:1: service name \"Web_1\" is not valid: it must start with a lower-case letter",
    );
}
