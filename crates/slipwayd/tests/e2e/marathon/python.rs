//! A client that nobody changes any more: marathon-python, as it is on PyPI.

use std::process::{Command, Stdio};

use super::client::Marathon;
use crate::server::Server;
use crate::{Case, cases};

pub fn cases() -> Vec<Case> {
    cases![ma_66_marathon_python_works_unchanged]
}

/// What a user of the library would write.
const PROGRAM: &str = include_str!("python.py");

fn ma_66_marathon_python_works_unchanged(server: &Server) {
    let marathon = Marathon::of_tenant(server, "mlt-python");
    let place = server.folder.join("python");
    let run = |program: &str, words: &[&str]| {
        let output = Command::new(program).args(words).stdin(Stdio::null()).output();
        output.map_err(|error| error.to_string()).and_then(|output| match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        })
    };
    let pip = place.join("bin/pip").display().to_string();
    let made = run("python3", &["-m", "venv", &place.display().to_string()])
        .and_then(|_| run(&pip, &["install", "--quiet", "marathon", "sseclient"]));
    if let Err(why) = made {
        // A machine without the library's registry has nothing to try it with.
        eprintln!("marathon-python is not tried, for it cannot be installed: {why}");
        return;
    }
    let address = format!("http://127.0.0.1:{}", server.ports.api);
    let python = place.join("bin/python").display().to_string();
    let said = run(&python, &["-c", PROGRAM, &address, "mlt-python", &marathon.token]);
    assert_eq!(said.as_deref().map(str::trim), Ok("done"));
}
