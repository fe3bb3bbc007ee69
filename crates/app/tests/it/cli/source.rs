//! Sources: added, shown, changed, checked and removed.

use super::sandbox::{Sandbox, TOKEN, simulate, world};

#[tokio::test]
async fn a_source_lives() {
    let sim = simulate(world()).await;
    let sandbox = Sandbox::new().set("GITHUB_TOKEN", TOKEN);
    let url = sim.github_url();
    let said = sandbox
        .ends(
            0,
            &format!("source add github --name acme --base-url {url} --repo acme/repo-1 acme/repo-2 --json"),
        )
        .await;
    let added = said.json();
    assert_eq!(added["name"], "acme");
    assert_eq!(added["baseUrl"], url.as_str());
    assert_eq!(added["options"]["repos"], serde_json::json!(["acme/repo-1", "acme/repo-2"]));
    assert_eq!((&added["credential"], &added["added"]), (&true.into(), &true.into()));

    let said = sandbox.ends(4, &format!("source add github --name acme --base-url {url} --json")).await;
    assert_eq!(said.json()["error"]["code"], "conflict");
    assert!(said.json()["error"]["message"].as_str().unwrap().contains("--update"));

    let listed = sandbox.ends(0, "source list --json").await.json();
    assert_eq!(listed["sources"].as_array().unwrap().len(), 1);
    let table = sandbox.ends(0, "source list").await.stdout;
    assert!(
        table.contains("acme/repo-1, acme/repo-2") && table.contains("GitHub") && table.contains("set"),
        "{table}"
    );

    let line = "source add github --name acme --update --repo acme/repo-3 --json";
    let updated = sandbox.ends(0, line).await.json();
    assert_eq!(updated["options"]["repos"], serde_json::json!(["acme/repo-3"]));
    assert_eq!(updated["credential"], true, "what is not said stays as it is");
    assert_eq!(updated["baseUrl"], url.as_str());

    sandbox.ends(0, "sync start --group commits --source acme --wait").await;
    let shown = sandbox.ends(0, "source show acme --json").await.json();
    assert_eq!(shown["landed"]["github_repositories"], 1);
    assert_eq!(shown["lastSync"]["state"], "completed");
    let text = sandbox.ends(0, "source show acme").await.stdout;
    assert!(text.contains("commit_parents") && text.contains("acme/repo-3"), "{text}");

    let refused = sandbox.ends(2, "source remove acme").await;
    assert!(refused.stderr.contains("--yes") && refused.stderr.contains("landed rows"), "{}", refused.stderr);
    let removed = sandbox.ends(0, "source remove acme --yes --json").await.json();
    assert_eq!((&removed["removed"], &removed["purged"]), (&"acme".into(), &false.into()));
    assert_eq!(sandbox.ends(2, "source show acme --json").await.json()["error"]["code"], "unknown");
    assert_eq!(sandbox.ends(0, "source list --json").await.json()["sources"].as_array().unwrap().len(), 0);
}

#[tokio::test]
async fn a_credential_comes_from_the_environment_only() {
    let sim = simulate(world()).await;
    let add = format!("source add github --base-url {} --name", sim.github_url());
    let bare = Sandbox::new();
    // Neither a credential nor a name of anything to read.
    let said = bare.ends(2, &format!("{add} a")).await;
    assert!(said.stderr.contains("export GITHUB_TOKEN"), "{}", said.stderr);
    // A named variable that is not there.
    for environment in [None, Some("")] {
        let sandbox = environment.iter().fold(Sandbox::new(), |it, value| it.set("MINE", value));
        let said = sandbox.ends(2, &format!("{add} a --repo acme/repo-1 --token-env MINE")).await;
        assert!(said.stderr.contains("the variable MINE is unset or empty"), "{}", said.stderr);
        assert!(!sandbox.path("syncline.db").exists(), "nothing is made before that is known");
    }
    // Without one, what is named may be read, and the small budget is told.
    let said = bare.ends(0, &format!("{add} a --repo acme/repo-1")).await;
    assert!(said.stderr.contains("60 an hour"), "{}", said.stderr);
    assert_eq!(bare.ends(0, "source show a --json").await.json()["credential"], false);
    // It can be given later.
    let bare = bare.set("MINE", TOKEN);
    bare.ends(0, "source add github --name a --update --token-env MINE").await;
    assert_eq!(bare.ends(0, "source show a --json").await.json()["credential"], true);
    // It is not taken as an argument.
    let said = bare.ends(2, &format!("{add} b --token {TOKEN}")).await;
    assert!(said.stderr.contains("--token-env"), "{}", said.stderr);
}

