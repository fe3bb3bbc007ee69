//! Who may do what: tokens, roles, and that another tenant's things do not exist.
//!
//! The tables are held against the OpenAPI document, so that an endpoint without its line fails.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Stage, add, synced, world};

/// Every endpoint with the role that it needs. `{…}` stand for things of the tenant `default`.
const ENDPOINTS: &[(&str, &str, &str)] = &[
    ("GET", "/api/health", "nobody"),
    ("GET", "/api/openapi.json", "viewer"),
    ("GET", "/api/sync/status", "viewer"),
    ("POST", "/api/sync/commits", "operator"),
    ("POST", "/api/sync/jira", "operator"),
    ("GET", "/api/v1/budgets", "viewer"),
    ("GET", "/api/v1/censuses", "viewer"),
    ("GET", "/api/v1/censuses/{census}", "viewer"),
    ("POST", "/api/v1/censuses/{census}/approve", "operator"),
    ("POST", "/api/v1/censuses/{census}/undo", "operator"),
    ("GET", "/api/v1/chores", "viewer"),
    ("GET", "/api/v1/events", "viewer"),
    ("GET", "/api/v1/events/stream", "viewer"),
    ("GET", "/api/v1/jobs", "viewer"),
    ("GET", "/api/v1/plan", "viewer"),
    ("GET", "/api/v1/records/{table}", "viewer"),
    ("GET", "/api/v1/schedules", "viewer"),
    ("GET", "/api/v1/sources", "viewer"),
    ("POST", "/api/v1/sources", "admin"),
    ("GET", "/api/v1/sources/{source}", "viewer"),
    ("PATCH", "/api/v1/sources/{source}", "admin"),
    ("DELETE", "/api/v1/sources/{source}", "admin"),
    ("POST", "/api/v1/sources/{source}/census", "operator"),
    ("GET", "/api/v1/sources/{source}/deliveries", "viewer"),
    ("GET", "/api/v1/sources/{source}/partitions", "viewer"),
    ("GET", "/api/v1/sources/{source}/plan", "viewer"),
    ("PUT", "/api/v1/sources/{source}/schedules/{group}", "admin"),
    ("GET", "/api/v1/sources/{source}/status", "viewer"),
    ("GET", "/api/v1/sources/{source}/streams", "viewer"),
    ("GET", "/api/v1/sources/{source}/webhook", "viewer"),
    ("POST", "/api/v1/sources/{source}/webhook", "admin"),
    ("GET", "/api/v1/sources/{source}/why", "viewer"),
    ("GET", "/api/v1/status", "viewer"),
    ("GET", "/api/v1/syncs", "viewer"),
    ("POST", "/api/v1/syncs", "operator"),
    ("GET", "/api/v1/syncs/{sync}", "viewer"),
    ("POST", "/api/v1/syncs/{sync}/cancel", "operator"),
    ("GET", "/api/v1/tables", "viewer"),
    ("GET", "/api/v1/tenants", "viewer"),
    ("POST", "/api/v1/tenants", "admin"),
    ("GET", "/api/v1/tenants/{tenant}", "viewer"),
    ("DELETE", "/api/v1/tenants/{tenant}", "admin"),
    ("GET", "/api/v1/tokens", "admin"),
    ("POST", "/api/v1/tokens", "admin"),
    ("DELETE", "/api/v1/tokens/{token}", "admin"),
    ("POST", "/api/webhooks/{source}", "nobody"),
    ("GET", "/metrics", "viewer"),
];

/// Roles, each of which may do what those before it may.
const ROLES: [&str; 4] = ["nobody", "viewer", "operator", "admin"];

fn rank(role: &str) -> usize {
    ROLES.iter().position(|it| *it == role).unwrap()
}

/// Things of the tenant `default`, by the words in the paths.
struct Things {
    source: i64,
    sync: i64,
    tenant: i64,
    token: i64,
}

