//! Tenants, tokens and schedules, as they are typed; and that a tenant sees its own.

use super::sandbox::{Sandbox, TOKEN, simulate, world};

#[tokio::test]
async fn a_tenant_sees_its_own_sources() {
    let sim = simulate(world()).await;
    let sandbox = Sandbox::new().set("GITHUB_TOKEN", TOKEN);
    sandbox.add(&sim, "--repo acme/repo-1").await;
    let made = sandbox.ends(0, "tenant create blue --json").await.json();
    assert_eq!((&made["name"], &made["revokedAt"]), (&"blue".into(), &serde_json::Value::Null));
    assert_eq!(sandbox.ends(4, "tenant create blue --json").await.json()["error"]["code"], "conflict");
    assert_eq!(sandbox.ends(2, "tenant create a/b --json").await.json()["error"]["code"], "invalid");
    // The same name for another tenant.
    sandbox.add(&sim, "--repo acme/repo-2 --tenant blue").await;

    let listed = sandbox.ends(0, "source list --tenant blue --json").await.json();
    let [source] = &listed["sources"].as_array().unwrap()[..] else { panic!("{listed}") };
    assert_eq!((&source["tenant"], &source["options"]["repos"][0]), (&"blue".into(), &"acme/repo-2".into()));
    assert_eq!(sandbox.ends(0, "source list --json").await.json()["sources"].as_array().unwrap().len(), 2);
    let shown = sandbox.ends(0, "source show acme --tenant default --json").await.json();
    assert_eq!(shown["options"]["repos"][0], "acme/repo-1");
    // A name that two tenants use says nothing without one of them.
    let said = sandbox.ends(4, "source show acme").await.stderr;
    assert!(said.contains("--tenant") && said.contains("default") && said.contains("blue"), "{said}");
    assert_eq!(
        sandbox.ends(2, "status --tenant nobody --json").await.json()["error"]["code"],
        "unknown",
        "an unknown tenant is not everybody"
    );

    let synced = sandbox.ends(0, "sync start --group commits --tenant blue --wait --json").await.json();
    assert_eq!(synced["state"], "completed");
    let theirs = format!("sync status {} --tenant default --json", synced["id"]);
    assert_eq!(sandbox.ends(2, &theirs).await.json()["error"]["code"], "unknown");
    let theirs = format!("sync cancel {} --tenant default --json", synced["id"]);
    assert_eq!(sandbox.ends(2, &theirs).await.json()["error"]["code"], "unknown");
    let none = sandbox.ends(0, "sync status --tenant default --json").await.json();
    assert_eq!(none["syncs"], serde_json::json!([]));
    let all = sandbox.ends(0, "status").await.stdout;
    assert!(all.contains("TENANT") && all.contains("blue") && all.contains("default"), "{all}");
    let own = sandbox.ends(0, "status --tenant blue --json").await.json();
    assert_eq!(own["sources"].as_array().unwrap().len(), 2, "one for each group of streams: {own:#}");
    assert_eq!((&own["sources"][0]["tenant"], &own["sources"][0]["state"]), (&"blue".into(), &"idle".into()));

    let refused = sandbox.ends(2, "tenant revoke blue").await.stderr;
    assert!(refused.contains("--yes") && refused.contains("its 1 source?"), "{refused}");
    let plan = async || sandbox.ends(0, "plan --tenant blue --json").await.json()["plans"].clone();
    assert!(plan().await[0]["dueAt"].is_i64() && plan().await[0]["endsAt"].is_i64(), "{:#}", plan().await);
    let revoked = sandbox.ends(0, "tenant revoke blue --yes --json").await.json();
    assert!(revoked["revokedAt"].is_i64(), "{revoked}");
    // What is never synced is not due, and ends at no time.
    let plans = plan().await;
    for it in plans.as_array().unwrap() {
        assert!(it["dueAt"].is_null() && it["endsAt"].is_null(), "{plans:#}");
    }
    let stands = sandbox.ends(0, "status --tenant blue --json").await.json();
    assert!(stands["sources"][0]["nextSyncAt"].is_null(), "{stands:#}");
    let text = sandbox.ends(0, "tenant list").await.stdout;
    assert!(text.contains("revoked just now") && text.contains("active"), "{text}");
    let refused = sandbox.ends(4, "sync start --group commits --tenant blue --json").await.json();
    assert_eq!(refused["decision"]["reason"], "no_owner");
    let line = format!(
        "source add github --name more --repo acme/repo-1 --base-url {} --tenant blue",
        sim.github_url()
    );
    assert!(sandbox.ends(4, &line).await.stderr.contains("revoked"));
    let kept = sandbox.ends(0, "source show acme --tenant blue --json").await.json();
    assert_eq!(kept["landed"]["github_repositories"], 1, "its rows stay");
}

