//! What is wrong with a configuration is told by name, place, value and what is allowed.

use super::sandbox::Sandbox;

/// The file, a variable, flags, and what has to be said.
type Case = (&'static str, &'static [(&'static str, &'static str)], &'static str, &'static str);

#[tokio::test]
async fn what_is_wrong_is_named() {
    let cases: [Case; 16] = [
        (
            "workers = 0\n",
            &[],
            "",
            "syncline.toml, line 1: workers: `0` is not allowed; allowed is a whole number from 1 to 256",
        ),
        (
            "# mine\nworker = 3\n",
            &[],
            "",
            "syncline.toml, line 2: unknown key `worker` (value `3`); did you mean `workers`?",
        ),
        ("[http]\ntimeout = \"3s\"\n", &[], "", "line 1: unknown key `http`"),
        ("key = \"abc\"\n", &[], "", "a secret does not belong in a file"),
        ("workers = \n", &[], "", "syncline.toml, line 1: not TOML"),
        (
            "",
            &[("SYNCLINE_LEASE", "1d")],
            "",
            "SYNCLINE_LEASE: `1d` is not allowed; allowed is a duration from 2s to 1h",
        ),
        (
            "",
            &[("SYNCLINE_LEESE", "1m")],
            "",
            "unknown variable SYNCLINE_LEESE (value `1m`); did you mean SYNCLINE_LEASE?",
        ),
        (
            "",
            &[("SYNC_INTERVAL_COMMITS", "fortnightly")],
            "",
            "environment: SYNC_INTERVAL_COMMITS: `fortnightly` is not allowed; allowed is a duration from 1s to 8760h",
        ),
        ("", &[("SYNC_INTERVAL_JIRA", "-5m")], "", "SYNC_INTERVAL_JIRA: `-5m` is not allowed"),
        (
            "",
            &[("SYNC_ENABLED", "perhaps")],
            "",
            "SYNC_ENABLED: `perhaps` is not allowed; allowed is true, false",
        ),
        ("", &[("SYNC_INTERVAL_COMMIT", "5m")], "", "did you mean SYNC_INTERVAL_COMMITS?"),
        ("", &[], "--workers 1000", "--workers: `1000` is not allowed"),
        (
            "",
            &[],
            "--database mysql://h/db",
            "--database: `mysql://h/db` is not allowed; allowed is sqlite://FILE or postgres://",
        ),
        ("", &[], "--config missing.toml", "missing.toml: cannot be read"),
        ("", &[("SYNCLINE_KEY", "abc")], "", "32 random bytes"),
        ("", &[], "--database postgres://u@h:port/db", "the database address"),
    ];
    for (file, environment, flags, expected) in cases {
        let sandbox = environment.iter().fold(Sandbox::new(), |it, (name, value)| it.set(name, value));
        sandbox.write("syncline.toml", file);
        let said = sandbox.run(&format!("status {flags}")).await;
        assert_eq!(said.code, Some(2), "{file:?} {flags}: {said:#?}");
        assert!(said.stderr.contains(expected), "{file:?} {flags}: {}", said.stderr);
        assert_eq!(said.stdout, "");
        let said = sandbox.ends(2, &format!("status --json {flags}")).await;
        let message = said.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains(expected), "{message}");
        assert_eq!(said.stderr, "");
    }
}

#[tokio::test]
async fn later_layers_win() {
    let sandbox = Sandbox::new().set("SYNCLINE_DATABASE_URL", "sqlite://from-environment.db");
    sandbox.write("syncline.toml", "database_url = \"sqlite://from-file.db\"\n");
    sandbox.ends(0, "status").await;
    assert!(sandbox.path("from-environment.db").exists() && !sandbox.path("from-file.db").exists());
    sandbox.ends(0, "status --database sqlite://from-flag.db").await;
    assert!(sandbox.path("from-flag.db").exists());
    sandbox.write("other.toml", "database_url = \"sqlite://other.db\"\nkey_file = \"other.key\"\n");
    let plain = Sandbox::new();
    plain.write("other.toml", "database_url = \"sqlite://other.db\"\nkey_file = \"other.key\"\n");
    plain.ends(0, "status --config other.toml").await;
    assert!(plain.path("other.db").exists() && plain.path("other.key").exists());
}

#[tokio::test]
async fn trouble_with_the_database_names_the_fix() {
    let sandbox = Sandbox::new();
    sandbox.write("not-a.db", &"this is a letter, not a database\n".repeat(200));
    let cases = [
        // Nobody listens on port 1.
        ("postgres://me:s3cret@127.0.0.1:1/db", "127.0.0.1:1"),
        ("sqlite://not-a.db", "not-a.db is not an SQLite database"),
        ("sqlite:///proc/nowhere/a.db", "/proc/nowhere/a.db"),
    ];
    for (url, expected) in cases {
        let said = sandbox.ends(5, &format!("status --json --database {url}")).await;
        let error = &said.json()["error"];
        assert_eq!(error["code"], "database");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(expected), "{message}");
        assert!(!said.stdout.contains("s3cret") && !said.stderr.contains("s3cret"), "{said:?}");
    }
}

#[tokio::test]
async fn a_key_file_that_others_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = Sandbox::new();
    sandbox.ends(0, "status").await;
    let key = sandbox.path("syncline.key");
    assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let said = sandbox.ends(5, "status").await;
    assert!(said.stderr.contains("chmod 600"), "{}", said.stderr);
}

#[tokio::test]
async fn what_the_environment_does_not_set_stands_in_a_file() {
    let sandbox = Sandbox::new();
    sandbox.write(".env", "# mine\nexport SYNC_INTERVAL_COMMITS=\"0s\"\nOTHER=1\n");
    let said = sandbox.ends(2, "status").await;
    assert!(said.stderr.contains(".env: SYNC_INTERVAL_COMMITS: `0s` is not allowed"), "{}", said.stderr);
    // What is set wins, also over what would be wrong.
    let sandbox = sandbox.set("SYNC_INTERVAL_COMMITS", "1h");
    sandbox.ends(0, "status").await;
    sandbox.write(".env", "SYNCLINE_WORKERZ=3\n");
    let said = sandbox.ends(2, "status").await;
    assert!(said.stderr.contains(".env: unknown variable SYNCLINE_WORKERZ"), "{}", said.stderr);
    sandbox.write(".env", "SYNCLINE_KEY='s3cret\n");
    let said = sandbox.ends(2, "status").await;
    assert!(said.stderr.contains(".env: a line is not NAME=VALUE"), "{}", said.stderr);
    assert!(!said.stderr.contains("s3cret"), "{}", said.stderr);
    // A credential may stand there too.
    sandbox.write(".env", "MINE=good-token\n");
    sandbox.ends(0, "source add github --name a --repo acme/repo-1 --token-env MINE").await;
}
