//! Limits: per minute and credential, told now and then, with a body that is not JSON.

use sim::ViolationKind;

use super::{FIRST, get, get_with};
use crate::client::{get as github, seeded_with};

/// Half a minute after a full one, by the providers' clock.
const HALF_PAST_MS: i64 = 1_790_000_010_000;

#[tokio::test]
async fn a_minute_has_so_many_requests_and_a_refusal_tells_everything() {
    let sim = seeded_with(20, "", "gitlab=2").await;
    sim.set_time(Some(HALF_PAST_MS));
    assert_eq!((get(&sim, FIRST).await.status, get(&sim, FIRST).await.status), (200, 200));
    let refused = get(&sim, FIRST).await;
    assert_eq!((refused.status, refused.body.as_slice()), (429, &b"Retry later\n"[..]));
    for (name, value) in [
        ("content-type", "text/plain"),
        ("ratelimit-limit", "2"),
        ("ratelimit-observed", "3"),
        ("ratelimit-remaining", "0"),
        ("ratelimit-reset", "1790000040"),
        ("ratelimit-resettime", "Mon, 21 Sep 2026 14:14:00 GMT"),
        ("ratelimit-name", "throttle_authenticated_api"),
        ("retry-after", "30"),
    ] {
        assert_eq!(refused.header(name), Some(value), "{name}");
    }
    let other = get_with(&sim, FIRST, &[("authorization", "Bearer other")]).await;
    assert_eq!(other.status, 200, "others have a limit of their own");
    assert_eq!(get_with(&sim, FIRST, &[]).await.status, 200);
    sim.set_time(Some(HALF_PAST_MS + 30_000));
    assert_eq!(get(&sim, FIRST).await.status, 200);
    let met = sim.report().limits_met;
    assert_eq!((met.gitlab, met.gitlab_application, met.primary), (1, 0, 0));
    assert!(sim.report().violations.is_empty());
}

#[tokio::test]
async fn good_answers_tell_of_the_limit_only_now_and_then() {
    let sim = seeded_with(20, "", "").await;
    let mut told = Vec::new();
    for _ in 0..6 {
        told.push(get(&sim, FIRST).await.header("ratelimit-limit").map(str::to_owned));
    }
    let usual = Some("2000".to_owned());
    assert_eq!(told, [usual.clone(), None, None, usual, None, None]);
    let off = seeded_with(20, "", "gitlab=0").await;
    assert_eq!(get(&off, FIRST).await.header("ratelimit-limit"), None);
}

#[tokio::test]
async fn who_goes_on_after_a_limit_is_reported_and_the_same_secret_elsewhere_is_not() {
    let sim = seeded_with(20, "", "gitlab=1").await;
    sim.set_time(Some(HALF_PAST_MS));
    let begun = std::time::Instant::now();
    // Real time has to pass: the client of this test asks again and again until the grace is over.
    while sim.report().violations.is_empty() && begun.elapsed().as_secs() < 10 {
        get_with(&sim, FIRST, &[("private-token", "good")]).await;
    }
    assert_eq!(github(&sim, "/repos/acme/repo-1").await.status, 200);
    let violations = sim.report().violations;
    assert_eq!((violations.len(), violations[0].kind), (1, ViolationKind::BeforeAllowed));
    let detail = &violations[0].detail;
    assert!(
        detail.contains("GET /gitlab/api/v4/projects/417300001") && detail.contains("limit per minute"),
        "{detail}"
    );
    assert!(!detail.contains("good"), "{detail}");
}

#[tokio::test]
async fn the_application_holds_back_one_endpoint_in_json() {
    let sim = seeded_with(20, "secondary=1,only=gitlab", "").await;
    let refused = get(&sim, &format!("{FIRST}/repository/branches")).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("2")));
    assert_eq!(refused.header("content-type"), Some("application/json"));
    let said = refused.json()["message"]["error"].as_str().unwrap().to_owned();
    assert_eq!(said, "This endpoint has been requested too many times. Try again later.");
    assert_eq!(refused.header("ratelimit-limit"), None);
    assert_eq!(sim.report().limits_met.gitlab_application, 1);
    sim.set_faults("".parse().unwrap());
    let begun = std::time::Instant::now();
    // Other endpoints stay free while this one has to wait.
    while sim.report().violations.is_empty() && begun.elapsed().as_millis() < 1_200 {
        get(&sim, FIRST).await;
    }
    assert!(sim.report().violations.is_empty());
    get(&sim, &format!("{FIRST}/repository/branches")).await;
    let violations = sim.report().violations;
    assert_eq!(violations.len(), 1, "asked again before the two seconds were over");
    assert!(violations[0].detail.contains("application limit"), "{}", violations[0].detail);
}