#[tokio::test]
async fn a_token_is_shown_once() {
    let sandbox = Sandbox::new();
    let made = sandbox.ends(0, "token create --name ci --role operator --expires-in 90d --json").await.json();
    let token = made["token"].as_str().unwrap();
    assert!(token.starts_with("slt_") && token.len() == 68, "{made}");
    assert_eq!((&made["tenant"], &made["role"]), (&"default".into(), &"operator".into()));
    let days = (made["expiresAt"].as_i64().unwrap() - made["createdAt"].as_i64().unwrap()) / 86_400_000;
    assert_eq!(days, 90);
    let said = sandbox.ends(0, "token create --name laptop").await;
    assert!(said.stdout.starts_with("slt_") && said.stdout.lines().count() == 1, "{}", said.stdout);
    assert!(said.stderr.contains("only time") && !said.stderr.contains("slt_"), "{}", said.stderr);

    let listed = sandbox.ends(0, "token list --json").await;
    assert!(!listed.stdout.contains("slt_"), "{}", listed.stdout);
    assert_eq!(listed.json()["tokens"].as_array().unwrap().len(), 2);
    let bytes = sandbox.bytes();
    for secret in [token, said.stdout.trim()] {
        let secret = secret.trim_start_matches("slt_").as_bytes();
        assert!(!bytes.windows(secret.len()).any(|it| it == secret), "the token stands in a file");
    }
    let id = &made["id"];
    let revoked = sandbox.ends(0, &format!("token revoke {id} --json")).await.json();
    assert!(revoked["revokedAt"].is_i64(), "{revoked}");
    assert!(sandbox.ends(0, "token list").await.stdout.contains("revoked just now"));

    sandbox.ends(0, "tenant create blue").await;
    let cases = [
        (2, format!("token revoke {id} --tenant blue"), "unknown"),
        (2, "token revoke 99".to_owned(), "unknown"),
        (4, "token create --name laptop".to_owned(), "conflict"),
        (2, "token create --name a/b".to_owned(), "invalid"),
        (2, "token create --name x --tenant nobody".to_owned(), "unknown"),
        (2, "token create --name x --expires-in soon".to_owned(), "usage"),
        (2, "token create --name x --expires-in 0s".to_owned(), "invalid"),
        (2, "token create --name x --role king".to_owned(), "usage"),
    ];
    for (code, line, expected) in cases {
        let said = sandbox.ends(code, &format!("{line} --json")).await;
        assert_eq!(said.json()["error"]["code"], expected, "{line}: {said:#?}");
    }
}

#[tokio::test]
async fn a_source_has_a_schedule_of_its_own() {
    let sim = simulate(world()).await;
    let sandbox = Sandbox::new().set("GITHUB_TOKEN", TOKEN).set("SYNC_INTERVAL_COMMITS", "1h30m");
    sandbox.add(&sim, "--repo acme/repo-1").await;
    let shown = sandbox.ends(0, "source schedule acme --json").await.json();
    assert_eq!(shown["schedules"][0]["everyMs"], 5_400_000, "{shown}");
    assert_eq!(
        (&shown["schedules"][0]["own"], &shown["schedules"][0]["skipped"]),
        (&false.into(), &0.into())
    );
    assert!(sandbox.ends(0, "source schedule acme").await.stdout.contains("1 h 30 min (default)"));
    let set = sandbox.ends(0, "source schedule acme --group commits --every 10m --json").await.json();
    assert_eq!(
        (&set["schedules"][0]["everyMs"], &set["schedules"][0]["own"]),
        (&600_000.into(), &true.into())
    );
    let status = sandbox.ends(0, "status --json").await.json();
    assert!(status["sources"][0]["nextSyncAt"].is_i64(), "{status}");
    let off = sandbox.ends(0, "source schedule acme --off --json").await.json();
    assert_eq!(
        (&off["schedules"][0]["everyMs"], &off["schedules"][0]["nextAt"]),
        (&serde_json::Value::Null, &serde_json::Value::Null)
    );
    assert!(sandbox.ends(0, "status --json").await.json()["sources"][0]["nextSyncAt"].is_null());
    let back = sandbox.ends(0, "source schedule acme --default --json").await.json();
    assert_eq!(
        (&back["schedules"][0]["everyMs"], &back["schedules"][0]["own"]),
        (&5_400_000.into(), &false.into())
    );
    let cases = [
        ("--every 0s", "usage"),
        ("--every -5m", "usage"),
        ("--every 5", "usage"),
        ("--group weather", "unknown"),
        ("--off --default", "usage"),
    ];
    for (flags, expected) in cases {
        let said = sandbox.ends(2, &format!("source schedule acme {flags} --json")).await;
        assert_eq!(said.json()["error"]["code"], expected, "{flags}");
    }
    let disabled = sandbox.set("SYNC_ENABLED", "0");
    let status = disabled.ends(0, "status --json").await.json();
    assert!(status["sources"][0]["nextSyncAt"].is_null(), "nothing comes by itself: {status}");
    disabled.ends(0, "sync start --group commits --wait").await;
}
