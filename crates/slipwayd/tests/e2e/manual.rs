//! The manual's examples are run as they stand.
//!
//! In the fenced blocks marked `console` of the pages that `docs/README.md` lists, a line that
//! begins with `$ ` is typed by somebody in the directory of the shop; what follows is what must be
//! printed, where `…` stands for anything in a line and a line `...` for any lines. `<instance>` in the output
//! stands for a word, and in the commands that follow for the same word. A block marked
//! `yaml slipway.yaml` takes the place of the services in that file. No shell is involved: words are split
//! at spaces, double quotes keep them together, `<` names the input. What a command says on its two outputs
//! goes into one pipe, so that the order is what a terminal shows.

use std::io::Read;
use std::path::Path;
use std::process::Stdio;

use crate::person::Person;
use crate::server::{Server, built};
use crate::{Case, cases};

pub fn cases() -> Vec<Case> {
    cases![the_manual_is_true]
}

/// Stands in a page for the instance that is printed there.
const INSTANCE: &str = "<instance>";

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
    let contents = std::fs::read_to_string(docs().join("README.md")).unwrap();
    let mut commands = 0;
    for page in contents.lines().filter_map(|line| line.split_once("](")?.1.split_once(".md)")) {
        commands += type_page(&ada, &place, page.0);
    }
    assert!(commands > 45, "only {commands} commands found");
}

fn docs() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs"))
}

/// Types a page, and says how many commands it had.
pub fn type_page(person: &Person, place: &Path, page: &str) -> usize {
    let text = std::fs::read_to_string(docs().join(format!("{page}.md"))).unwrap();
    let (mut commands, mut instance) = (0, String::new());
    for step in steps(&text) {
        match step {
            Step::Services(services) => write_services(place, &services),
            Step::Command(example) => {
                let example = Example { command: example.command.replace(INSTANCE, &instance), ..example };
                let said = type_command(person, place, page, &example);
                instance = instance_in(&example.output, &said).unwrap_or(instance);
                commands += 1;
            }
        }
    }
    commands
}

fn type_command(person: &Person, place: &Path, page: &str, example: &Example) -> String {
    if example.command.contains("key.txt") {
        std::fs::write(place.join("key.txt"), "hush\n").unwrap();
    }
    let (words, input) = words(&example.command);
    let program = if words[0] == "slipway" {
        built("slipway").to_string_lossy().into_owned()
    } else {
        words[0].clone()
    };
    let arguments: Vec<&str> = words[1..].iter().map(String::as_str).collect();
    let (mut both, writer) = std::io::pipe().unwrap();
    let mut command = person.command(place, &program, &arguments);
    command.stdin(match input {
        Some(name) => Stdio::from(std::fs::File::open(place.join(name)).unwrap()),
        None => Stdio::null(),
    });
    command.stdout(writer.try_clone().unwrap()).stderr(writer);
    let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot run {program}: {error}"));
    // It holds the ends that are written to.
    drop(command);
    let mut said = String::new();
    both.read_to_string(&mut said).unwrap();
    let status = child.wait().unwrap();
    let what = &example.command;
    assert!(status.success(), "docs/{page}.md: {what} ended with {status}:\n{said}");
    let promised: Vec<String> = example.output.iter().map(|line| line.replace(INSTANCE, "…")).collect();
    let mismatch = compare(&promised, &said);
    assert!(
        mismatch.is_none(),
        "docs/{page}.md: {what}\n{}\n--- printed:\n{said}",
        mismatch.unwrap_or_default()
    );
    said
}

/// The word that was printed where the page has [`INSTANCE`].
fn instance_in(promised: &[String], printed: &str) -> Option<String> {
    let before = promised.iter().find_map(|line| line.split_once(INSTANCE).map(|(before, _)| before))?;
    let rest = printed.lines().find_map(|line| line.strip_prefix(before))?;
    rest.split_whitespace().next().map(str::to_owned)
}

/// The file's services are those of the page from now on.
fn write_services(place: &Path, services: &str) {
    let file = place.join("slipway.yaml");
    let before = std::fs::read_to_string(&file).unwrap();
    let kept: Vec<&str> = before.lines().take_while(|line| *line != "services:").collect();
    std::fs::write(file, format!("{}\n{services}", kept.join("\n"))).unwrap();
}

enum Step {
    Command(Example),
    Services(String),
}

struct Example {
    command: String,
    output: Vec<String>,
}

fn steps(text: &str) -> Vec<Step> {
    let mut all: Vec<Step> = Vec::new();
    let mut block = None;
    for line in text.lines() {
        match (block, line) {
            (None, "```console") => block = Some("console"),
            (None, "```yaml slipway.yaml") => {
                block = Some("yaml");
                all.push(Step::Services(String::new()));
            }
            (_, "```") => block = None,
            (Some("yaml"), line) => {
                let Some(Step::Services(text)) = all.last_mut() else { unreachable!("it was just begun") };
                *text += &format!("{line}\n");
            }
            (Some(_), line) => match (line.strip_prefix("$ "), all.last_mut()) {
                (Some(command), _) => {
                    let command = command.to_owned();
                    all.push(Step::Command(Example { command, output: Vec::new() }));
                }
                (None, Some(Step::Command(example))) => example.output.push(line.to_owned()),
                (None, _) => panic!("output before a command: {line}"),
            },
            (None, _) => {}
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
