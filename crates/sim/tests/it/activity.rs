//! People at work by themselves, at both providers.

use serde_json::Value;
use sim::{Options, Sim, WorldSource};

use crate::client::{get, send};

async fn busy(per_s: f64) -> Sim {
    let world = WorldSource::Seeded { seed: 5, repos: 2, commits: 60 };
    sim::start(Options { world, activity_per_s: per_s, ..Options::default() }).await.unwrap()
}

async fn truth(sim: &Sim, path: &str) -> Value {
    send(sim, "GET", path, &[], "").await.json()
}

#[tokio::test]
async fn both_worlds_move_and_the_same_seed_moves_them_the_same_way() {
    let (first, second) = (busy(0.0).await, busy(0.0).await);
    let before = (truth(&first, "/__sim/truth").await, truth(&first, "/__sim/jira/truth").await);
    for sim in [&first, &second] {
        sim.set_time(Some(1_790_000_000_000));
        let done = send(sim, "POST", "/__sim/work", &[], "{\"things\":1000}").await;
        assert_eq!((done.status, &done.json()["done"]), (200, &1000.into()));
    }
    let after = (truth(&first, "/__sim/truth").await, truth(&first, "/__sim/jira/truth").await);
    assert_ne!(before.0, after.0);
    assert_ne!(before.1, after.1);
    assert_eq!(after.0, truth(&second, "/__sim/truth").await);
    assert_eq!(after.1, truth(&second, "/__sim/jira/truth").await);
    let (old, new) = (&before.1["issues"].as_object().unwrap(), after.1["issues"].as_object().unwrap());
    let edited = new
        .iter()
        .filter(|(id, it)| old.get(*id).is_some_and(|before| before["updated_ms"] != it["updated_ms"]));
    let made = new.keys().filter(|id| !old.contains_key(*id)).count();
    let deleted = old.keys().filter(|id| !new.contains_key(*id)).count();
    let edited = edited.count();
    assert!(edited > 30 && made > 5 && deleted > 0, "{edited} edited, {made} made, {deleted} deleted");
    assert!(after.1["sprints"].as_object().unwrap().len() > before.1["sprints"].as_object().unwrap().len());
    let commits = get(&first, "/repos/acme/repo-1/commits?per_page=1").await.json();
    assert!(
        commits[0]["commit"]["committer"]["date"].as_str().unwrap().starts_with("2026-09-21T1"),
        "{commits}"
    );
    let refused = send(&first, "POST", "/__sim/work", &[], "{\"things\":10001}").await;
    assert_eq!(refused.status, 400);
}

#[tokio::test]
async fn a_rhythm_goes_on_by_itself_and_holds_nobody_up() {
    let sim = busy(50.0).await;
    let begun = std::time::Instant::now();
    // Real time has to pass: this is a client that looks again and again.
    while sim.world().things_done() < 10 && begun.elapsed().as_secs() < 30 {
        assert_eq!(get(&sim, "/repos/acme/repo-1").await.status, 200);
    }
    assert!(sim.world().things_done() >= 10);
    assert_eq!(busy(0.0).await.world().things_done(), 0);
}
