//! What is wrong with the configuration, in sentences that name the key, where it stands, the value, what is allowed.
//!
//! A value never shows a password, and one that may be a secret is never shown.

use std::fmt;
use std::path::Path;

use super::table::{PREFIX, SETTINGS, Setting};

/// Everything that is wrong with the configuration; never empty.
#[derive(Debug)]
pub(crate) struct ConfigError(pub(super) Vec<Problem>);

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{}", problem.0)?;
        }
        Ok(())
    }
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Problem(String);

/// Where a value stands.
#[derive(Debug)]
pub(super) enum Origin<'a> {
    Default,
    File { path: &'a Path, line: usize },
    DotEnv,
    Environment,
    Flag(&'static str),
}

impl Problem {
    pub(super) fn bad_value(setting: &Setting, value: &str, origin: &Origin<'_>) -> Self {
        let value = if setting.secret { "[redacted]".to_owned() } else { shown(value) };
        let key = origin.names(setting);
        Self(format!("{key}: `{value}` is not allowed; allowed is {}", setting.allowed))
    }

    pub(super) fn secret_in_file(setting: &Setting, origin: &Origin<'_>) -> Self {
        let (key, variable) = (origin.names(setting), setting.variable());
        Self(format!(
            "{key}: a secret does not belong in a file that is copied and committed; allowed is the environment \
             variable {variable}, or key_file = \"PATH\" with the key in that file"
        ))
    }

    pub(super) fn unknown_key(key: &str, value: Option<&str>, origin: &Origin<'_>) -> Self {
        let Origin::File { path, line } = origin else { return Self(key.to_owned()) };
        let value = value.map(|it| format!(" (value `{}`)", guarded(key, it))).unwrap_or_default();
        let known: Vec<&str> = SETTINGS.iter().filter(|it| !it.secret).map(|it| it.key).collect();
        let hint = nearest(key, known.iter().copied())
            .map(|it| format!(" did you mean `{it}`?"))
            .unwrap_or_default();
        Self(format!(
            "{}, line {line}: unknown key `{key}`{value};{hint} allowed are {}",
            path.display(),
            known.join(", ")
        ))
    }

    pub(super) fn dotenv(why: &str) -> Self {
        Self(format!(".env: {why}; write lines like SYNC_INTERVAL_COMMITS=15m, or remove it"))
    }

    pub(super) fn unknown_variable(name: &str, value: &str, origin: &Origin<'_>) -> Self {
        let place = if matches!(origin, Origin::DotEnv) { ".env" } else { "environment" };
        let known: Vec<String> = SETTINGS.iter().map(Setting::variable).collect();
        let nearest = nearest(name, known.iter().map(String::as_str));
        let hint = nearest.map(|it| format!(" did you mean {it}?")).unwrap_or_default();
        Self(format!(
            "{place}: unknown variable {name} (value `{}`);{hint} allowed are {}, and names that do not begin \
             with {PREFIX}",
            guarded(name, value),
            known.join(", ")
        ))
    }

    pub(super) fn unreadable(path: &Path, why: &str) -> Self {
        Self(format!("{}: cannot be read ({why}); name a file that is there with --config", path.display()))
    }

    pub(super) fn syntax(path: &Path, line: usize, why: &str) -> Self {
        Self(format!("{}, line {line}: not TOML ({why}); write lines like workers = 10", path.display()))
    }
}

impl Origin<'_> {
    fn names(&self, setting: &Setting) -> String {
        match self {
            Self::Default => setting.key.to_owned(),
            Self::File { path, line } => format!("{}, line {line}: {}", path.display(), setting.key),
            Self::DotEnv => format!(".env: {}", setting.variable()),
            Self::Environment => format!("environment: {}", setting.variable()),
            Self::Flag(flag) => (*flag).to_owned(),
        }
    }
}

/// Makes a value fit to be shown: without the password of an address, and not longer than a line.
pub(crate) fn shown(value: &str) -> String {
    let mut text: String = value.chars().take(VALUE_CHARS_MAX).collect();
    if text.len() < value.len() {
        text.push('…');
    }
    let Some((scheme, rest)) = text.split_once("://") else { return text };
    // The last @ before the path: a password may hold one.
    let end = rest.find('/').unwrap_or(rest.len());
    match rest.split_at(end).0.rsplit_once('@').or_else(|| rest.rsplit_once('@')) {
        Some((user, _)) => {
            let after = rest.get(user.len() + 1..).unwrap_or_default();
            let name = user.split_once(':').map_or(user, |(name, _)| name);
            let password = if user.contains(':') { ":[redacted]" } else { "" };
            format!("{scheme}://{name}{password}@{after}")
        }
        None if value.len() > text.len() && rest.contains(':') => format!("{scheme}://…"),
        None => text,
    }
}

/// Two lines of a terminal: a value is shown to be found, not to be read.
const VALUE_CHARS_MAX: usize = 160;

/// Hides the value of what is named like a secret: somebody may have misspelt `SYNCLINE_KEY`.
fn guarded(name: &str, value: &str) -> String {
    let name = name.to_ascii_lowercase();
    let secret = ["key", "token", "secret", "password"].iter().any(|it| name.contains(it));
    if secret { "[redacted]".to_owned() } else { shown(value) }
}

/// Finds the name that was probably meant: no more than a third of its letters differ.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let best = known.map(|it| (distance(name, it), it)).min()?;
    (best.0 * 3 <= best.1.len()).then_some(best.1)
}

/// Counts the letters that have to be added, dropped or changed to turn one word into the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(&b) {
            let above = *cell;
            let changed = diagonal + usize::from(from != *to);
            *cell = changed.min(above + 1).min(left + 1);
            diagonal = above;
            left = *cell;
        }
        row[0] = i + 1;
    }
    row[b.len()]
}
