//! Limits: both ways of throttling, with and without numbers.

use sim::ViolationKind;

use crate::client::{AGENT, get, seeded_with, send};

#[tokio::test]
async fn the_primary_limit_is_per_token_and_answers_403_and_429_in_turn() {
    let sim = seeded_with(20, "", "primary=2,window=3600").await;
    let target = "/repos/acme/repo-1";
    assert_eq!(get(&sim, target).await.header("x-ratelimit-remaining"), Some("1"));
    assert_eq!(get(&sim, target).await.header("x-ratelimit-remaining"), Some("0"));
    let reset = get(&sim, "/rate_limit").await.json()["resources"]["core"]["reset"].as_u64().unwrap();
    for status in [403, 429, 403] {
        let refused = get(&sim, target).await;
        assert_eq!((refused.status, refused.header("x-ratelimit-remaining")), (status, Some("0")));
        assert_eq!(refused.header("x-ratelimit-reset"), Some(&*reset.to_string()));
        assert!(refused.message().starts_with("API rate limit exceeded"));
        assert_eq!(refused.header("retry-after"), None);
    }
    let other = send(&sim, "GET", "/github/user", &[AGENT, ("authorization", "Bearer other")], "").await;
    assert_eq!((other.status, other.header("x-ratelimit-remaining")), (200, Some("1")));
    let report = sim.report();
    assert_eq!((report.limits_met.primary, report.limits_met.secondary), (3, 0));
    assert!(report.violations.is_empty(), "all within the second of grace: {:?}", report.violations);
}

#[tokio::test]
async fn requests_without_a_token_can_have_a_limit_of_their_own() {
    let sim = seeded_with(20, "", "anonymous=1").await;
    let ask = async || send(&sim, "GET", "/github/repos/acme/repo-1", &[AGENT], "").await;
    let first = ask().await;
    assert_eq!((first.status, first.header("x-ratelimit-limit")), (200, Some("1")));
    assert_eq!(ask().await.status, 403);
    assert_eq!(get(&sim, "/repos/acme/repo-1").await.header("x-ratelimit-limit"), Some("5000"));
}

#[tokio::test]
async fn too_many_at_once_meet_the_secondary_limit_which_shows_no_numbers() {
    let world = sim::WorldSource::Seeded { seed: 1, repos: 1, commits: 10 };
    // Long enough that all requests of this test overlap.
    let latency = std::time::Duration::from_millis(400);
    let limits = "concurrent=2".parse().unwrap();
    let sim = sim::start(sim::Options { world, latency, limits, ..Default::default() }).await.unwrap();
    let ask = || get(&sim, "/repos/acme/repo-1");
    let (a, b, c) = tokio::join!(ask(), ask(), ask());
    let answers = [a, b, c];
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status != 200).collect();
    assert!(!refused.is_empty());
    for answer in refused {
        assert!([403, 429].contains(&answer.status));
        assert!(answer.message().starts_with("You have exceeded a secondary rate limit"));
        assert_eq!(answer.header("retry-after"), Some("2"));
        assert!(
            ["limit", "remaining", "used", "reset", "resource"]
                .iter()
                .all(|name| answer.header(&format!("x-ratelimit-{name}")).is_none())
        );
    }
    assert_eq!(sim.report().in_flight_max, 3);
    assert!(!sim.report().violations.iter().any(|violation| violation.kind == ViolationKind::TooManyAtOnce));
}

#[tokio::test]
async fn a_client_that_goes_on_after_a_limit_is_reported() {
    let sim = seeded_with(20, "", "primary=1").await;
    let target = "/repos/acme/repo-1";
    let begun = std::time::Instant::now();
    // Real time has to pass: the client of this test asks again and again until the grace is over.
    while sim.report().violations.is_empty() && begun.elapsed().as_secs() < 10 {
        get(&sim, target).await;
    }
    let report = sim.report();
    assert_eq!(report.violations.len(), 1);
    assert_eq!(report.violations[0].kind, ViolationKind::BeforeAllowed);
    assert!(report.violations[0].at_ms >= 1_000, "{:?}", report.violations[0]);
    assert!(report.violations[0].detail.contains(target) && report.violations[0].detail.contains("primary"));
    sim.reset_report();
    assert_eq!((sim.report().requests, sim.report().violations.len()), (0, 0));
}
