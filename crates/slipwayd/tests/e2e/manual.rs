//! The manual's examples are run as they stand.
//!
//! In the fenced blocks marked `console` of the pages that `docs/README.md` lists, a line that
//! begins with `$ ` is typed by somebody in the directory of the shop; what follows is what must be
//! printed, where `…` stands for anything in a line and a line `...` for any lines. No shell is
//! involved: words are split at spaces, double quotes keep them together, `<` names the input.

use std::path::Path;

use crate::person::Person;
use crate::server::{Server, built};
use crate::{Case, cases};

pub fn cases() -> Vec<Case> {
    cases![the_manual_is_true]
}

const APP: &str = r#"import os
from flask import Flask

app = Flask(__name__)

@app.get("/")
def hello():
    return os.environ.get("GREETING", "Hello") + " from " + os.environ["SLIPWAY_ENVIRONMENT"] + "\n"
"#;

fn the_manual_is_true(server: &Server) {
    let ada = Person::user(server, "ada");
    // The page adds the key itself.
    let list: serde_json::Value =
        serde_json::from_str(&ada.slipway(&["keys", "list", "--json"]).ok().out).unwrap();
    ada.slipway(&["keys", "remove", list["items"][0]["fingerprint"].as_str().unwrap()]).ok();
    let place = ada.home.join("shop");
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join("app.py"), APP).unwrap();
    std::fs::write(place.join("requirements.txt"), "flask\ngunicorn\n").unwrap();
    std::fs::write(place.join("Procfile"), "web: gunicorn app:app\n").unwrap();
    let docs = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs"));
    let contents = std::fs::read_to_string(docs.join("README.md")).unwrap();
    let mut commands = 0;
    for page in contents.lines().filter_map(|line| line.split_once("](")?.1.strip_suffix(".md)")) {
        let text = std::fs::read_to_string(docs.join(format!("{page}.md"))).unwrap();
        for example in examples(&text) {
            if example.command.contains("key.txt") {
                std::fs::write(place.join("key.txt"), "hush\n").unwrap();
            }
            let (words, input) = words(&example.command);
            let input =
                input.map_or(String::new(), |name| std::fs::read_to_string(place.join(name)).unwrap());
            let program = if words[0] == "slipway" {
                built("slipway").to_string_lossy().into_owned()
            } else {
                words[0].clone()
            };
            let arguments: Vec<&str> = words[1..].iter().map(String::as_str).collect();
            let said = ada.run_in(&place, &program, &arguments, &input).ok();
            let mismatch = compare(&example.output, &said.text);
            assert!(
                mismatch.is_none(),
                "docs/{page}.md: {}\n{}\n--- printed:\n{}",
                example.command,
                mismatch.unwrap(),
                said.text
            );
            commands += 1;
        }
    }
    assert!(commands > 25, "only {commands} commands found");
}

struct Example {
    command: String,
    output: Vec<String>,
}

fn examples(text: &str) -> Vec<Example> {
    let mut all: Vec<Example> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        match line {
            "```console" => inside = true,
            "```" => inside = false,
            _ if !inside => {}
            _ => match line.strip_prefix("$ ") {
                Some(command) => all.push(Example { command: command.to_owned(), output: Vec::new() }),
                None => all.last_mut().expect("output before a command").output.push(line.to_owned()),
            },
        }
    }
    all
}

fn words(command: &str) -> (Vec<String>, Option<String>) {
    let (command, input) = match command.split_once(" < ") {
        Some((command, input)) => (command, Some(input.to_owned())),
        None => (command, None),
    };
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in command.chars() {
        match c {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    (words, input)
}

/// What the page promises and was not printed.
fn compare(wanted: &[String], printed: &str) -> Option<String> {
    let printed: Vec<&str> = printed.lines().map(str::trim_end).collect();
    fn matches(wanted: &[String], printed: &[&str]) -> bool {
        match wanted {
            [] => printed.iter().all(|line| line.is_empty()),
            [any, rest @ ..] if any == "..." => {
                (0..=printed.len()).any(|skip| matches(rest, &printed[skip..]))
            }
            [line, rest @ ..] => {
                printed.first().is_some_and(|first| fits(line.trim_end(), first))
                    && matches(rest, &printed[1..])
            }
        }
    }
    if wanted.is_empty() || matches(wanted, &printed) {
        return None;
    }
    Some(format!("--- promised:\n{}", wanted.join("\n")))
}

/// `…` stands for anything.
fn fits(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let mut last = first;
    let mut open = false;
    for part in parts {
        open = true;
        last = part;
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.is_empty() || (open && (last.is_empty() || line.ends_with(last)))
}
