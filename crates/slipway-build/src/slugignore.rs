//! `.slugignore`: files of the repository that do not belong into the image. One pattern a line, as
//! in a `.gitignore` without negation: `*` and `?` stop at `/`, `**` does not, a `/` in front or in
//! the middle ties a pattern to the root, a `/` at the end means directories. A directory that
//! matches takes everything below it along.

/// Lines that are read; more is a mistake.
const PATTERNS_MAX: usize = 1000;

/// The patterns of one file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SlugIgnore {
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    glob: Vec<u8>,
    anchored: bool,
    directories_only: bool,
}

impl SlugIgnore {
    /// Reads the patterns. `!` and what is beyond the bound are passed over, as Heroku does.
    pub fn parse(text: &[u8]) -> Self {
        let lines = text.split(|b| *b == b'\n').map(|line| line.trim_ascii());
        let patterns = lines
            .filter(|line| !line.is_empty() && !line.starts_with(b"#") && !line.starts_with(b"!"))
            .take(PATTERNS_MAX)
            .map(|line| {
                let directories_only = line.ends_with(b"/");
                let line = line.strip_suffix(b"/").unwrap_or(line);
                let anchored = line.contains(&b'/');
                Pattern { glob: line.strip_prefix(b"/").unwrap_or(line).to_vec(), anchored, directories_only }
            })
            .filter(|pattern| !pattern.glob.is_empty())
            .collect();
        Self { patterns }
    }

    /// True when the file with that path (relative, not a directory) stays out.
    pub fn excludes(&self, path: &[u8]) -> bool {
        let ends = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at).chain([path.len()]);
        // Each directory above the file, then the file itself.
        ends.into_iter().any(|end| self.matches(&path[..end], end < path.len()))
    }

    fn matches(&self, path: &[u8], is_directory: bool) -> bool {
        let name = path.rsplit(|b| *b == b'/').next().unwrap_or(path);
        self.patterns.iter().any(|pattern| {
            (is_directory || !pattern.directories_only)
                && glob(&pattern.glob, if pattern.anchored { path } else { name })
        })
    }
}

/// Matches without recursion on a choice made twice: a star remembers only the latest place to go
/// back to, a double star one more, so that no pattern takes longer than the product of the lengths.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let (mut star, mut globstar) = (None, None);
    loop {
        if t < text.len() {
            match pattern.get(p..).unwrap_or_default() {
                [b'*', b'*', rest @ ..] => {
                    // `**/` may also stand for nothing at all.
                    let after = rest.strip_prefix(b"/");
                    p = pattern.len() - after.unwrap_or(rest).len();
                    globstar = Some((p, t, after.is_some()));
                    star = None;
                    continue;
                }
                [b'*', ..] => {
                    p += 1;
                    star = Some((p, t));
                    continue;
                }
                [b'?', ..] if text[t] != b'/' => {
                    (p, t) = (p + 1, t + 1);
                    continue;
                }
                [c, ..] if *c == text[t] && *c != b'?' => {
                    (p, t) = (p + 1, t + 1);
                    continue;
                }
                _ => {}
            }
        } else if pattern[p..].iter().all(|b| *b == b'*') {
            return true;
        }
        match (star, globstar) {
            (Some((after, at)), _) if at < text.len() && text[at] != b'/' => {
                star = Some((after, at + 1));
                (p, t) = (after, at + 1);
            }
            (_, Some((after, at, whole_parts))) if at < text.len() => {
                // `**/z` may begin anew behind a `/` only, `**` anywhere.
                let step = text[at..].iter().position(|b| *b == b'/' || !whole_parts);
                let Some(step) = step else { return false };
                star = None;
                globstar = Some((after, at + step + 1, whole_parts));
                (p, t) = (after, at + step + 1);
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests;
