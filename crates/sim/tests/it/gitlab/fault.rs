//! Faults: each as GitLab or what stands before it would answer, and only there when asked so.

use std::collections::BTreeSet;

use super::{FIRST, get, texts};
use crate::client::{get as github, seeded_with};

#[tokio::test]
async fn server_errors_come_in_three_kinds_and_spare_the_other_provider() {
    let sim = seeded_with(20, "5xx=1,only=gitlab", "").await;
    let mut met = BTreeSet::new();
    for _ in 0..40 {
        let answer = get(&sim, FIRST).await;
        match answer.status {
            500 => assert_eq!(answer.message(), "500 Internal Server Error"),
            502 => assert!(answer.body.starts_with(b"<html>")),
            _ => assert_eq!(answer.header("retry-after"), Some("1")),
        }
        met.insert(answer.status);
    }
    assert_eq!(met.into_iter().collect::<Vec<_>>(), [500, 502, 503]);
    assert_eq!(github(&sim, "/repos/acme/repo-1").await.status, 200);
    let elsewhere = seeded_with(20, "5xx=1,only=github", "").await;
    assert_eq!(get(&elsewhere, FIRST).await.status, 200);
}

#[tokio::test]
async fn absurd_resets_are_far_past_or_missing_and_give_no_pause() {
    let sim = seeded_with(20, "reset=1", "").await;
    let mut met = BTreeSet::new();
    for _ in 0..40 {
        let answer = get(&sim, FIRST).await;
        assert_eq!((answer.status, answer.header("retry-after")), (429, None));
        met.insert(answer.header("ratelimit-reset").map(str::to_owned));
    }
    let far = Some("4102444800".to_owned());
    assert_eq!(met, BTreeSet::from([None, Some("1577836800".to_owned()), far]));
    assert_eq!(sim.report().limits_met.gitlab, 40);
}

#[tokio::test]
async fn bodies_are_cut_or_html_and_the_rest_is_true() {
    let cut = seeded_with(200, "cut=1", "").await;
    let target = format!("{FIRST}/repository/commits?per_page=100");
    let answer = get(&cut, &target).await;
    assert!(answer.status == 200 && answer.is_cut() && answer.body.starts_with(b"[{\"id\":"));
    let html = seeded_with(200, "html=1", "").await;
    let answer = get(&html, &target).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/html; charset=utf-8")));
    html.set_faults("".parse().unwrap());
    cut.set_faults("".parse().unwrap());
    let (one, other) = (get(&html, &target).await.json(), get(&cut, &target).await.json());
    assert_eq!(texts(&one, "id"), texts(&other, "id"));
}