#[tokio::test]
async fn a_source_is_switched_off_and_on() {
    let sim = simulate(world()).await;
    let sandbox = Sandbox::new().set("GITHUB_TOKEN", TOKEN);
    sandbox.add(&sim, "--repo acme/repo-1").await;
    let off = sandbox.ends(0, "source disable acme --json").await.json();
    assert_eq!((&off["name"], &off["enabled"]), (&"acme".into(), &false.into()));
    let refused = sandbox.ends(4, "sync start --group commits --source acme --wait --json").await.json();
    assert_eq!((&refused["state"], &refused["decision"]["reason"]), (&"refused".into(), &"disabled".into()));
    assert!(refused["message"].as_str().unwrap().contains("syncline source enable acme"), "{refused}");
    assert_eq!(sim.report().requests, 0);
    for (line, shown) in [("source list", "off"), ("source show acme", "off"), ("status", "off")] {
        let said = sandbox.ends(0, line).await.stdout;
        assert!(said.contains(shown), "{line}: {said}");
    }
    let status = sandbox.ends(0, "status --json").await.json();
    assert_eq!(
        (&status["sources"][0]["enabled"], &status["sources"][0]["canSyncNow"]),
        (&false.into(), &false.into())
    );
    let on = sandbox.ends(0, "source enable acme").await.stdout;
    assert!(on.contains("syncline sync start --source acme"), "{on}");
    assert_eq!(sandbox.ends(0, "source list --json").await.json()["sources"][0]["enabled"], true);
    sandbox.ends(0, "sync start --group commits --source acme --wait").await;
    assert_eq!(sandbox.ends(2, "source disable nobody --json").await.json()["error"]["code"], "unknown");
}

#[tokio::test]
async fn a_credential_and_a_choice_can_be_taken_back() {
    let sim = simulate(world()).await;
    let sandbox = Sandbox::new().set("GITHUB_TOKEN", TOKEN);
    let update = "source add github --name acme --update --json";
    sandbox.add(&sim, "--repo acme/repo-1").await;
    sandbox.ends(0, "sync start --group commits --wait").await;
    // All that the credential sees, and back to one.
    let all = sandbox.ends(0, &format!("{update} --all")).await.json();
    assert_eq!(all["options"]["repos"], serde_json::json!([]));
    assert!(sandbox.ends(0, "source show acme").await.stdout.contains("all that the credential sees"));
    sandbox.ends(0, "sync start --group commits --wait").await;
    let landed = async || sandbox.ends(0, "source show acme --json").await.json()["landed"].clone();
    assert_eq!(landed().await["github_repositories"], 3);
    // What nobody may see without a credential cannot be read without one.
    let said = sandbox.ends(2, &format!("{update} --no-token")).await.json();
    assert!(said["error"]["message"].as_str().unwrap().contains("no credential and names nothing"), "{said}");
    let said = sandbox.ends(2, &format!("{update} --all --repo acme/repo-1")).await;
    assert!(said.stdout.contains("cannot be used with"), "{said:?}");
    let bare = sandbox.ends(0, &format!("{update} --no-token --repo acme/repo-2")).await.json();
    assert_eq!((&bare["credential"], &bare["options"]["repos"][0]), (&false.into(), &"acme/repo-2".into()));
    assert!(!String::from_utf8_lossy(&sandbox.bytes()).contains(TOKEN));
    let said = sandbox.ends(2, "source add github --name other --no-token --repo acme/repo-1").await;
    assert!(said.stderr.contains("--update"), "{}", said.stderr);
}

#[tokio::test]
async fn a_name_used_again_elsewhere_is_another_source() {
    let (sim, elsewhere) = (simulate(world()).await, simulate(world()).await);
    let sandbox = Sandbox::new().set("GITHUB_TOKEN", TOKEN);
    sandbox.add(&sim, "--repo acme/repo-1").await;
    sandbox.ends(0, "sync start --group commits --wait").await;
    let shown = async || sandbox.ends(0, "source show acme --json").await.json();
    let first = shown().await;
    sandbox.ends(0, "source remove acme --yes").await;
    sandbox.add(&sim, "--repo acme/repo-1").await;
    assert_eq!((&shown().await["id"], &shown().await["landed"]), (&first["id"], &first["landed"]));
    sandbox.ends(0, "source remove acme --yes").await;
    sandbox.add(&elsewhere, "--repo acme/repo-1").await;
    let other = shown().await;
    assert_ne!(other["id"], first["id"]);
    assert_eq!(other["landed"]["commits"], 0);
}

