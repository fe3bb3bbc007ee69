//! The configuration, and the one home of the environment: defaults, then the file, then `.env`, then the environment, then
//! flags.
//!
//! It never prints a key, a credential or the password in a database's address. Begin with `table`, which is all
//! there is to set.

mod field;
mod file;
mod problem;
mod quantity;
mod table;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::policy::Thresholds;
use engine::{Maintenance, Schedule, Secret};
use jiff::SignedDuration;
use url::Url;

pub(crate) use problem::{ConfigError, shown};
pub(crate) use quantity::parse_go_duration;
pub(crate) use table::{EVERY, help, parse_every};

use file::read_file;
use problem::{Origin, Problem};
use table::{SETTINGS, Setting};

/// The file that is read when no other is named.
pub(crate) const DEFAULT_FILE: &str = "syncline.toml";

/// What every setting came to.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) database_url: String,
    pub(crate) database_max_pages: Option<u32>,
    pub(crate) key: Option<Secret>,
    pub(crate) key_file: Option<PathBuf>,
    pub(crate) workers: usize,
    pub(crate) requests_in_flight: usize,
    pub(crate) lease: Duration,
    pub(crate) thresholds: Thresholds,
    pub(crate) schedule: Schedule,
    pub(crate) maintenance: Maintenance,
    pub(crate) manual_cooldowns: BTreeMap<String, SignedDuration>,
    pub(crate) http_connect_timeout: Duration,
    pub(crate) http_read_timeout: Duration,
    pub(crate) http_timeout: Duration,
    pub(crate) http_body_bytes_max: usize,
    pub(crate) listen: SocketAddr,
    pub(crate) behind_tls_proxy: bool,
    pub(crate) metrics_listen: Option<SocketAddr>,
    pub(crate) api_requests_per_minute: NonZeroU32,
    pub(crate) otlp_endpoint: Option<Url>,
    pub(crate) log: String,
    pub(crate) log_format: LogFormat,
    /// The write transaction at which this process kills itself; only crash tests set it.
    #[cfg(debug_assertions)]
    pub(crate) kill_at: Option<(u64, bool)>,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What the configuration is made from.
#[derive(Debug)]
pub(crate) struct Layers<'a> {
    /// The file that was named; when none was, the default one is read if it is there.
    pub(crate) file: Option<&'a Path>,
    /// The environment.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// Settings that a flag gave: the setting's key and the value as typed.
    pub(crate) flags: Vec<(&'static str, String)>,
}

/// Returns the environment of this process.
pub(crate) fn environment() -> Vec<(OsString, OsString)> {
    std::env::vars_os().collect()
}

/// The file in the working folder whose lines stand for variables that the environment does not set.
const DOTENV_FILE: &str = ".env";

/// Reads one variable of the environment or of `.env`; `None` when it is unset, empty, or not text.
pub(crate) fn variable(name: &str) -> Option<String> {
    let set = std::env::var_os(name).and_then(|it| it.into_string().ok());
    let written = || read_dotenv(&mut Vec::new()).into_iter().find(|it| it.0 == name).map(|it| it.1);
    set.or_else(written).filter(|it| !it.is_empty())
}

