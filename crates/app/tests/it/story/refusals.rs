//! What stands in the way is told in a sentence that names the fix, with an exit code of its own; and once it is
//! mended, nothing was lost.
//!
//! A refusal must never be told by what another program said alone.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use sim::{Options, Sim, WorldSource};

use crate::support::{
    Database, KEY, SOURCE, Scene, TOKEN, assert_kept_rules, assert_truth, landed_rows, on_both, seeded,
    started, until,
};

on_both!(
    a_refused_credential_stops_the_source_at_once,
    a_tampered_credential_is_told,
    the_wrong_key_is_told,
    a_damaged_place_is_told,
    a_place_that_makes_no_sense_is_read_anew,
);

const NAMES: [&str; 3] = ["acme/repo-1", "acme/repo-2", "acme/repo-3"];

async fn world() -> Sim {
    seeded(61, 3, 150, "", "").await
}

/// Syncs, and fails unless that fails with this exit code, and this code's sentence for all that it tried.
async fn fails_with(scene: &Scene, exit: i32, code: &str, fix: &str) {
    let ended = scene.sync().await;
    ended.expect_code(exit);
    let sync = ended.json();
    assert_eq!(sync["state"], "failed", "{sync:#}");
    for error in sync["errors"].as_array().unwrap() {
        assert_eq!(error["code"], code, "{sync:#}");
        let sentence = error["message"].as_str().unwrap();
        assert!(sentence.contains(fix) && !sentence.contains("look at the log"), "{sentence}");
    }
    // A person reads the same.
    let told = scene.run(&["sync", "start", "--source", SOURCE, "--wait"]).await;
    told.expect_code(exit).expect_words(fix);
}

async fn a_refused_credential_stops_the_source_at_once(database: Database) {
    let sim = world().await;
    let scene = Scene::new(database).of_group("commits").set(TOKEN.0, "bad-token").set("SYNCLINE_WORKERS", 1);
    scene.add_source(&sim, &NAMES).await;
    let ended = scene.sync().await;
    ended.expect_code(1);
    let sync = ended.json();
    assert_eq!(
        (&sync["state"], &sync["jobsByState"]["discarded"]),
        (&"failed".into(), &3.into()),
        "{sync:#}"
    );
    assert_eq!(sim.report().requests, 1, "it went on with a refused credential");
    fails_with(&scene, 1, "unauthorized", "--update --token-env").await;
    scene.run(&["source", "check", SOURCE]).await.expect_code(1).expect_words("--update --token-env");

    let scene = scene.set(TOKEN.0, TOKEN.1).set("SYNCLINE_WORKERS", 10);
    scene
        .run(&["source", "add", "github", "--name", SOURCE, "--update", "--token-env", TOKEN.0])
        .await
        .expect_code(0);
    scene.completes().await;
    assert_truth(&scene.database, &sim, &NAMES).await;

    // Revoked while it is in use: what landed stays as it is.
    let before = landed_rows(&scene.database).await;
    let scene = scene.set(TOKEN.0, "bad-again");
    scene
        .run(&["source", "add", "github", "--name", SOURCE, "--update", "--token-env", TOKEN.0])
        .await
        .expect_code(0);
    sim.world().push(NAMES[0], "main", 1).unwrap();
    fails_with(&scene, 1, "unauthorized", "--update --token-env").await;
    before.assert_same(&landed_rows(&scene.database).await, "after the credential was revoked");
    assert_kept_rules(&sim);
}

async fn a_tampered_credential_is_told(database: Database) {
    let sim = world().await;
    let scene = Scene::with_source(database, &sim, &NAMES).await;
    scene.completes().await;
    let before = landed_rows(&scene.database).await;
    let other = ["source", "add", "github", "--name", "other", "--repo", NAMES[0], "--token-env", TOKEN.0];
    scene.run(&other).await.expect_code(0);
    // Another source's credential, then one with a changed end: neither opens here.
    let zero = if scene.database.is_sqlite() { "zeroblob(1)" } else { "decode('00', 'hex')" };
    sim.reset_report();
    for stolen in [
        "(select secret from sources where name = 'other')".to_owned(),
        format!("substr(secret, 1, length(secret) - 1) || {zero}"),
    ] {
        scene
            .database
            .execute(&format!("update sources set secret = {stolen} where name = '{SOURCE}'"))
            .await;
        if scene.database.is_sqlite() {
            // Joining bytes makes text of them.
            let blob = format!("update sources set secret = cast(secret as blob) where name = '{SOURCE}'");
            scene.database.execute(&blob).await;
        }
        fails_with(&scene, 5, "tampered", "--update --token-env").await;
    }
    assert_eq!(sim.report().requests, 0, "it asked with a credential that was changed");
    before.assert_same(&landed_rows(&scene.database).await, "after the credential was changed");
    scene
        .run(&["source", "add", "github", "--name", SOURCE, "--update", "--token-env", TOKEN.0])
        .await
        .expect_code(0);
    sim.world().push(NAMES[1], "main", 2).unwrap();
    scene.completes().await;
    assert_truth(&scene.database, &sim, &NAMES).await;
}

