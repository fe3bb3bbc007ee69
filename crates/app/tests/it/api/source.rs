//! Sources and schedules over HTTP: what is added is shown, changed and removed.

use serde_json::json;

use super::{Stage, add, source_of, synced, world};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_is_added_shown_changed_and_removed() {
    let stage = Stage::set().await;
    let sim = world().await;
    let admin = stage.server.admin();
    let added = admin.post("/api/v1/sources", &source_of(&sim, "acme")).await;
    let place = added.header("location").unwrap().to_owned();
    let added = added.expect(201);
    assert_eq!(added["credential"], true, "{added:#}");
    assert_eq!(admin.get(&place).await.expect(200), added);
    admin.post("/api/v1/sources", &source_of(&sim, "acme")).await.expect_problem(409, "conflict");
    let changed = admin.ask("PATCH", &place, Some(&json!({ "enabled": false }))).await.expect(200);
    assert_eq!(changed["enabled"], false, "{changed:#}");
    assert_eq!(changed["options"], added["options"], "{changed:#}");
    // Switched off, it is not synced.
    let asked = admin.post("/api/v1/syncs", &json!({ "source": added["id"] })).await;
    let problem = asked.expect_problem(409, "disabled");
    assert_eq!(problem["decision"]["action"], "block", "{problem:#}");
    // A credential does not go along to another server.
    let elsewhere = json!({ "baseUrl": "https://example.com/api/v3" });
    admin.ask("PATCH", &place, Some(&elsewhere)).await.expect_problem(422, "invalid");
    let streams = admin.get(&format!("{place}/streams")).await.expect(200);
    let groups: Vec<_> =
        streams["streams"].as_array().unwrap().iter().map(|it| it["group"].clone()).collect();
    assert!(groups.contains(&json!("commits")), "{streams:#}");
    assert_eq!(admin.delete(&place).await.status, 204);
    admin.get(&place).await.expect_problem(404, "unknown");
    assert_eq!(admin.get("/api/v1/sources").await.expect(200)["sources"], json!([]));
    stage.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_source_needs_is_said() {
    let stage = Stage::set().await;
    let admin = stage.server.admin();
    for (body, code) in [
        (json!({ "provider": "sourceforge", "name": "a" }), (404, "unknown")),
        (json!({ "provider": "github", "name": "a b" }), (422, "invalid")),
        (json!({ "provider": "github", "name": "a", "baseUrl": "ftp://example.com" }), (422, "invalid")),
        (json!({ "provider": "github", "name": "a", "options": { "repos": "?" } }), (422, "invalid")),
        (json!({ "provider": "github", "name": "a", "credential": "" }), (422, "invalid")),
        (json!({ "provider": "github", "name": "a", "credential": "a\nb" }), (422, "invalid")),
    ] {
        admin.post("/api/v1/sources", &body).await.expect_problem(code.0, code.1);
    }
    stage.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_of_its_own_wins() {
    let stage = Stage::set_with(&[("SYNC_ENABLED", "true"), ("SYNC_INTERVAL_COMMITS", "6h")]).await;
    let sim = world().await;
    let admin = stage.server.admin();
    let source = add(&admin, &sim, "acme").await;
    let path = format!("/api/v1/sources/{source}/schedules/commits");
    let set = async |every: &str| admin.ask("PUT", &path, Some(&json!({ "every": every }))).await;
    let listed = admin.get(&format!("/api/v1/schedules?source={source}")).await.expect(200);
    let row = listed["schedules"].as_array().unwrap().iter().find(|it| it["group"] == "commits").unwrap();
    assert_eq!((&row["own"], &row["everyMs"]), (&json!("default"), &json!(6 * 3_600_000)), "{listed:#}");
    let own = set("45m").await.expect(200);
    assert_eq!((&own["own"], &own["everyMs"]), (&json!("own"), &json!(45 * 60_000)), "{own:#}");
    let off = set("off").await.expect(200);
    assert_eq!((&off["own"], &off["everyMs"], &off["nextAt"]), (&json!("off"), &json!(null), &json!(null)));
    assert_eq!(set("default").await.expect(200)["everyMs"], 6 * 3_600_000);
    set("0s").await.expect_problem(422, "invalid");
    set("soon").await.expect_problem(422, "invalid");
    let unknown = format!("/api/v1/sources/{source}/schedules/weather");
    admin.ask("PUT", &unknown, Some(&json!({ "every": "1h" }))).await.expect_problem(404, "unknown");
    stage.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_landed_is_read_in_pages_and_by_column() {
    let stage = Stage::set().await;
    let sim = world().await;
    let admin = stage.server.admin();
    let source = add(&admin, &sim, "acme").await;
    synced(&admin, source).await;
    let tables = admin.get("/api/v1/tables").await.expect(200);
    assert!(tables["tables"].as_array().unwrap().iter().any(|it| it["name"] == "commits"), "{tables:#}");
    let landed = stage.scene.database.number("select count(*) from commits").await;
    let mut path = "/api/v1/records/commits?limit=7".to_owned();
    let mut shas = Vec::new();
    loop {
        let page = admin.get(&path).await.expect(200);
        let rows = page["records"].as_array().unwrap();
        shas.extend(rows.iter().map(|it| it["sha"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        let next: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
        path = format!("/api/v1/records/commits?limit=7&after={next}");
    }
    assert_eq!(i64::try_from(shas.len()).unwrap(), landed);
    let one =
        admin.get(&format!("/api/v1/records/commits?sha={}&source={source}", shas[3])).await.expect(200);
    assert_eq!(one["records"].as_array().unwrap().len(), 1, "{one:#}");
    assert_eq!(one["records"][0]["source_id"], source, "{one:#}");
    admin.get("/api/v1/records/commits?after=nonsense").await.expect_problem(422, "invalid");
    let partitions = admin.get(&format!("/api/v1/sources/{source}/partitions")).await.expect(200);
    assert!(
        partitions["partitions"].as_array().unwrap().iter().any(|it| it["isValid"] == true),
        "{partitions:#}"
    );
    stage.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_comes_in_pages_by_name() {
    let stage = Stage::set().await;
    let sim = world().await;
    let admin = stage.server.admin();
    for name in ["delta", "acme", "zeta"] {
        add(&admin, &sim, name).await;
    }
    let names = |page: &serde_json::Value| {
        let sources = page["sources"].as_array().unwrap().clone();
        sources.iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let first = admin.get("/api/v1/status?limit=2").await.expect(200);
    assert_eq!(names(&first), ["acme", "delta"]);
    let next = first["next"].as_str().unwrap();
    let second = admin.get(&format!("/api/v1/status?limit=2&after={next}")).await.expect(200);
    assert_eq!((names(&second), &second["next"]), (vec!["zeta".to_owned()], &json!(null)));
    let whole = admin.get("/api/v1/status").await.expect(200);
    assert_eq!((names(&whole).len(), &whole["next"]), (3, &json!(null)));
    for wrong in ["after=acme", "after=one:acme", "limit=0", "limit=501"] {
        admin.get(&format!("/api/v1/status?{wrong}")).await.expect_problem(422, "invalid");
    }
    stage.server.stop().await;
}
