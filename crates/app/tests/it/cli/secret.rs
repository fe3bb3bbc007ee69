//! A credential is in no output, no log and no file, whatever is done with its source.

use super::sandbox::{Said, Sandbox, TOKEN, simulate, world};

#[tokio::test]
async fn a_credential_is_shown_nowhere() {
    let mut options = world();
    options.faults = "denied=acme/repo-2".parse().unwrap();
    let sim = simulate(options).await;
    let sandbox = Sandbox::new().set("PLANTED", TOKEN).set("SYNCLINE_LOG", "trace");
    let url = sim.github_url();
    let lines = [
        format!("source add github --name acme --token-env PLANTED --base-url {url}"),
        "source list --json".to_owned(),
        "source show acme --json".to_owned(),
        "source check acme".to_owned(),
        "sync start --wait --json".to_owned(),
        "sync status 1".to_owned(),
        "status".to_owned(),
        "source add github --name acme --update --token-env PLANTED --json".to_owned(),
        "sync start --wait".to_owned(),
        "source show acme".to_owned(),
    ];
    let mut logged = 0;
    for line in &lines {
        let said: Said = sandbox.run(line).await;
        assert!(!said.stdout.contains(TOKEN), "{line}: {}", said.stdout);
        assert!(!said.stderr.contains(TOKEN), "{line}: {}", said.stderr);
        logged += said.stderr.len();
        let bytes = sandbox.bytes();
        assert!(!bytes.windows(TOKEN.len()).any(|it| it == TOKEN.as_bytes()), "{line} wrote it to a file");
    }
    assert!(logged > 10_000, "there was something to look through: {logged}");
    assert!(sim.report().requests > 0);
}

#[tokio::test]
async fn a_removed_source_leaves_no_credential() {
    let sim = simulate(world()).await;
    let sandbox = Sandbox::new().set("GITHUB_TOKEN", TOKEN);
    sandbox.add(&sim, "").await;
    assert_eq!(sandbox.ends(0, "source list --json").await.json()["sources"][0]["credential"], true);
    sandbox.ends(0, "source remove acme --purge --yes").await;
    // Added again without one: the old one is not found again.
    let sandbox = sandbox.set("GITHUB_TOKEN", "");
    sandbox.add(&sim, "--repo acme/repo-1").await;
    assert_eq!(sandbox.ends(0, "source list --json").await.json()["sources"][0]["credential"], false);
}
