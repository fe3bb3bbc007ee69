//! Signatures of deliveries, against the vectors that providers publish, and what is refused.

use domain::connector::Connector;
use domain::connector::delivery::{Delivery, Rejected};
use domain::page::Headers;
use jiff::{SignedDuration, Timestamp};

use crate::{ALL, find};

/// The secret of the vectors that GitHub and Atlassian publish.
const SECRET: &str = "It's a Secret to Everybody";

fn now() -> Timestamp {
    Timestamp::from_second(1_790_000_000).unwrap()
}

fn headers(given: &[(&str, &str)]) -> Headers {
    Headers(given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
}

fn verify(provider: &str, secret: &str, given: &[(&str, &str)], body: &str) -> Result<String, Rejected> {
    let connector = find(provider).unwrap();
    let headers = headers(given);
    let delivery = Delivery { headers: &headers, body: body.as_bytes() };
    connector.verify(secret, &delivery, now()).map(|it| it.id)
}

#[test]
fn published_vectors_are_accepted() {
    let github = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let given = [("x-hub-signature-256", github), ("x-github-delivery", "d-1")];
    assert_eq!(verify("github", SECRET, &given, "Hello, World!"), Ok("d-1".to_owned()));
    let jira = "sha256=a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9";
    let given = [("x-hub-signature", jira), ("x-atlassian-webhook-identifier", "d-2")];
    assert_eq!(verify("jira", SECRET, &given, "Hello World!"), Ok("d-2".to_owned()));
    // The vector of the Standard Webhooks specification's own libraries, whose time is another.
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let given = headers(&[
        ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ("webhook-timestamp", "1614265330"),
        ("webhook-signature", "v1,AAAA v2,x v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
    ]);
    let delivery = Delivery { headers: &given, body: b"{\"test\": 2432232314}" };
    let at =
        |seconds| find("gitlab").unwrap().verify(secret, &delivery, Timestamp::from_second(seconds).unwrap());
    assert_eq!(at(1_614_265_330).map(|it| it.id), Ok("msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned()));
    assert!(at(1_614_265_330 + 300).is_ok() && at(1_614_265_330 - 300).is_ok());
    for far in [301, -301] {
        assert_eq!(at(1_614_265_330 + far), Err(Rejected::Stale));
    }
}

#[test]
fn gitlabs_token_is_compared_and_a_signature_counts_before_it() {
    let token = [("x-gitlab-token", SECRET), ("idempotency-key", "d-3"), ("x-gitlab-webhook-uuid", "hook")];
    assert_eq!(verify("gitlab", SECRET, &token, "{}"), Ok("d-3".to_owned()));
    let with_signature = [token.as_slice(), &[("webhook-signature", "v1,AAAA")]].concat();
    assert_eq!(verify("gitlab", SECRET, &with_signature, "{}"), Err(Rejected::Signature));
}

#[test]
fn no_connector_accepts_what_is_not_signed() {
    let zeros = format!("sha256={}", "0".repeat(64));
    for connector in ALL {
        let provider = connector.spec().provider;
        let names = ["x-hub-signature-256", "x-hub-signature", "x-gitlab-token", "webhook-signature"];
        for value in ["", "sha256=", "v1,", "sha256=zz", &zeros, "wrong", SECRET] {
            for name in names {
                if (provider, name, value) != ("gitlab", "x-gitlab-token", SECRET) {
                    let given = [(name, value)];
                    assert_eq!(
                        verify(provider, SECRET, &given, "{}"),
                        Err(Rejected::Signature),
                        "{provider} {name}: {value}"
                    );
                }
            }
        }
        assert_eq!(verify(provider, SECRET, &[], "{}"), Err(Rejected::Signature), "{provider}");
        assert_eq!(
            verify(provider, "", &[("x-gitlab-token", "")], "{}"),
            Err(Rejected::Signature),
            "{provider}"
        );
    }
}

/// Reads what a delivery hints at, as lines of group, stream and partition.
fn hints(provider: &str, event: &str, given: &[(&str, &str)], body: &str) -> Result<Vec<String>, Rejected> {
    let connector: &dyn Connector = find(provider).unwrap();
    let headers = headers(given);
    let delivery = Delivery { headers: &headers, body: body.as_bytes() };
    let verified =
        domain::connector::delivery::Verified { id: "d".to_owned(), event: Some(event.to_owned()) };
    let received = connector.receive(&verified, &delivery, now())?;
    let line = |it: domain::connector::delivery::Hint| {
        let parts: Vec<_> = it.parts.iter().map(|(stream, key)| format!("{stream} {key}")).collect();
        format!("{}: {}", it.group, parts.join(", or "))
    };
    Ok(received.hints.into_iter().map(line).collect())
}

#[test]
fn deliveries_name_what_to_read() {
    let push = r#"{"repository":{"id":7,"full_name":"acme/api"},"commits":[]}"#;
    let known = "commits: branches 7, or repositories visible, or repositories acme/api";
    assert_eq!(hints("github", "push", &[], push).unwrap(), [known]);
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let encoded = format!("payload={}", crate::kit::escaped(push));
    assert_eq!(hints("github", "push", &form, &encoded).unwrap(), [known]);
    let listing = "commits: repositories visible, or repositories acme/api";
    assert_eq!(hints("github", "repository", &[], push).unwrap(), [listing]);
    let merge = r#"{"object_kind":"merge_request","project":{"id":9,"path_with_namespace":"a/b"}}"#;
    assert_eq!(hints("gitlab", "Merge Request Hook", &[], merge).unwrap(), ["timeline: merge_requests 9"]);
    let push = r#"{"object_kind":"push","project_id":9,"project":{"id":9,"path_with_namespace":"a/b"}}"#;
    let known = "commits: branches 9, or projects member, or projects a/b";
    assert_eq!(hints("gitlab", "Push Hook", &[], push).unwrap(), [known]);
    let issue = format!(r#"{{"timestamp":{},"webhookEvent":"jira:issue_updated"}}"#, now().as_millisecond());
    assert_eq!(hints("jira", "", &[], &issue).unwrap(), ["jira: "]);
    let old = now() - SignedDuration::from_hours(8 * 24);
    let old = format!(r#"{{"timestamp":{},"webhookEvent":"jira:issue_updated"}}"#, old.as_millisecond());
    assert_eq!(hints("jira", "", &[], &old), Err(Rejected::Stale));
}

#[test]
fn what_is_not_known_hints_at_nothing_and_what_is_no_json_is_refused() {
    for (provider, event, body) in [
        ("github", "ping", r#"{"zen":"…"}"#),
        ("github", "star", "not read at all"),
        ("github", "push", r#"{"repository":[7]}"#),
        ("gitlab", "Pipeline Hook", r#"{"object_kind":"pipeline","project":{"id":9}}"#),
        ("gitlab", "Push Hook", r#"{"object_kind":7}"#),
        ("gitlab", "Merge Request Hook", r#"{"object_kind":"merge_request"}"#),
        ("jira", "", r#"{"webhookEvent":"user_created"}"#),
        ("jira", "", "7"),
    ] {
        assert_eq!(hints(provider, event, &[], body), Ok(Vec::new()), "{provider} {event} {body}");
    }
    for (provider, event) in [("github", "push"), ("gitlab", "Push Hook"), ("jira", "")] {
        assert_eq!(hints(provider, event, &[], "{"), Err(Rejected::Malformed), "{provider}");
    }
}