/// Reads `.env`; one that is not there is empty. A line that is none is told without what it says.
fn read_dotenv(problems: &mut Vec<Problem>) -> Vec<(String, String)> {
    let lines = match dotenvy::from_path_iter(DOTENV_FILE) {
        Ok(lines) => lines,
        Err(dotenvy::Error::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(_) => {
            problems.push(Problem::dotenv("the file cannot be read"));
            return Vec::new();
        }
    };
    let mut variables = Vec::new();
    for line in lines {
        match line {
            Ok(variable) => variables.push(variable),
            Err(_) => problems.push(Problem::dotenv("a line is not NAME=VALUE")),
        }
    }
    variables
}

/// Says whether people want no colours, whatever the terminal can show (<https://no-color.org>).
pub(crate) fn no_color() -> bool {
    variable("NO_COLOR").is_some()
}

impl Config {
    /// Puts the layers on one another, or says everything that is wrong with them.
    pub(crate) fn load(layers: &Layers<'_>) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let mut config = Self::bare();
        for setting in SETTINGS {
            if let Some(value) = setting.default {
                config.apply(setting, value, &Origin::Default, &mut problems);
            }
        }
        config.apply_file(layers.file, &mut problems);
        let written = read_dotenv(&mut problems);
        // What the environment sets, the file does not: also not wrongly.
        let written = written.into_iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let written: Vec<_> =
            written.filter(|(name, _)| layers.environment.iter().all(|set| set.0 != *name)).collect();
        config.apply_environment(&written, &Origin::DotEnv, &mut problems);
        config.apply_environment(&layers.environment, &Origin::Environment, &mut problems);
        for (key, value) in &layers.flags {
            if let Some(setting) = table::find(key) {
                config.apply(setting, value, &Origin::Flag(setting.flag.unwrap_or(key)), &mut problems);
            }
        }
        if problems.is_empty() { Ok(config) } else { Err(ConfigError(problems)) }
    }

    /// Returns where the key is read from, or made on first start, when it is not in the environment.
    pub(crate) fn key_file(&self) -> PathBuf {
        if let Some(path) = &self.key_file {
            return path.clone();
        }
        let folder = self.sqlite_file().and_then(|it| it.parent().map(Path::to_owned)).unwrap_or_default();
        folder.join("syncline.key")
    }

    /// Returns the database's file, where it is one.
    pub(crate) fn sqlite_file(&self) -> Option<PathBuf> {
        let rest = self.database_url.strip_prefix("sqlite:")?;
        let path = rest.strip_prefix("//").unwrap_or(rest);
        Some(PathBuf::from(path.split_once('?').map_or(path, |(path, _)| path)))
    }

    /// Every field's emptiest value; the table's defaults follow at once.
    fn bare() -> Self {
        Self {
            database_url: String::new(),
            database_max_pages: None,
            key: None,
            key_file: None,
            workers: 0,
            requests_in_flight: 0,
            lease: Duration::ZERO,
            thresholds: Thresholds::default(),
            schedule: Schedule::default(),
            maintenance: Maintenance::default(),
            manual_cooldowns: BTreeMap::new(),
            http_connect_timeout: Duration::ZERO,
            http_read_timeout: Duration::ZERO,
            http_timeout: Duration::ZERO,
            http_body_bytes_max: 0,
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            behind_tls_proxy: false,
            metrics_listen: None,
            api_requests_per_minute: NonZeroU32::MIN,
            otlp_endpoint: None,
            log: String::new(),
            log_format: LogFormat::Text,
            #[cfg(debug_assertions)]
            kill_at: None,
        }
    }

    fn apply(&mut self, setting: &Setting, value: &str, origin: &Origin<'_>, problems: &mut Vec<Problem>) {
        if !(setting.set)(self, value) {
            problems.push(Problem::bad_value(setting, value, origin));
        }
    }

    fn apply_file(&mut self, named: Option<&Path>, problems: &mut Vec<Problem>) {
        let path = named.unwrap_or(Path::new(DEFAULT_FILE));
        for entry in read_file(path, named.is_some(), problems) {
            let origin = Origin::File { path, line: entry.line };
            match table::find(&entry.key) {
                Some(setting) if setting.secret => problems.push(Problem::secret_in_file(setting, &origin)),
                Some(setting) => match entry.value {
                    Some(value) => self.apply(setting, &value, &origin, problems),
                    None => problems.push(Problem::bad_value(setting, "a list or table", &origin)),
                },
                None => problems.push(Problem::unknown_key(&entry.key, entry.value.as_deref(), &origin)),
            }
        }
    }

    fn apply_environment(
        &mut self,
        environment: &[(OsString, OsString)],
        origin: &Origin<'_>,
        problems: &mut Vec<Problem>,
    ) {
        for (name, value) in environment {
            let name = name.to_string_lossy();
            let value = value.to_string_lossy();
            if !table::PREFIXES.iter().any(|it| name.starts_with(it)) {
                continue;
            }
            #[cfg(debug_assertions)]
            if name == "SYNCLINE_KILL_AT" {
                self.kill_at = kill_at(&value);
                continue;
            }
            match SETTINGS.iter().find(|it| it.variable() == name) {
                Some(setting) => self.apply(setting, &value, origin, problems),
                None => problems.push(Problem::unknown_variable(&name, &value, origin)),
            }
        }
    }
}

/// Reads `n` or `n:before`.
#[cfg(debug_assertions)]
fn kill_at(text: &str) -> Option<(u64, bool)> {
    let (nth, before) = text.strip_suffix(":before").map_or((text, false), |nth| (nth, true));
    nth.parse().ok().map(|nth| (nth, before))
}

#[cfg(test)]
mod tests;