#[tokio::test]
async fn bad_values_are_refused_with_what_is_allowed() {
    let sandbox = Sandbox::new().set("GITHUB_TOKEN", TOKEN);
    let cases = [
        ("--name acme --base-url http://example.com", "not encrypted"),
        ("--name acme --base-url https://169.254.169.254", "169.254.169.254"),
        ("--name acme --base-url nonsense", "is not a URL"),
        ("--name acme --repo nonsense", "OWNER/NAME"),
        ("--name a/b", "is not a name"),
    ];
    for (flags, expected) in cases {
        let said = sandbox.ends(2, &format!("source add github {flags} --json")).await;
        let message = said.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains(expected), "{flags}: {message}");
    }
}

#[tokio::test]
async fn a_check_says_what_can_be_read() {
    let mut options = world();
    options.faults = "denied=acme/repo-2".parse().unwrap();
    let sim = simulate(options).await;
    let sandbox = Sandbox::new().set("GITHUB_TOKEN", TOKEN);
    sandbox.add(&sim, "--repo acme/repo-1").await;
    let checked = sandbox.ends(0, "source check acme --json").await.json();
    assert_eq!((&checked["ok"], &checked["checked"][0]["readable"]), (&true.into(), &true.into()));
    sandbox
        .ends(0, "source add github --name acme --update --repo acme/repo-1 acme/repo-2 acme/no-such")
        .await;
    let said = sandbox.ends(1, "source check acme --json").await.json();
    let codes: Vec<_> = said["checked"].as_array().unwrap().iter().map(|it| it["code"].as_str()).collect();
    assert_eq!(codes, [None, Some("denied"), Some("gone")], "{said}");
    let text = sandbox.ends(1, "source check acme").await.stdout;
    assert!(text.contains("✓ readable") && text.contains("may not read this"), "{text}");
    assert_eq!(sandbox.ends(0, "sync status --json").await.json()["syncs"].as_array().unwrap().len(), 0);
}

#[tokio::test]
async fn a_source_at_jira_says_what_it_lacks() {
    let sim = simulate(world()).await;
    let bare = Sandbox::new();
    let said = bare.ends(2, "source add jira --name acme --base-url https://jira.acme.example").await;
    assert!(said.stderr.contains("JIRA_TOKEN") && said.stderr.contains("--token-env"), "{}", said.stderr);

    let sandbox = Sandbox::new().set("JIRA_TOKEN", TOKEN);
    for (line, fix) in [
        ("source add jira --name acme", "--base-url https://"),
        ("source add jira --name acme --base-url https://acme.atlassian.net", "--email ME@EXAMPLE.COM"),
        ("source add jira --name acme --base-url https://jira.acme.example --email me", "ME@EXAMPLE.COM"),
        ("source add jira --name acme --base-url https://jira.acme.example --project pay", "such as PAY"),
        ("source add jira --name acme --base-url https://jira.acme.example --board PAY", "boards/7"),
    ] {
        let said = sandbox.ends(2, line).await;
        assert!(said.stderr.contains(fix) && !said.stderr.contains(TOKEN), "{line}: {}", said.stderr);
    }

    let url = sim.jira_cloud_url();
    let add =
        format!("source add jira --name acme --base-url {url} --email me@acme.example --project PAY NOPE");
    sandbox.ends(0, &add).await;
    let checked = sandbox.ends(1, "source check acme --json").await.json();
    let codes: Vec<_> = checked["checked"].as_array().unwrap().iter().map(|it| it["code"].as_str()).collect();
    assert_eq!(codes, [None, Some("gone")], "PAY is there, NOPE is not");
    sandbox.ends(0, "source add jira --name acme --update --project PAY").await;
    let shown = sandbox.ends(0, "source show acme --json").await.json();
    assert_eq!(shown["options"], serde_json::json!({ "email": "me@acme.example", "projects": ["PAY"] }));
    sandbox.ends(0, "sync start --source acme --group jira --wait").await;
    let shown = sandbox.ends(0, "source show acme --json").await.json();
    assert!(shown["landed"]["jira_cards"].as_i64().unwrap() > 0, "{shown:#}");

    // Cloud answers a wrong token as it answers anybody, with empty lists.
    let wrong = Sandbox::new().set("JIRA_TOKEN", "bad-token");
    wrong.ends(0, &format!("source add jira --name acme --base-url {url} --email me@acme.example")).await;
    let checked = wrong.ends(1, "source check acme").await;
    assert!(checked.stdout.contains("make a new token"), "{}", checked.stdout);
}
