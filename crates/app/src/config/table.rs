//! The table of settings: the file, the environment, the flags and the help text are all read from it.
//!
//! A setting never does anything but fill a field of [`Config`].

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use engine::Secret;
use tracing_subscriber::EnvFilter;

use super::quantity::{parse_bytes, parse_duration};
use super::{Config, LogFormat};

/// What our variables begin with.
pub(super) const PREFIX: &str = "SYNCLINE_";

/// One thing that can be set.
pub(super) struct Setting {
    /// Its name in the file; in capitals behind [`PREFIX`] its name in the environment.
    pub(super) key: &'static str,
    /// The flag that sets it too.
    pub(super) flag: Option<&'static str>,
    /// Its default, where that is a value.
    pub(super) default: Option<&'static str>,
    /// Its default in words, where that is no value.
    pub(super) default_words: &'static str,
    /// Which values are allowed.
    pub(super) allowed: &'static str,
    /// What it does.
    pub(super) help: &'static str,
    /// Whether its value is never shown and never read from the file.
    pub(super) secret: bool,
    /// Fills its field; false when the value does not fit.
    pub(super) set: fn(&mut Config, &str) -> bool,
}

impl Setting {
    /// Returns the setting's name in the environment.
    pub(super) fn variable(&self) -> String {
        format!("{PREFIX}{}", self.key.to_ascii_uppercase())
    }
}

const fn setting(key: &'static str, default: &'static str, set: fn(&mut Config, &str) -> bool) -> Setting {
    Setting {
        key,
        flag: None,
        default: Some(default),
        default_words: default,
        allowed: "",
        help: "",
        secret: false,
        set,
    }
}

