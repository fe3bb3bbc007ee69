//! The table of settings: the file, the environment, the flags and the help text are all read from it.
//!
//! A setting never does anything but fill a field of [`Config`].

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use domain::policy::schedule::{EVERY_MAX, EVERY_MIN};
use engine::Secret;
use jiff::SignedDuration;
use tracing_subscriber::EnvFilter;
use url::Url;

use super::field::{
    KEPT, REQUESTS, REQUESTS_MAX, TIMEOUTS, cooldowns, count, kept, number, own, period, span, timeout,
    within,
};
use super::quantity::{parse_bytes, parse_go_duration};
use super::{Config, LogFormat};

/// What our variables begin with.
pub(super) const PREFIX: &str = "SYNCLINE_";

/// What those of the schedule begin with.
const SYNC_PREFIX: &str = "SYNC_";

/// What a variable begins with that can only be meant for this program: others are left alone, as other programs have
/// `SYNC_` variables too.
pub(super) const PREFIXES: [&str; 3] = [PREFIX, "SYNC_ENABLE", "SYNC_INTERVAL_"];

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
        let name = self.key.to_ascii_uppercase();
        // The schedule's variables were known before this program was: they keep their names.
        if name.starts_with(SYNC_PREFIX) { name } else { format!("{PREFIX}{name}") }
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
        allowed: REQUESTS,
        help: "Requests of a provider's budget that are left to people and other tools.",
        // One at least: with none left a provider refuses the next request.
        ..setting("budget_floor", "100", |config, value| {
            number(&mut config.thresholds.floor, value, 1, REQUESTS_MAX)
        })
    },
    Setting {
        allowed: "a whole number from 1 to 100",
        help: "The same in percent of a small budget; the lower of the two counts.",
        ..setting("budget_floor_percent", "2", |config, value| {
            number(&mut config.thresholds.floor_percent, value, 1, 100)
        })
    },
    Setting {
        allowed: "a whole number from 0 to 1000000",
        help: "Requests that scheduled syncs leave to webhooks, beside the floor.",
        ..setting("budget_reserve", "500", |config, value| {
            number(&mut config.thresholds.reserve, value, 0, REQUESTS_MAX)
        })
    },
    Setting {
        allowed: "a whole number from 0 to 100",
        help: "The same in percent of a small budget; the lower of the two counts.",
        ..setting("budget_reserve_percent", "10", |config, value| {
            number(&mut config.thresholds.reserve_percent, value, 0, 100)
        })
    },
    Setting {
        default: None,
        default_words: "what the connector says; 0s for commits",
        allowed: "GROUP=DURATION, several with commas between; a stream group and a duration from 0s to 720h",
        help: "How long after a manual sync of a stream group another one is refused.",
        ..setting("manual_cooldown", "", |config, value| {
            let cooldowns = cooldowns(value);
            cooldowns.map(|it| config.manual_cooldowns = it).is_some()
        })
    },
    Setting {
        allowed: "a duration from 0s to 720h",
        help: "A source without success for longer than this may be synced by hand despite the cooldown.",
        ..setting("stale_after", "48h", |config, value| own(&mut config.thresholds.stale_after, value))
    },
    Setting {
        allowed: "true, false, 1 or 0",
        help: "Whether sources are synced by themselves and chores are run; a person may always ask.",
        ..setting("sync_enabled", "true", |config, value| {
            let word = value.to_ascii_lowercase();
            config.schedule.enabled = matches!(word.as_str(), "true" | "1");
            matches!(word.as_str(), "true" | "1" | "false" | "0")
        })
    },
    Setting {
        allowed: "a duration from 1m to 24h",
        help: "How long a job may go without a page, as long as it waits for nothing, before it is interrupted.",
        // Below a minute an answer that is merely slow would count; above a day nobody waits for it.
        ..setting("stuck_after", "10m", |config, value| {
            let (min, max) = (Duration::from_mins(1), Duration::from_hours(24));
            period(&mut config.maintenance.stuck_after, value, min, max)
        })
    },
    Setting {
        allowed: KEPT,
        help: "How long a scheduled stream group may be without success before a sync is asked for beside its schedule.",
        ..setting("catch_up_after", "24h", |config, value| {
            kept(&mut config.maintenance.catch_up_after, value)
        })
    },
    Setting {
        allowed: KEPT,
        help: "How long completed jobs and events are kept; what landed is never removed.",
        ..setting("keep_completed", "168h", |config, value| {
            kept(&mut config.maintenance.keep_completed, value)
        })
    },
    Setting {
        allowed: KEPT,
        help: "How long jobs and syncs are kept that failed or were stopped.",
        ..setting("keep_failed", "720h", |config, value| kept(&mut config.maintenance.keep_failed, value))
    },
    Setting {
        allowed: KEPT,
        help: "How often the ids of each part are listed and compared with what landed.",
        ..setting("census_every", "168h", |config, value| kept(&mut config.maintenance.census_every, value))
    },
    Setting {
        allowed: KEPT,
        help: "How old the newest that came of a part may be before it is read with care, where there are signs of more.",
        ..setting("heal_stale_after", "72h", |it, value| kept(&mut it.maintenance.healing.stale_after, value))
    },
    Setting {
        allowed: "a duration from 0s to 720h",
        help: "How long after that is noticed it is read with care.",
        ..setting("heal_after", "5m", |it, value| own(&mut it.maintenance.healing.after, value))
    },
    Setting {
        allowed: "a whole number from 1 to 1000",
        help: "So many such readings in a row that bring nothing are a warning: webhooks may have stopped.",
        ..setting("heal_warn_after", "3", |it, value| {
            number(&mut it.maintenance.healing.warn_after, value, 1, 1000)
        })
    },
    Setting {
        default: None,
        default_words: "15m",
        allowed: EVERY,
        help: "How often commits are read, where a source has no schedule of its own.",
        ..setting("sync_interval_commits", "", |config, value| every(config, "commits", value))
    },
    Setting {
        default: None,
        default_words: "30m",
        allowed: EVERY,
        help: "How often Jira is read, where a source has no schedule of its own.",
        ..setting("sync_interval_jira", "", |config, value| every(config, "jira", value))
    },
    Setting {
        default: None,
        default_words: "15m",
        allowed: EVERY,
        help: "How often issues, pull and merge requests are read, where a source has no schedule of its own.",
        ..setting("sync_interval_timeline", "", |config, value| every(config, "timeline", value))
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
        flag: Some("--listen"),
        allowed: "an address and a port, such as 127.0.0.1:7878 or [::1]:7878",
        help: "Where `serve` answers; anything but loopback needs behind_tls_proxy.",
        ..setting("listen", "127.0.0.1:7878", |config, value| {
            value.parse().map(|it| config.listen = it).is_ok()
        })
    },
    Setting {
        allowed: "true or false",
        help: "Whether a proxy that speaks TLS stands in front of `serve`; its X-Forwarded-For is then believed.",
        ..setting("behind_tls_proxy", "false", |config, value| {
            value.parse().map(|it| config.behind_tls_proxy = it).is_ok()
        })
    },
    Setting {
        default: None,
        default_words: "none: /metrics is asked with a token, where the API is",
        allowed: "a loopback address and a port, such as 127.0.0.1:9464",
        help: "Where `serve` shows its metrics to whoever asks.",
        ..setting("metrics_listen", "", |config, value| {
            config.metrics_listen = value.parse().ok().filter(|it: &SocketAddr| it.ip().is_loopback());
            config.metrics_listen.is_some()
        })
    },
    Setting {
        allowed: "a whole number from 60 to 1000000",
        help: "Requests that one API token may make in a minute; a sixth of them may come at once.",
        // Fifty a second is more than a dashboard of a large team asks, and a small part of what one core answers.
        ..setting("api_requests_per_minute", "3000", |config, value| {
            let number = within(value, 60, 1_000_000).and_then(NonZeroU32::new);
            number.map(|it| config.api_requests_per_minute = it).is_some()
        })
    },
    Setting {
        default: None,
        default_words: "none: no traces are sent",
        allowed: "the collector's address without a user or password, such as http://127.0.0.1:4318",
        help: "Where traces are sent, as OTLP over HTTP.",
        ..setting("otlp_endpoint", "", |config, value| {
            let url = value.parse().ok().filter(|it: &Url| {
                matches!(it.scheme(), "http" | "https")
                    && it.has_host()
                    && it.username().is_empty()
                    && it.password().is_none()
            });
            config.otlp_endpoint = url;
            config.otlp_endpoint.is_some()
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

/// Which intervals are allowed, in words; the bounds are the policy's.
pub(crate) const EVERY: &str = "a duration from 1s to 8760h, as 15m or 1h30m";

/// Reads an interval.
pub(crate) fn parse_every(value: &str) -> Option<SignedDuration> {
    parse_go_duration(value).filter(|it| (EVERY_MIN..=EVERY_MAX).contains(it))
}

fn every(config: &mut Config, group: &str, value: &str) -> bool {
    parse_every(value).map(|it| config.schedule.intervals.insert(group.to_owned(), it)).is_some()
}

/// Finds a setting by its key.
pub(super) fn find(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|it| it.key == key)
}

/// Writes the table as it stands in `syncline --help`.
pub(crate) fn help() -> String {
    let mut text = String::from(
        "Settings (later ones win: default, syncline.toml, .env, environment, flag; behind each stands the name of \
         its variable):\n",
    );
    for it in SETTINGS {
        let flag = it.flag.map(|flag| format!(", {flag}")).unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {}  [{}{flag}]", it.key, it.variable());
        let _ = writeln!(text, "      {} Allowed: {}. Default: {}.", it.help, it.allowed, it.default_words);
    }
    text
}
