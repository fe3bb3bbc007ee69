//! Compares what landed with what the simulated world really holds.
//!
//! It must never forgive a commit too many or too few: where rows may stay, a story says so itself.

use std::collections::{BTreeMap, BTreeSet};

use sim::{Sim, State};

use super::Database;

/// Fails unless the repositories that can be read stand in the database as they are.
pub(crate) async fn assert_truth(database: &Database, sim: &Sim, names: &[&str]) {
    let truth = sim.world().truth().unwrap();
    for name in names {
        let expected = &truth.repositories[*name];
        assert_eq!(expected.state, State::Ok, "{name} cannot be read now");
        assert_repository(database, name, expected).await;
    }
}

async fn assert_repository(database: &Database, name: &str, expected: &sim::RepositoryTruth) {
    let id = expected.id;
    let shas = database.lines(&format!("select sha from commits where repository_id = {id}")).await;
    let found: BTreeSet<String> = shas.iter().cloned().collect();
    assert_eq!(found.len(), shas.len(), "{name}: a commit stands there twice");
    let missing: Vec<_> = expected.shas.difference(&found).collect();
    assert!(missing.is_empty(), "{name}: {} commits are missing: {:?}", missing.len(), missing[0]);
    let heads = format!(
        "select name || ' ' || head_sha from branches where repository_id = {id} and deleted_at is null"
    );
    let heads: BTreeSet<String> = database.lines(&heads).await.into_iter().collect();
    let expected_heads = expected.branches.iter().map(|(name, it)| format!("{name} {}", it.head)).collect();
    assert_eq!(heads, expected_heads, "{name}: branches");
    let reached = format!("select branch || ' ' || sha from commit_branches where repository_id = {id}");
    let mut by_branch: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in database.lines(&reached).await {
        let (branch, sha) = line.rsplit_once(' ').unwrap();
        by_branch.entry(branch.to_owned()).or_default().insert(sha.to_owned());
    }
    for (branch, it) in &expected.branches {
        let found = by_branch.remove(branch).unwrap_or_default();
        assert!(found == it.shas, "{name} {branch}: {} commits, {} expected", found.len(), it.shas.len());
    }
    assert!(by_branch.is_empty(), "{name}: {:?} are no branches", by_branch.keys());
}