impl Things {
    async fn make(stage: &Stage) -> Self {
        let sim = world().await;
        let admin = stage.server.admin();
        let source = add(&admin, &sim, "acme").await;
        let sync = synced(&admin, source).await;
        let tenants = admin.get("/api/v1/tenants").await.expect(200);
        let number = |list: &Value, name: &str| {
            let found = list.as_array().unwrap().iter().find(|it| it["name"] == name);
            found.unwrap_or_else(|| panic!("no {name} in {list:#}"))["id"].as_i64().unwrap()
        };
        let tenant = number(&tenants["tenants"], "default");
        let spare = json!({ "name": "spare", "role": "viewer" });
        let token = admin.post("/api/v1/tokens", &spare).await.expect(201)["info"]["id"].as_i64().unwrap();
        Self { source, sync, tenant, token }
    }

    fn fill(&self, path: &str) -> String {
        path.replace("{source}", &self.source.to_string())
            .replace("{sync}", &self.sync.to_string())
            .replace("{tenant}", &self.tenant.to_string())
            .replace("{token}", &self.token.to_string())
            .replace("{group}", "commits")
            .replace("{table}", "commits")
    }

    /// A body that is right as far as its form goes.
    fn body(&self, method: &str, path: &str) -> Option<Value> {
        match (method, path) {
            ("POST", "/api/v1/sources") => Some(json!({ "provider": "github", "name": "intruder" })),
            ("PATCH", _) => Some(json!({ "enabled": false })),
            ("PUT", _) => Some(json!({ "every": "1h" })),
            ("POST", "/api/v1/syncs") => Some(json!({ "source": self.source })),
            ("POST", "/api/v1/tenants") => Some(json!({ "name": "intruder" })),
            ("POST", "/api/v1/tokens") => {
                Some(json!({ "name": "intruder", "role": "viewer", "tenant": self.tenant }))
            }
            _ => None,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_endpoint_stands_in_the_table() {
    let stage = Stage::set().await;
    let mut described = BTreeSet::new();
    for (path, item) in stage.server.document()["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys().filter(|it| *it != "parameters") {
            described.insert((method.to_uppercase(), path.clone()));
        }
    }
    let listed: BTreeSet<_> =
        ENDPOINTS.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned())).collect();
    assert_eq!(listed, described);
    stage.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_let_in_without_a_token_and_no_role_goes_beyond_itself() {
    let stage = Stage::set().await;
    let things = Things::make(&stage).await;
    let viewer = stage.caller("default", "viewer").await;
    let operator = stage.caller("default", "operator").await;
    let askers = [("nobody", stage.server.admin().stranger()), ("viewer", viewer), ("operator", operator)];
    for (method, path, needs) in ENDPOINTS {
        for (role, client) in askers.iter().filter(|(role, _)| rank(role) < rank(needs)) {
            let body = things.body(method, path);
            let answer = client.ask(method, &things.fill(path), body.as_ref()).await;
            let expected = if *role == "nobody" { (401, "unauthorized") } else { (403, "forbidden") };
            answer.expect_problem(expected.0, expected.1);
        }
    }
    stage.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_tenants_things_do_not_exist() {
    let stage = Stage::set().await;
    let things = Things::make(&stage).await;
    let intruder = stage.caller("other", "admin").await;
    let before = stage.server.admin().get("/api/v1/sources").await.expect(200);
    for (method, path, _) in ENDPOINTS {
        let body = things.body(method, path);
        // Who delivers has no tenant: a signature is asked for, and its source is nobody's secret.
        let names_one = !path.starts_with("/api/webhooks/") && path.contains("{source}")
            || path.contains("{sync}")
            || path.contains("{tenant}")
            || path.contains("{token}")
            || body.as_ref().is_some_and(|it| it.get("source").is_some() || it.get("tenant").is_some());
        if names_one {
            let answer = intruder.ask(method, &things.fill(path), body.as_ref()).await;
            answer.expect_problem(404, "unknown");
        }
    }
    for query in ["syncs?source=", "schedules?source=", "budgets?source=", "records/commits?source="] {
        let path = format!("/api/v1/{query}{}", things.source);
        intruder.get(&path).await.expect_problem(404, "unknown");
    }
    let sync = format!("/api/v1/jobs?sync={}", things.sync);
    intruder.get(&sync).await.expect_problem(404, "unknown");
    let tenant = format!("/api/v1/tokens?tenant={}", things.tenant);
    intruder.get(&tenant).await.expect_problem(404, "unknown");
    // Lists are there, and hold nothing of the other.
    for (path, list) in [
        ("/api/v1/sources", "sources"),
        ("/api/v1/status", "sources"),
        ("/api/v1/budgets", "budgets"),
        ("/api/v1/schedules", "schedules"),
        ("/api/v1/syncs", "syncs"),
        ("/api/v1/jobs", "jobs"),
        ("/api/v1/events", "events"),
        ("/api/v1/records/commits", "records"),
    ] {
        assert_eq!(intruder.get(path).await.expect(200)[list], json!([]), "{path}");
        assert_ne!(
            stage.server.admin().get(path).await.expect(200)[list],
            json!([]),
            "{path} shows nothing at all"
        );
    }
    let tenants = intruder.get("/api/v1/tenants").await.expect(200);
    assert_eq!(tenants["tenants"].as_array().unwrap().len(), 1, "{tenants:#}");
    intruder.get("/metrics").await.expect_problem(403, "forbidden");
    intruder.get("/api/v1/chores").await.expect_problem(403, "forbidden");
    intruder.post("/api/v1/tenants", &json!({ "name": "more" })).await.expect_problem(403, "forbidden");
    // Nothing was changed by all that.
    assert_eq!(stage.server.admin().get("/api/v1/sources").await.expect(200), before);
    stage.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_works_until_it_is_revoked_and_is_shown_once() {
    let stage = Stage::set().await;
    let admin = stage.server.admin();
    let new = json!({ "name": "laptop", "role": "operator", "expiresInMs": 3_600_000 });
    let made = admin.post("/api/v1/tokens", &new).await.expect(201);
    let text = made["token"].as_str().unwrap();
    assert!(text.starts_with("slt_"), "{made:#}");
    let laptop = stage.server.client(text);
    laptop.get("/api/v1/sources").await.expect(200);
    let listed = admin.get("/api/v1/tokens").await;
    assert!(!listed.text.contains(text), "{}", listed.text);
    let id = &made["info"]["id"];
    let revoked = admin.delete(&format!("/api/v1/tokens/{id}")).await.expect(200);
    assert!(revoked["revokedAt"].is_i64(), "{revoked:#}");
    laptop.get("/api/v1/sources").await.expect_problem(401, "unauthorized");
    for wrong in [json!({ "name": "x", "role": "root" }), json!({ "name": "x y", "role": "viewer" })] {
        admin.post("/api/v1/tokens", &wrong).await.expect_problem(422, "invalid");
    }
    stage.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_is_made_and_revoked_by_those_who_run_the_server() {
    let stage = Stage::set().await;
    let admin = stage.server.admin();
    let tenant = admin.post("/api/v1/tenants", &json!({ "name": "third" })).await;
    let place = tenant.header("location").unwrap().to_owned();
    let tenant = tenant.expect(201);
    admin.post("/api/v1/tenants", &json!({ "name": "third" })).await.expect_problem(409, "conflict");
    let new = json!({ "name": "first", "role": "admin", "tenant": tenant["id"] });
    let made = admin.post("/api/v1/tokens", &new).await.expect(201);
    let theirs = stage.server.client(made["token"].as_str().unwrap());
    theirs.get(&place).await.expect(200);
    assert_eq!(theirs.get("/api/v1/tenants").await.expect(200)["tenants"][0]["name"], "third");
    admin.delete(&place).await.expect(200);
    theirs.get(&place).await.expect_problem(401, "unauthorized");
    stage.server.stop().await;
}