async fn the_wrong_key_is_told(database: Database) {
    let sim = world().await;
    let scene = Scene::with_source(database, &sim, &NAMES).await;
    let scene = scene.set("SYNCLINE_KEY", KEY.replace("00", "ff"));
    fails_with(&scene, 5, "wrong_key", "SYNCLINE_KEY").await;
    assert_eq!(sim.report().requests, 0);

    let scene = scene.set("SYNCLINE_KEY", "too short");
    let refused = scene.sync().await;
    refused.expect_code(2);
    let (code, sentence) = refused.error();
    assert!(code == "configuration" && sentence.contains("32 random bytes"), "{code}: {sentence}");
    assert!(!sentence.contains("too short"), "it shows the key: {sentence}");

    // A key file that others may read is no secret.
    let file = scene.database.folder().join("shared.key");
    std::fs::write(&file, KEY).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let scene = scene.unset("SYNCLINE_KEY").set("SYNCLINE_KEY_FILE", file.display());
    let refused = scene.sync().await;
    refused.expect_code(5);
    assert!(refused.error().1.contains("chmod 600"), "{}", refused.told());
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    scene.completes().await;
    assert_truth(&scene.database, &sim, &NAMES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_file_is_made_for_its_owner_and_its_loss_is_told() {
    let sim = world().await;
    let scene = Scene::new(Database::sqlite()).of_group("commits").unset("SYNCLINE_KEY");
    scene.add_source(&sim, &NAMES).await;
    let file = scene.database.folder().join("syncline.key");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let kept = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    fails_with(&scene, 5, "wrong_key", "--key-file").await;
    std::fs::write(&file, kept).unwrap();
    scene.completes().await;
    assert_truth(&scene.database, &sim, &NAMES).await;
}

async fn a_damaged_place_is_told(database: Database) {
    let sim = world().await;
    let scene = Scene::with_source(database, &sim, &NAMES).await;
    scene.completes().await;
    sim.world().push(NAMES[0], "main", 2).unwrap();
    sim.world().push(NAMES[1], "main", 2).unwrap();
    let id = sim.world().repository_truth(NAMES[0]).unwrap().id;
    let damaged = format!(
        "update checkpoints set cursor = '{{\"next' where stream = 'branches' and partition = '{id}'"
    );
    scene.database.execute(&damaged).await;
    let ended = scene.sync().await;
    ended.expect_code(3);
    let sync = ended.json();
    assert_eq!((&sync["state"], &sync["errorsTotal"]), (&"partial".into(), &1.into()), "{sync:#}");
    assert_eq!(sync["errors"][0]["code"], "corrupt_state", "{sync:#}");
    let sentence = sync["errors"][0]["message"].as_str().unwrap();
    assert!(sentence.contains("checkpoints") && sentence.contains("restore"), "{sentence}");
    // The others went on, and what is damaged is left for a person to see.
    assert_truth(&scene.database, &sim, &NAMES[1..]).await;
    let left = "select count(*) from checkpoints where cursor = '{\"next'";
    assert_eq!(scene.database.number(left).await, 1, "the damaged place was overwritten");
    scene.database.execute("update checkpoints set cursor = null where stream = 'branches'").await;
    scene.completes().await;
    assert_truth(&scene.database, &sim, &NAMES).await;

    // The same for where a branch stands.
    sim.world().push(NAMES[2], "main", 2).unwrap();
    scene.database.execute("update items set cursor = '{\"head\": \"'").await;
    let ended = scene.sync().await;
    ended.expect_code(3);
    let sync = ended.json();
    assert_eq!(
        (&sync["errors"][0]["code"], &sync["errorsTotal"]),
        (&"corrupt_state".into(), &1.into()),
        "{sync:#}"
    );
    assert!(sync["errors"][0]["message"].as_str().unwrap().contains("items"), "{sync:#}");
    scene.database.execute("update items set cursor = null").await;
    scene.completes().await;
    assert_truth(&scene.database, &sim, &NAMES).await;
}

async fn a_place_that_makes_no_sense_is_read_anew(database: Database) {
    let sim = world().await;
    let scene = Scene::with_source(database, &sim, &NAMES).await;
    scene.completes().await;
    sim.world().push(NAMES[0], "main", 2).unwrap();
    scene.database.execute("update checkpoints set cursor = '{\"elsewhere\": 7}'").await;
    scene.database.execute("update items set cursor = '{\"elsewhere\": 7}', reading = wanted").await;
    scene.completes().await;
    assert_truth(&scene.database, &sim, &NAMES).await;
    assert_eq!(scene.database.number("select count(*) from items where have <> wanted").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_loses_nothing() {
    let sim = world().await;
    let begun = Scene::with_source(Database::sqlite(), &sim, &NAMES).await;
    let pages = begun.database.number("select page_count from pragma_page_count").await;
    for room in [1, 12, 40, 90] {
        let scene = begun.copy().await.set("SYNCLINE_DATABASE_MAX_PAGES", pages + room);
        let ended = scene.sync().await;
        ended.expect_code(5);
        let (code, sentence) = ended.error();
        assert!(code == "database" && sentence.contains("no room left"), "{room}: {code}: {sentence}");
        assert!(sentence.contains("make room"), "{sentence}");
        let landed = scene.database.number("select count(*) from commits").await;
        assert!(landed < 450, "{room} pages more were enough");
        let scene = scene.unset("SYNCLINE_DATABASE_MAX_PAGES");
        scene.completes().await;
        assert_truth(&scene.database, &sim, &NAMES).await;
    }
    assert_kept_rules(&sim);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_host_is_told() {
    let scene = Scene::new(Database::sqlite()).of_group("commits");
    // RFC 6761: no resolver knows a name that ends so.
    let url = "https://syncline.invalid/api/v3";
    let add = [
        "source",
        "add",
        "github",
        "--name",
        SOURCE,
        "--base-url",
        url,
        "--repo",
        NAMES[0],
        "--token-env",
        TOKEN.0,
    ];
    scene.run(&add).await.expect_code(0);
    fails_with(&scene, 1, "unknown_host", "--base-url").await;
    scene.run(&["source", "check", SOURCE]).await.expect_code(1).expect_words("--base-url");

    let sim = world().await;
    let url = sim.github_url();
    // The credential was given for one server; another one gets it only by the word of its owner.
    let update = ["source", "add", "github", "--name", SOURCE, "--update", "--base-url", &url];
    scene.run(&update).await.expect_code(2).expect_words("another server");
    scene.run(&[&update[..], &["--token-env", TOKEN.0]].concat()).await.expect_code(0);
    scene.completes().await;
    assert_truth(&scene.database, &sim, &NAMES[..1]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_gone_is_told_and_gone_on_with() {
    let sim = world().await;
    let scene = Scene::with_source(Database::sqlite(), &sim, &NAMES[..1]).await;
    let listen = sim.address();
    sim.stop().await;
    fails_with(&scene, 1, "no_connection", "server runs").await;
    let world = WorldSource::Seeded { seed: 61, repos: 3, commits: 150 };
    let sim = started(Options { listen, world, ..Options::default() }, "", "").await;
    scene.completes().await;
    assert_truth(&scene.database, &sim, &NAMES[..1]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_out_of_reach_is_told() {
    let database = Database::postgres().await;
    let (beginning, _) = database.url().split_once("syncline_test_").unwrap();
    let missing = format!("{beginning}syncline_no_such_database{}", query_of(database.url()));
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text.db");
    std::fs::write(&text, "a letter, and no database at all; it is long enough to be looked at\n".repeat(50))
        .unwrap();
    let text = format!("sqlite://{}", text.display());
    let nowhere = format!("sqlite://{}/no/such/folder/story.db", folder.path().display());
    for (url, fix) in [
        ("postgres://syncline@127.0.0.1:1/syncline", "no PostgreSQL server answers at 127.0.0.1:1"),
        (&missing, "createdb syncline_no_such_database"),
        (&nowhere, "choose another place"),
        (&text, "is not an SQLite database"),
    ] {
        let scene = Scene::new(Database::sqlite()).set("SYNCLINE_DATABASE_URL", url);
        for command in [&["status", "--json"][..], &["sync", "start", "--wait", "--json"]] {
            let refused = scene.run(command).await;
            refused.expect_code(5);
            let (code, sentence) = refused.error();
            assert!(code == "database" && sentence.contains(fix), "{url}: {code}: {sentence}");
        }
    }
    let left = std::fs::read(text.trim_start_matches("sqlite://")).unwrap();
    assert!(left.starts_with(b"a letter") && left.len() > 1_000, "somebody's file was overwritten");
}

/// What an address says behind its path, such as the folder of the server's socket.
fn query_of(url: &str) -> String {
    url.split_once('?').map_or_else(String::new, |(_, query)| format!("?{query}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_drops_its_connections_loses_nothing() {
    let world = WorldSource::Seeded { seed: 62, repos: 2, commits: 900 };
    let latency = Duration::from_millis(60);
    let sim = started(Options { world, latency, ..Options::default() }, "nolast=acme/repo-1", "").await;
    let scene = Scene::with_source(Database::postgres().await, &sim, &NAMES[..2]).await;
    let scene = scene.set("SYNCLINE_LEASE", "2s");
    let syncing = scene.start_sync();
    for pages in [4, 8] {
        let enough = async || {
            (scene.database.number("select coalesce(sum(pages), 0) from jobs").await >= pages).then_some(())
        };
        until("pages are committed", Duration::from_mins(1), enough).await;
        let others = "select pg_terminate_backend(pid) from pg_stat_activity
            where datname = current_database() and pid <> pg_backend_pid()";
        scene.database.execute(others).await;
    }
    let ended = syncing.ended().await;
    ended.expect_code(0);
    assert_truth(&scene.database, &sim, &NAMES[..2]).await;
    assert_kept_rules(&sim);
}
