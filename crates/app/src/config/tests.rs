//! What each layer may say, and how it is told that it may not.

use std::ffi::OsString;
use std::time::Duration;

use domain::policy::Thresholds;
use jiff::SignedDuration;
use proptest::prelude::*;

use super::quantity::{UNITS, parse_bytes, parse_duration, parse_go_duration};
use super::table::SETTINGS;
use super::{Config, Layers, shown};

fn load(
    file: Option<&str>,
    environment: &[(&str, &str)],
    flags: &[(&'static str, &str)],
) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    // A named file has to be there, and the working directory of a test run is nobody's to change.
    let path = folder.path().join("syncline.toml");
    std::fs::write(&path, file.unwrap_or_default()).unwrap();
    let layers = Layers {
        file: Some(&path),
        environment: environment.iter().map(|(k, v)| (OsString::from(k), OsString::from(v))).collect(),
        flags: flags.iter().map(|(k, v)| (*k, (*v).to_owned())).collect(),
    };
    let prefix = format!("{}/", folder.path().display());
    Config::load(&layers).map_err(|it| it.to_string().replace(&prefix, ""))
}

#[test]
fn every_default_is_allowed() {
    let config = load(None, &[], &[]).unwrap();
    assert_eq!(config.database_url, "sqlite://syncline.db");
    assert_eq!((config.workers, config.requests_in_flight), (10, 32));
    assert_eq!(config.lease, Duration::from_mins(1));
    assert_eq!(config.http_body_bytes_max, 32 << 20);
    assert_eq!(config.thresholds, Thresholds::default(), "the policy's own numbers");
    assert!(config.manual_cooldowns.is_empty());
    assert_eq!(config.key_file().to_str(), Some("syncline.key"));
}

#[test]
fn later_layers_win() {
    let file = Some("workers = 2\nlease = \"1h\"\nlog = \"info\"\n");
    let environment = [("SYNCLINE_WORKERS", "3"), ("SYNCLINE_LEASE", "2s"), ("HOME", "/")];
    let config = load(file, &environment, &[("workers", "4")]).unwrap();
    assert_eq!(config.workers, 4, "a flag wins");
    assert_eq!(config.lease, Duration::from_secs(2), "the environment wins over the file");
    assert_eq!(config.log, "info", "the file wins over the default");
}

#[test]
fn the_key_lies_beside_the_database() {
    let config =
        load(None, &[("SYNCLINE_DATABASE_URL", "sqlite:///var/lib/syncline/a.db?mode=rw")], &[]).unwrap();
    assert_eq!(config.key_file().to_str(), Some("/var/lib/syncline/syncline.key"));
    let config = load(None, &[("SYNCLINE_DATABASE_URL", "postgres://x@h/db")], &[]).unwrap();
    assert_eq!(config.key_file().to_str(), Some("syncline.key"));
    let config = load(None, &[("SYNCLINE_KEY_FILE", "/k")], &[]).unwrap();
    assert_eq!(config.key_file().to_str(), Some("/k"));
}

#[test]
fn the_policys_numbers_can_be_set() {
    let file = "budget_floor = 7\nbudget_floor_percent = 8\nbudget_reserve = 0\nbudget_reserve_percent = 9\n\
                stale_after = \"1h30m\"\nmanual_cooldown = \" commits = 10m \"\n";
    let config = load(Some(file), &[], &[]).unwrap();
    let expected = Thresholds {
        floor: 7,
        floor_percent: 8,
        reserve: 0,
        reserve_percent: 9,
        stale_after: SignedDuration::from_mins(90),
        ..Thresholds::default()
    };
    assert_eq!(config.thresholds, expected);
    assert_eq!(config.manual_cooldowns["commits"], SignedDuration::from_mins(10));
}

#[test]
fn a_bad_value_is_named_with_its_place_and_what_is_allowed() {
    let cases = [
        (
            "workers = 0",
            "syncline.toml, line 1: workers: `0` is not allowed; allowed is a whole number from 1 to 256",
        ),
        ("\n\nworkers = \"many\"", "syncline.toml, line 3: workers: `many` is not allowed"),
        ("workers = [1]", "workers: `a list or table` is not allowed"),
        ("lease = 60", "lease: `60` is not allowed; allowed is a duration from 2s to 1h"),
        ("lease = \"1s\"", "lease: `1s` is not allowed"),
        ("http_body_max = \"1KiB\"", "allowed is a size from 64KiB to 256MiB"),
        ("budget_floor = 0", "budget_floor: `0` is not allowed; allowed is a whole number from 1 to 1000000"),
        ("budget_floor_percent = 101", "allowed is a whole number from 1 to 100"),
        ("budget_reserve = -1", "allowed is a whole number from 0 to 1000000"),
        ("stale_after = \"721h\"", "allowed is a duration from 0s to 720h"),
        ("manual_cooldown = \"10m\"", "manual_cooldown: `10m` is not allowed; allowed is GROUP=DURATION"),
        ("manual_cooldown = \"comits=10m\"", "`comits=10m` is not allowed"),
        ("manual_cooldown = \"commits=1m,commits=2m\"", "`commits=1m,commits=2m` is not allowed"),
        ("requests_in_flight = 101", "allowed is a whole number from 1 to 100"),
        ("log_format = \"xml\"", "allowed is text or json"),
        ("log = \"engine=loud\"", "log: `engine=loud` is not allowed"),
        ("database_url = \"mysql://h/db\"", "allowed is sqlite://FILE or postgres://"),
        ("database_url = \"sqlite://\"", "`sqlite://` is not allowed"),
        ("workers 3", "syncline.toml, line 1: not TOML"),
        (
            "# a\nworker = 3",
            "syncline.toml, line 2: unknown key `worker` (value `3`); did you mean `workers`?",
        ),
        ("colour = \"red\"", "unknown key `colour` (value `red`); allowed are database_url, "),
        ("key = \"s3cret\"", "line 1: key: a secret does not belong in a file"),
    ];
    for (file, expected) in cases {
        let error = load(Some(file), &[], &[]).unwrap_err();
        assert!(error.contains(expected), "{file:?}: {error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
}

#[test]
fn a_bad_variable_is_named_too() {
    let cases = [
        ("SYNCLINE_WORKERS", "300", "environment: SYNCLINE_WORKERS: `300` is not allowed"),
        ("SYNCLINE_WORKERS", "", "environment: SYNCLINE_WORKERS: `` is not allowed"),
        (
            "SYNCLINE_WORKER",
            "3",
            "unknown variable SYNCLINE_WORKER (value `3`); did you mean SYNCLINE_WORKERS?",
        ),
        ("SYNCLINE_DATABASE", "postgres://me:s3cret@h/db", "(value `postgres://me:[redacted]@h/db`)"),
        ("SYNCLINE_KEYS", "s3cret", "(value `[redacted]`)"),
        ("SYNCLINE_KEY", "", "environment: SYNCLINE_KEY: `[redacted]` is not allowed"),
    ];
    for (name, value, expected) in cases {
        let error = load(None, &[(name, value)], &[]).unwrap_err();
        assert!(error.contains(expected), "{name}: {error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
}

#[test]
fn all_problems_are_told_at_once() {
    let error = load(Some("a = 1\nb = 2\n"), &[("SYNCLINE_C", "3")], &[("workers", "0")]).unwrap_err();
    assert_eq!(error.lines().count(), 4, "{error}");
    assert!(error.contains("--workers: `0` is not allowed"), "{error}");
}

#[test]
fn a_password_is_never_shown() {
    let cases = [
        ("postgres://me:s3cret@h:5/db", "postgres://me:[redacted]@h:5/db"),
        ("postgres://me:s3c@s3cret@h/db", "postgres://me:[redacted]@h/db"),
        ("postgres://me:s3cret/s3cret@h/db", "postgres://me:[redacted]@h/db"),
        ("postgres://me@h/db", "postgres://me@h/db"),
        ("sqlite://a.db", "sqlite://a.db"),
        ("10", "10"),
    ];
    for (value, expected) in cases {
        assert_eq!(shown(value), expected);
    }
    let long = format!("postgres://me:{}@h/db", "s3cret".repeat(60));
    assert!(!shown(&long).contains("s3cret"), "{}", shown(&long));
}

#[test]
fn the_help_names_every_setting() {
    let help = super::help();
    for setting in SETTINGS {
        assert!(help.contains(&setting.variable()), "{}", setting.key);
        assert!(!setting.allowed.is_empty() && !setting.help.is_empty(), "{}", setting.key);
    }
}

#[test]
fn durations_are_read_as_people_write_them() {
    let cases = [
        ("15m", Some(900_000)),
        ("1h30m", Some(5_400_000)),
        ("500ms", Some(500)),
        ("1m500ms", Some(60_500)),
        ("0s", Some(0)),
        ("", None),
        ("15", None),
        ("m", None),
        ("1.5h", None),
        ("30m1h", None),
        ("1s1s", None),
        ("-1s", None),
        ("1 s", None),
        ("1d", None),
        ("99999999999999999999s", None),
        ("9999999999999h", None),
    ];
    for (text, ms) in cases {
        assert_eq!(parse_duration(text), ms.map(Duration::from_millis), "{text:?}");
    }
}

#[test]
fn sizes_are_read_as_people_write_them() {
    let cases = [
        ("32MiB", Some(33_554_432)),
        ("1B", Some(1)),
        ("2KiB", Some(2048)),
        ("1GiB", Some(1 << 30)),
        ("32", None),
        ("32MB", None),
        ("MiB", None),
        ("99999999999GiB", None),
    ];
    for (text, bytes) in cases {
        assert_eq!(parse_bytes(text), bytes, "{text:?}");
    }
}

/// Writes a duration as `parse_duration` reads it; what is below a millisecond is dropped.
fn duration_text(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, size) in UNITS {
        if rest / size > 0 {
            text.push_str(&(rest / size).to_string());
            text.push_str(unit);
            rest %= size;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

proptest! {
    #[test]
    fn a_duration_written_is_read_back(ms in 0_u64..10_000_000_000) {
        let duration = Duration::from_millis(ms);
        prop_assert_eq!(parse_duration(&duration_text(duration)), Some(duration));
    }

    #[test]
    fn no_text_breaks_the_readers(text in "\\PC{0,12}") {
        parse_duration(&text);
        parse_bytes(&text);
        shown(&text);
    }
}

#[test]
fn intervals_are_read_as_in_go() {
    let cases = [
        ("15m", Some(900_000_000_000)),
        ("1h30m", Some(5_400_000_000_000)),
        ("30m1h", Some(5_400_000_000_000)),
        ("1.5h", Some(5_400_000_000_000)),
        (".5s", Some(500_000_000)),
        ("1.s", Some(1_000_000_000)),
        ("+90s", Some(90_000_000_000)),
        ("-5m", Some(-300_000_000_000)),
        ("1s1s", Some(2_000_000_000)),
        ("2us3ns", Some(2_003)),
        ("1µs", Some(1_000)),
        ("0", Some(0)),
        ("-0", Some(0)),
        ("0s", Some(0)),
        ("", None),
        ("-", None),
        ("+", None),
        ("15", None),
        ("1.5", None),
        ("m", None),
        (".s", None),
        ("1 s", None),
        ("1d", None),
        ("--1s", None),
        ("1h-30m", None),
        ("1e3s", None),
        ("3000000h", None),
        ("99999999999999999999999999999999999999999s", None),
    ];
    for (text, nanos) in cases {
        assert_eq!(parse_go_duration(text).map(|it| it.as_nanos()), nanos, "{text:?}");
    }
}

#[test]
fn the_schedule_is_configured() {
    let config = load(None, &[], &[]).unwrap();
    assert!(config.schedule.enabled && config.schedule.intervals.is_empty());
    let file = Some("sync_interval_jira = \"2h\"\n");
    let environment = [("SYNC_INTERVAL_COMMITS", "90s"), ("SYNC_ENABLED", "False"), ("SYNC_PROFILE", "7")];
    let config = load(file, &environment, &[]).unwrap();
    assert!(!config.schedule.enabled);
    let seconds: Vec<_> =
        config.schedule.intervals.iter().map(|it| (it.0.as_str(), it.1.as_secs())).collect();
    assert_eq!(seconds, [("commits", 90), ("jira", 7200)]);
    for (name, value) in [
        ("SYNC_INTERVAL_COMMITS", "0s"),
        ("SYNC_INTERVAL_COMMITS", "-1h"),
        ("SYNC_INTERVAL_COMMITS", "1ms"),
        ("SYNC_INTERVAL_JIRA", "8761h"),
        ("SYNC_INTERVAL_JIRA", "half an hour"),
        ("SYNC_INTERVAL_JIRA", ""),
        ("SYNC_ENABLED", "maybe"),
    ] {
        let error = load(None, &[(name, value)], &[]).unwrap_err();
        let expected = format!("environment: {name}: `{value}` is not allowed; allowed is ");
        assert!(error.contains(&expected), "{error}");
    }
}
