//! Syncs: what they print for scripts, what they end with, and that a second one costs next to nothing.

use serde_json::Value;

use super::sandbox::{Sandbox, TOKEN, simulate, world};

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_else(|| panic!("{name} is no number: {value}"))
}

#[tokio::test]
async fn a_sync_is_one_object_and_a_second_one_is_all_304() {
    let sim = simulate(world()).await;
    let sandbox = Sandbox::new().set("GITHUB_TOKEN", TOKEN);
    sandbox.add(&sim, "").await;
    let first = sandbox.ends(0, "sync start --group commits --source acme --wait --json").await.json();
    assert_eq!(first["state"], "completed");
    assert!(number(&first, "id") > 0 && number(&first, "jobs") == 7, "{first}");
    assert!(number(&first, "records") > 120, "three repositories of forty commits: {first}");
    assert_eq!(number(&first, "requests"), sim.report().requests);
    assert_eq!(first["errors"], serde_json::json!([]));
    assert_eq!(number(&first["jobsByState"], "completed"), 7);
    assert!(first["closedAt"].as_i64() >= first["startedAt"].as_i64());
    let landed = sandbox.ends(0, "source show acme --json").await.json()["landed"].clone();
    let truth = sim.world().truth().unwrap();
    let commits: usize = truth.repositories.values().map(|it| it.shas.len()).sum();
    assert_eq!(landed["commits"], commits);

    sim.reset_report();
    let second = sandbox.ends(0, "sync start --group commits --source acme --wait --json").await.json();
    let report = sim.report();
    assert_eq!(second["state"], "completed");
    assert_eq!((number(&second, "records"), number(&second, "rowsWritten")), (0, 0), "{second}");
    // One for the list of repositories, and one for each one's branches.
    assert_eq!((report.requests, report.not_modified), (4, 4), "{report:?}");
    assert!(report.violations.is_empty());
    assert_eq!(sandbox.ends(0, "source show acme --json").await.json()["landed"], landed);
}

#[tokio::test]
async fn without_waiting_a_sync_is_only_entered() {
    let sim = simulate(world()).await;
    let sandbox = Sandbox::new().set("GITHUB_TOKEN", TOKEN);
    sandbox.add(&sim, "--repo acme/repo-1").await;
    let entered = sandbox.ends(0, "sync start --group commits --source acme --json").await.json();
    assert_eq!((&entered["state"], &entered["jobs"]), (&"running".into(), &1.into()));
    assert_eq!(sim.report().requests, 0);
    let status = sandbox.ends(0, "status --json").await.json();
    assert_eq!(
        (&status["sources"][0]["state"], &status["sources"][0]["canSyncNow"]),
        (&"syncing".into(), &false.into())
    );

    let refused = sandbox.ends(4, "sync start --group commits --source acme --json").await.json();
    assert_eq!(refused["decision"]["reason"], "already_syncing");
    assert_eq!((&refused["id"], &refused["state"]), (&entered["id"], &"running".into()), "the one that runs");
    assert!(refused["message"].as_str().unwrap().contains("--wait"), "{refused}");
    let text = sandbox.ends(4, "sync start --group commits --source acme").await.stdout;
    assert!(text.contains("refused: `acme` is being synced already"), "{text}");

    let joined = sandbox.ends(0, "sync start --group commits --source acme --wait --json").await.json();
    assert_eq!((&joined["id"], &joined["state"]), (&entered["id"], &"completed".into()));
    let status = sandbox.ends(0, "status --json").await.json();
    assert_eq!(
        (&status["sources"][0]["state"], &status["sources"][0]["canSyncNow"]),
        (&"idle".into(), &true.into())
    );
}

#[tokio::test]
async fn what_is_configured_decides() {
    let sim = simulate(world()).await;
    let sandbox = Sandbox::new().set("GITHUB_TOKEN", TOKEN);
    sandbox.add(&sim, "").await;
    sandbox.ends(0, "sync start --group commits --wait").await;
    let left = 5000 - sim.report().requests;

    sandbox.write("syncline.toml", "manual_cooldown = \"commits=1h\"\n");
    let refused = sandbox.ends(4, "sync start --group commits --wait --json").await.json();
    assert_eq!(refused["decision"]["reason"], "cooldown_active", "{refused}");
    let rest = number(&refused["decision"]["metadata"], "cooldownMs");
    assert!((3_000_000..=3_600_000).contains(&rest), "{refused}");
    sandbox.write("syncline.toml", "manual_cooldown = \"commits=1h\"\nstale_after = \"0s\"\n");
    sandbox.ends(0, "sync start --group commits --wait").await;

    sandbox.write("syncline.toml", "budget_floor = 5000\nbudget_floor_percent = 100\n");
    let refused = sandbox.ends(4, "sync start --group commits --wait --json").await.json();
    let numbers = &refused["decision"]["metadata"];
    assert_eq!(refused["decision"]["reason"], "rate_limited", "{refused}");
    assert_eq!(number(numbers, "requiredBudget"), 5000);
    assert!(number(numbers, "availableBudget") <= left, "{refused}");
    let status = sandbox.ends(0, "status --json").await.json();
    assert_eq!(status["sources"][0]["canSyncNow"], false, "{status}");
    sandbox.write("syncline.toml", "");
    sandbox.ends(0, "sync start --group commits --wait").await;
}

