//! Faults: each as it is on the wire, and the world behind them untouched.

use std::collections::BTreeSet;

use crate::client::{get, get_with, seeded, seeded_with, shas};

#[tokio::test]
async fn server_errors_come_in_three_kinds() {
    let sim = seeded_with(20, "5xx=1", "").await;
    let mut met = BTreeSet::new();
    for _ in 0..40 {
        let answer = get(&sim, "/repos/acme/repo-1").await;
        match answer.status {
            502 => assert!(answer.body.starts_with(b"<!DOCTYPE html>")),
            503 => assert_eq!(answer.header("retry-after"), Some("1")),
            _ => assert_eq!(answer.message(), "Server Error"),
        }
        met.insert(answer.status);
    }
    assert_eq!(met.into_iter().collect::<Vec<_>>(), [500, 502, 503]);
    assert_eq!(sim.report().faults_served["5xx"], 40);
}

#[tokio::test]
async fn a_cut_body_is_shorter_than_its_length_says() {
    let sim = seeded_with(200, "cut=1", "").await;
    let answer = get(&sim, "/repos/acme/repo-1/commits?per_page=100").await;
    assert_eq!(answer.status, 200);
    assert!(answer.is_cut() && !answer.body.is_empty(), "{} bytes came", answer.body.len());
    assert!(answer.body.starts_with(b"[{\"sha\":"));
}

#[tokio::test]
async fn html_comes_with_status_200() {
    let sim = seeded_with(20, "html=1", "").await;
    let answer = get(&sim, "/repos/acme/repo-1/branches").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/html; charset=utf-8")));
}

#[tokio::test]
async fn absurd_resets_are_far_past_or_missing() {
    let sim = seeded_with(20, "reset=1", "").await;
    let mut met = BTreeSet::new();
    for _ in 0..40 {
        let answer = get(&sim, "/repos/acme/repo-1").await;
        assert!([403, 429].contains(&answer.status));
        assert_eq!(answer.header("x-ratelimit-remaining"), Some("0"));
        met.insert(answer.header("x-ratelimit-reset").map(str::to_owned));
    }
    let far = Some("4102444800".to_owned());
    assert_eq!(met, BTreeSet::from([None, Some("1577836800".to_owned()), far]));
    assert_eq!(sim.report().limits_met.primary, 40);
}

#[tokio::test]
async fn the_secondary_fault_asks_for_two_seconds() {
    let sim = seeded_with(20, "secondary=1", "").await;
    let answer = get(&sim, "/repos/acme/repo-1").await;
    assert_eq!((answer.status, answer.header("retry-after")), (403, Some("2")));
    assert_eq!(answer.header("x-ratelimit-remaining"), None);
    assert_eq!(sim.report().limits_met.secondary, 1);
}

#[tokio::test]
async fn the_same_seed_hits_the_same_requests_and_the_rest_is_true() {
    let (spec, calm) = ("seed=3,5xx=0.2,cut=0.2,html=0.1", seeded_with(200, "", "").await);
    let target = "/repos/acme/repo-1/commits?per_page=50";
    let truth = shas(&get(&calm, target).await.json());
    let mut runs = Vec::new();
    for _ in 0..2 {
        let sim = seeded_with(200, spec, "").await;
        let mut run = Vec::new();
        for _ in 0..30 {
            let answer = get(&sim, target).await;
            let good = answer.status == 200 && !answer.is_cut() && answer.body.starts_with(b"[");
            if good {
                assert_eq!(shas(&answer.json()), truth);
            }
            run.push((answer.status, good));
        }
        runs.push(run);
    }
    assert_eq!(runs[0], runs[1]);
    let good = runs[0].iter().filter(|(_, good)| *good).count();
    assert!((5..25).contains(&good), "{good} of 30 were good");
}

#[tokio::test]
async fn a_repository_that_the_world_lacks_cannot_be_faulty() {
    let faults = "gone=acme/repo-9".parse().unwrap();
    let refused = sim::start(sim::Options { faults, ..Default::default() }).await.err().unwrap();
    assert_eq!(refused.to_string(), "the world has no repository acme/repo-9");
}

#[tokio::test]
async fn faults_can_be_changed_while_it_runs() {
    let sim = seeded_with(20, "", "").await;
    assert_eq!(get(&sim, "/repos/acme/repo-1").await.status, 200);
    sim.set_faults("html=1".parse().unwrap());
    let answer = get(&sim, "/repos/acme/repo-1").await;
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
    sim.set_faults("".parse().unwrap());
    assert_eq!(get(&sim, "/repos/acme/repo-1").await.json()["full_name"], "acme/repo-1");
}

#[tokio::test]
async fn a_paused_repository_asks_for_an_hour_and_the_others_answer() {
    let sim = seeded_with(20, "paused=acme/repo-1", "").await;
    let id = sim.world().repository_truth("acme/repo-1").unwrap().id;
    for target in ["/repos/acme/repo-1/branches".to_owned(), format!("/repositories/{id}/commits")] {
        let answer = get(&sim, &target).await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("3600")), "{target}");
    }
    assert_eq!(get(&sim, "/repos/acme/repo-2").await.status, 200);
    assert_eq!(get(&sim, "/user").await.status, 200);
    sim.set_faults("".parse().unwrap());
    assert_eq!(get(&sim, "/repos/acme/repo-1").await.status, 200);
    let report = sim.report();
    assert_eq!((report.limits_met.paused, report.faults_served["paused"]), (2, 2));
}

#[tokio::test]
async fn a_cache_that_is_behind_hides_a_push_from_whoever_asks_with_a_condition() {
    let sim = seeded(20).await;
    let branches = "/repos/acme/repo-1/branches";
    let first = get(&sim, branches).await;
    let tag = first.header("etag").unwrap().to_owned();
    sim.set_time(Some(1_800_000_000_000));
    sim.set_faults("stale=acme/repo-1".parse().unwrap());
    let head = sim.world().push("acme/repo-1", "main", 1).unwrap();
    let hidden = get_with(&sim, branches, &[("if-none-match", &tag)]).await;
    assert_eq!((hidden.status, hidden.header("etag")), (304, Some(tag.as_str())));
    let shown = get(&sim, branches).await;
    assert!(shown.json().as_array().unwrap().iter().any(|it| it["commit"]["sha"] == *head));
    let repository = get(&sim, "/repos/acme/repo-1").await;
    assert_eq!(repository.json()["pushed_at"], "2027-01-15T08:00:00Z", "the repository itself says so");
    assert_eq!(sim.report().faults_served["stale"], 1);
    sim.set_faults("".parse().unwrap());
    assert_eq!(get_with(&sim, branches, &[("if-none-match", &tag)]).await.status, 200);
}
