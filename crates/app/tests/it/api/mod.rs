//! The API as its clients see it: a real process, real HTTP, and every answer held against the OpenAPI document.
//!
//! It must never look into the server but through what a client, an operator or a database shows.

mod access;
mod around;
mod budget;
pub(crate) mod event;
mod examples;
mod health;
mod loops;
mod secret;
mod shutdown;
mod source;
mod sync;
mod trace;
mod webhook;

use serde_json::{Value, json};
use sim::{Options, Sim, WorldSource};

use crate::support::{Client, Database, Scene, Server, make_token, started};

/// A server over an empty database, with two tenants.
struct Stage {
    scene: Scene,
    server: Server,
}

impl Stage {
    async fn set() -> Self {
        Self::set_with(&[]).await
    }

    async fn set_with(more: &[(&str, &str)]) -> Self {
        Self::set_over(Scene::new(Database::sqlite()), more).await
    }

    async fn set_over(scene: Scene, more: &[(&str, &str)]) -> Self {
        scene.run(&["tenant", "create", "other", "--json"]).await.expect_code(0);
        let more = [&[("SYNCLINE_LOG", "info"), ("SYNC_ENABLED", "false")], more].concat();
        let server = Server::start_with(&scene, &more).await;
        Self { scene, server }
    }

    /// Asks as somebody of a tenant.
    async fn caller(&self, tenant: &str, role: &str) -> Client {
        self.server.client(&make_token(&self.scene, tenant, role).await)
    }
}

/// A small world: two repositories of some commits.
async fn world() -> Sim {
    let world = WorldSource::Seeded { seed: 11, repos: 2, commits: 40 };
    started(Options { world, ..Options::default() }, "", "").await
}

/// What adds a source that reads a simulator.
fn source_of(sim: &Sim, name: &str) -> Value {
    json!({
        "provider": "github", "name": name, "baseUrl": sim.github_url(),
        "options": { "repos": ["acme/repo-1", "acme/repo-2"] }, "credential": crate::support::TOKEN.1,
    })
}

/// Adds a source, and returns its number.
async fn add(client: &Client, sim: &Sim, name: &str) -> i64 {
    client.post("/api/v1/sources", &source_of(sim, name)).await.expect(201)["id"].as_i64().unwrap()
}

/// Syncs a source to the end, and returns the sync's number.
async fn synced(client: &Client, source: i64) -> i64 {
    let answer =
        client.post("/api/v1/syncs?wait=true", &json!({ "source": source, "group": "commits" })).await;
    let asked = answer.expect(200);
    assert_eq!(asked["syncs"][0]["state"], "completed", "{asked:#}");
    asked["syncs"][0]["sync"].as_i64().unwrap()
}