#[tokio::test]
async fn a_sync_can_be_cancelled_once() {
    let sim = simulate(world()).await;
    let sandbox = Sandbox::new().set("GITHUB_TOKEN", TOKEN);
    sandbox.add(&sim, "").await;
    let id = number(&sandbox.ends(0, "sync start --group commits --json").await.json(), "id");
    let cancelled = sandbox.ends(0, &format!("sync cancel {id} --json")).await.json();
    assert_eq!((&cancelled["cancelled"], &cancelled["state"]), (&true.into(), &"cancelled".into()));
    assert!(sandbox.ends(4, &format!("sync cancel {id}")).await.stdout.contains("had ended already"));
    assert_eq!(sandbox.ends(2, "sync cancel 99 --json").await.json()["error"]["code"], "unknown");
    sandbox.ends(0, "sync start --group commits --wait").await;
}

#[tokio::test]
async fn a_failed_sync_says_why_and_what_to_do() {
    let mut options = world();
    options.faults = "denied=acme/repo-2".parse().unwrap();
    let sim = simulate(options).await;
    let sandbox = Sandbox::new().set("GITHUB_TOKEN", TOKEN);
    sandbox.add(&sim, "--repo acme/repo-1 acme/repo-2").await;
    let partial = sandbox.ends(3, "sync start --group commits --wait --json").await.json();
    assert_eq!(partial["state"], "partial");
    assert_eq!(partial["errors"][0]["code"], "denied");
    assert!(
        partial["errors"][0]["message"].as_str().unwrap().contains("syncline source add github"),
        "{partial}"
    );
    let status = sandbox.ends(0, "status --json").await.json();
    assert_eq!(status["sources"][0]["state"], "idle", "a partial sync is idle with its error: {status}");
    assert_eq!(status["sources"][0]["lastSyncError"]["code"], "denied");

    sandbox.ends(0, "source add github --name acme --update --repo acme/no-such").await;
    let failed = sandbox.ends(1, "sync start --group commits --wait").await;
    assert!(
        failed.stdout.contains("✗ failed") && failed.stdout.contains("check the spelling"),
        "{}",
        failed.stdout
    );
}

#[tokio::test]
async fn a_wrong_key_loses_nothing() {
    let sim = simulate(world()).await;
    let sandbox = Sandbox::new().set("GITHUB_TOKEN", TOKEN);
    sandbox.add(&sim, "").await;
    let sandbox = sandbox.set("SYNCLINE_KEY", &"ab".repeat(32));
    let said = sandbox.ends(5, "sync start --group commits --wait --json").await.json();
    assert_eq!(said["errors"][0]["code"], "wrong_key", "{said}");
    let message = said["errors"][0]["message"].as_str().unwrap();
    assert!(message.contains("SYNCLINE_KEY") && message.contains("--update"), "{message}");
    assert!(!message.contains("put the old key back"), "the fix is named once: {message}");
    assert_eq!(sim.report().requests, 0, "nothing is asked without the credential");
    let said = sandbox.ends(5, "source check acme --json").await.json();
    assert_eq!(said["error"]["code"], "database");
    assert!(said["error"]["message"].as_str().unwrap().contains("put the old key back"), "{said}");
    // The old key is back: it goes on as if nothing had been.
    let key = std::fs::read_to_string(sandbox.path("syncline.key")).unwrap();
    let sandbox = sandbox.set("SYNCLINE_KEY", key.trim());
    assert_eq!(
        sandbox.ends(0, "sync start --group commits --wait --json").await.json()["state"],
        "completed"
    );
}

