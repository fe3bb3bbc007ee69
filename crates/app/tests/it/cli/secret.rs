//! A credential is in no output, no log and no file, whatever is done with its source.

use super::sandbox::{Said, Sandbox, TOKEN, simulate, world};

/// The token as Jira Cloud gets it, together with the address `me@acme.example`, in base64.
const BASIC: &str = "bWVAYWNtZS5leGFtcGxlOmdocF9wbGFudGVkMGNyZWRlbnRpYWwxdGhhdDJub2JvZHkzbWF5NHNlZQ==";

#[tokio::test]
async fn a_credential_is_shown_nowhere() {
    let mut options = world();
    options.faults = "denied=acme/repo-2".parse().unwrap();
    let sim = simulate(options).await;
    let sandbox = Sandbox::new().set("PLANTED", TOKEN).set("SYNCLINE_LOG", "trace");
    let (url, jira) = (sim.github_url(), sim.jira_cloud_url());
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
        format!("source add jira --name board --token-env PLANTED --base-url {jira} --email me@acme.example"),
        "source check board".to_owned(),
        "sync start --source board --wait --json".to_owned(),
        "source show board --json".to_owned(),
    ];
    let mut logged = 0;
    for line in &lines {
        let said: Said = sandbox.run(line).await;
        for secret in [TOKEN, BASIC] {
            assert!(!said.stdout.contains(secret), "{line}: {}", said.stdout);
            assert!(!said.stderr.contains(secret), "{line}: {}", said.stderr);
        }
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