/// Everything that can be set, in the order of the help text.
pub(super) static SETTINGS: &[Setting] = &[
    Setting {
        flag: Some("--database"),
        allowed: "sqlite://FILE or postgres://USER:PASSWORD@HOST:PORT/NAME",
        help: "Where everything is kept.",
        ..setting("database_url", "sqlite://syncline.db", |config, value| {
            let known = ["sqlite:", "postgres://", "postgresql://"].iter().any(|it| value.starts_with(it));
            value.clone_into(&mut config.database_url);
            known && config.sqlite_file().is_none_or(|it| !it.as_os_str().is_empty())
        })
    },
    Setting {
        default: None,
        default_words: "SQLite's own limit",
        allowed: "a whole number from 1 to 4294967294",
        help: "The most pages that an SQLite database may grow to.",
        ..setting("database_max_pages", "", |config, value| {
            config.database_max_pages = within(value, 1, u32::MAX - 1);
            config.database_max_pages.is_some()
        })
    },
    Setting {
        default: None,
        default_words: "taken from the key file",
        allowed: "32 random bytes as 64 hex digits or base64 (openssl rand -hex 32), only in the environment",
        help: "The key that credentials are sealed with.",
        secret: true,
        ..setting("key", "", |config, value| {
            config.key = Some(Secret::from(value.to_owned()));
            !value.is_empty()
        })
    },
    Setting {
        flag: Some("--key-file"),
        default: None,
        default_words: "syncline.key beside the SQLite file, else in this folder",
        allowed: "a path; the file is made on first start, for its owner only",
        help: "The file with that key.",
        ..setting("key_file", "", |config, value| {
            config.key_file = Some(PathBuf::from(value));
            !value.is_empty()
        })
    },
    Setting {
        flag: Some("--workers"),
        allowed: "a whole number from 1 to 256",
        help: "Jobs that run side by side in one process.",
        // Ten keep a provider busy that answers in 200 ms; the pages held in memory bound it above.
        ..setting("workers", "10", |config, value| count(&mut config.workers, value, 1, 256))
    },
    Setting {
        allowed: "a whole number from 1 to 100",
        help: "Requests of one source under way at once; a provider's own limit holds too.",
        // GitHub refuses more than 100 at once; a third of that leaves room for people and other tools.
        ..setting("requests_in_flight", "32", |config, value| {
            count(&mut config.requests_in_flight, value, 1, 100)
        })
    },
    Setting {
        allowed: "a duration from 2s to 1h",
        help: "How long a silent worker keeps its job before another one takes it over.",
        ..setting("lease", "60s", |config, value| {
            // Below two seconds a renewal is late on a busy machine; above an hour a dead worker's job lies idle.
            span(&mut config.lease, value, Duration::from_secs(2), Duration::from_hours(1))
        })
    },
    Setting {
        allowed: TIMEOUTS,
        help: "The longest time to make a connection.",
        ..setting("http_connect_timeout", "5s", |config, value| {
            timeout(&mut config.http_connect_timeout, value)
        })
    },
    Setting {
        allowed: TIMEOUTS,
        help: "The longest silence while an answer arrives.",
        ..setting("http_read_timeout", "15s", |config, value| timeout(&mut config.http_read_timeout, value))
    },
    Setting {
        allowed: TIMEOUTS,
        help: "The longest time for a whole answer.",
        ..setting("http_timeout", "30s", |config, value| timeout(&mut config.http_timeout, value))
    },
    Setting {
        allowed: "a size from 64KiB to 256MiB",
        help: "The largest answer, unpacked.",
        ..setting("http_body_max", "32MiB", |config, value| {
            // A listing of 100 takes more than 64 KiB; 256 MiB times the requests in flight is all a machine has.
            let bytes = parse_bytes(value).filter(|it| (64 << 10..=256 << 20).contains(it));
            bytes.and_then(|it| usize::try_from(it).ok()).map(|it| config.http_body_bytes_max = it).is_some()
        })
    },
    Setting {
        flag: Some("-v"),
        allowed: "error, warn, info, debug, trace, off, or a filter such as warn,engine=debug",
        help: "What is logged, to standard error.",
        ..setting("log", "warn", |config, value| {
            value.clone_into(&mut config.log);
            !value.is_empty() && EnvFilter::try_new(value).is_ok()
        })
    },
    Setting {
        allowed: "text or json",
        help: "How log lines are written.",
        ..setting("log_format", "text", |config, value| {
            let format = match value {
                "text" => LogFormat::Text,
                "json" => LogFormat::Json,
                _ => return false,
            };
            config.log_format = format;
            true
        })
    },
];

/// Below a tenth of a second loopback is cut off, above ten minutes a hanging server holds its worker too long.
const TIMEOUTS: &str = "a duration from 100ms to 10m";

fn timeout(field: &mut Duration, value: &str) -> bool {
    span(field, value, Duration::from_millis(100), Duration::from_mins(10))
}

fn span(field: &mut Duration, value: &str, min: Duration, max: Duration) -> bool {
    let parsed = parse_duration(value).filter(|it| (min..=max).contains(it));
    parsed.map(|it| *field = it).is_some()
}

fn count(field: &mut usize, value: &str, min: usize, max: usize) -> bool {
    within(value, min, max).map(|it| *field = it).is_some()
}

fn within<N: std::str::FromStr + PartialOrd>(value: &str, min: N, max: N) -> Option<N> {
    value.parse().ok().filter(|it| (min..=max).contains(it))
}

/// Finds a setting by its key.
pub(super) fn find(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|it| it.key == key)
}

/// Writes the table as it stands in `syncline --help`.
pub(crate) fn help() -> String {
    let mut text = String::from(
        "Settings (later ones win: default, syncline.toml, environment, flag; the variable of a setting is \
         SYNCLINE_ and its name in capitals):\n",
    );
    for it in SETTINGS {
        let flag = it.flag.map(|flag| format!(", {flag}")).unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {}  [{}{flag}]", it.key, it.variable());
        let _ = writeln!(text, "      {} Allowed: {}. Default: {}.", it.help, it.allowed, it.default_words);
    }
    text
}