#[tokio::test]
async fn a_sync_is_shown_with_its_jobs() {
    let sim = simulate(world()).await;
    let sandbox = Sandbox::new().set("GITHUB_TOKEN", TOKEN);
    assert!(sandbox.ends(0, "sync status").await.stdout.contains("no sync yet"));
    assert!(
        sandbox.ends(2, "sync start --group commits --wait").await.stderr.contains("there is no source yet")
    );
    sandbox.add(&sim, "").await;
    let id = number(&sandbox.ends(0, "sync start --group commits --wait --json").await.json(), "id");
    let shown = sandbox.ends(0, &format!("sync status {id} --json")).await.json();
    let jobs = shown["jobList"].as_array().unwrap();
    assert_eq!(jobs.len(), 7);
    assert!(jobs.iter().any(|it| it["stream"] == "commits" && it["title"] == "acme/repo-3"), "{shown}");
    let job = number(&jobs[6], "id");
    assert_eq!(
        sandbox.ends(0, &format!("sync status --job-id {job} --json")).await.json()["id"],
        shown["id"]
    );
    let table = sandbox.ends(0, &format!("sync status {id}")).await.stdout;
    assert!(table.contains("✓ completed") && table.contains("acme/repo-3"), "{table}");
    let latest = sandbox.ends(0, "sync status --source acme").await.stdout;
    assert!(latest.contains("acme") && latest.contains("completed"), "{latest}");
    assert_eq!(sandbox.ends(2, "sync status 99 --json").await.json()["error"]["code"], "unknown");
}

#[tokio::test]
async fn several_sources_are_an_object_each() {
    let sim = simulate(world()).await;
    let sandbox = Sandbox::new().set("GITHUB_TOKEN", TOKEN);
    sandbox.add(&sim, "--repo acme/repo-1").await;
    let add = format!("source add github --name other --base-url {} --repo acme/no-such", sim.github_url());
    sandbox.ends(0, &add).await;
    // The worst of them decides how the program ends.
    let said = sandbox.ends(1, "sync start --group commits --wait --json").await;
    let states: Vec<(Value, Value)> = said
        .stdout
        .lines()
        .map(|it| serde_json::from_str::<Value>(it).unwrap())
        .map(|it| (it["source"].clone(), it["state"].clone()))
        .collect();
    assert_eq!(states, [("acme".into(), "completed".into()), ("other".into(), "failed".into())]);
    sandbox.ends(0, "sync start --group commits --source acme --wait").await;
}

/// A source with two groups of streams: what one of them may not do now is no failure of the other.
#[tokio::test]
async fn a_group_that_nobody_named_may_have_nothing_to_do() {
    let sim = simulate(world()).await;
    let sandbox = Sandbox::new().set("GITLAB_TOKEN", TOKEN);
    sandbox.ends(0, &format!("source add gitlab --name lab --base-url {}", sim.gitlab_url())).await;
    let groups = async |words: &str| -> Vec<String> {
        let said = sandbox.ends(0, &format!("sync start --source lab --wait {words}")).await;
        let lines = said.stdout.lines().map(|it| serde_json::from_str::<Value>(it).unwrap());
        lines.map(|it| it["group"].as_str().unwrap().to_owned()).collect()
    };
    // Which merge requests there are is known only when the branches are.
    assert_eq!(groups("--json").await, ["commits", "timeline"]);
    assert_eq!(groups("--json").await, ["commits"], "merge requests were read by hand just now");
    let said = sandbox.ends(0, "sync start --source lab --wait").await;
    assert!(said.stderr.contains("timeline of `lab` waits: "), "{}", said.stderr);
    let refused = sandbox.ends(4, "sync start --source lab --group timeline --wait --json").await.json();
    assert_eq!(refused["decision"]["reason"], "cooldown_active", "{refused}");
}

#[tokio::test]
async fn a_sync_that_meets_the_limit_says_when_it_goes_on() {
    let mut options = world();
    // Too few for the three repositories, and an hour until there are more.
    options.limits = "primary=5,window=3600".parse().unwrap();
    let sim = simulate(options).await;
    let sandbox = Sandbox::new().set("GITHUB_TOKEN", TOKEN);
    sandbox.add(&sim, "").await;
    let said = sandbox.ends(3, "sync start --group commits --wait").await;
    assert!(
        said.stdout.contains("! partial") && said.stdout.contains("wait for GitHub until"),
        "{}",
        said.stdout
    );
    assert!(!said.stdout.contains("asks `acme` to wait"), "waiting is no error: {}", said.stdout);
    let shown = sandbox.ends(0, "sync status 1 --json").await.json();
    assert!(number(&shown["jobsByState"], "scheduled") > 0, "{shown}");
    assert!(number(&shown, "blockedUntil") > number(&shown, "closedAt"), "{shown}");
    let status = sandbox.ends(0, "status").await.stdout;
    assert!(status.contains("blocked") && status.contains("waits for GitHub until"), "{status}");
    assert!(sim.report().requests <= 5 && sim.report().violations.is_empty(), "{:?}", sim.report());
}
