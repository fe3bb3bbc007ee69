//! What a world tells by itself: deliveries of webhooks, signed as each provider signs them, and what befalls them on the way.
//! Must never send one: whoever has an outbox does.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::Sha256;

use super::World;
use crate::error::Error;
use crate::hash::{mix, pick};
use crate::lock::read;

/// What stands for a branch that is not there.
const NOWHERE: &str = "0000000000000000000000000000000000000000";

/// How a delivery is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// As GitHub does.
    GitHub,
    /// As GitLab does where a hook has a secret token.
    GitLab,
    /// As GitLab does where a hook has a signing token; the moment is in seconds since the epoch.
    GitLabSigned(i64),
    /// As Jira does; the moment is in milliseconds since the epoch.
    Jira(i64),
}

/// A request that a provider would send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
    /// Whether the provider made it: its signature is right.
    pub genuine: bool,
}

/// What changed in a world since it was last asked.
#[derive(Debug, Clone)]
pub struct Outbox {
    heads: BTreeMap<(u64, String, String), String>,
    issues: BTreeMap<u64, i64>,
    told: u64,
}

impl Outbox {
    /// Begins with the world as it is now.
    pub fn new(world: &World) -> Result<Self, Error> {
        Ok(Self { heads: heads(world)?, issues: issues(world), told: 0 })
    }

    /// Makes a delivery of each branch that moved, came or went, and of each issue that changed.
    pub fn collect(&mut self, world: &World, hook: Hook, secret: &str) -> Result<Vec<Delivery>, Error> {
        let mut bodies = Vec::new();
        if let Hook::Jira(at_ms) = hook {
            let now = issues(world);
            let changed = now.iter().filter(|(id, at)| self.issues.get(id) != Some(at));
            bodies.extend(changed.map(|(id, _)| ("jira:issue_updated", issue(*id, at_ms))));
            let gone = self.issues.keys().filter(|id| !now.contains_key(id));
            bodies.extend(gone.map(|id| ("jira:issue_deleted", issue(*id, at_ms))));
            self.issues = now;
        } else {
            let now = heads(world)?;
            let keys: std::collections::BTreeSet<_> = now.keys().chain(self.heads.keys()).collect();
            for key in keys {
                let (before, after) = (self.heads.get(key), now.get(key));
                if before != after {
                    let or_nowhere = |it: Option<&String>| it.map_or(NOWHERE, String::as_str).to_owned();
                    bodies.push(("push", push(hook, key, &or_nowhere(before), &or_nowhere(after))));
                }
            }
            self.heads = now;
        }
        Ok(bodies.into_iter().map(|(event, body)| self.sign(hook, event, &body, secret)).collect())
    }

    fn sign(&mut self, hook: Hook, event: &str, body: &Value, secret: &str) -> Delivery {
        self.told += 1;
        let (high, low) = (mix(self.told), mix(!self.told));
        let id = format!(
            "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
            high >> 32,
            high >> 16 & 0xffff,
            high & 0xfff,
            low >> 48 & 0xfff,
            low & 0xffff_ffff_ffff
        );
        let mut body = body.clone();
        if matches!(hook, Hook::Jira(_)) {
            body["webhookEvent"] = json!(event);
        }
        let body = body.to_string().into_bytes();
        let kind = ("content-type", "application/json".to_owned());
        let headers = match hook {
            Hook::GitHub => vec![
                kind,
                ("x-github-event", event.to_owned()),
                ("x-github-delivery", id),
                ("x-hub-signature-256", format!("sha256={}", hex(&tag(secret.as_bytes(), &body)))),
            ],
            Hook::GitLab => vec![
                kind,
                ("x-gitlab-event", "Push Hook".to_owned()),
                ("idempotency-key", id),
                ("x-gitlab-token", secret.to_owned()),
            ],
            Hook::GitLabSigned(at_s) => {
                let signed = [format!("{id}.{at_s}.").as_bytes(), &body].concat();
                let signature = format!("v1,{}", base64(&tag(&key_of(secret), &signed)));
                vec![
                    kind,
                    ("x-gitlab-event", "Push Hook".to_owned()),
                    ("idempotency-key", id.clone()),
                    ("webhook-id", id),
                    ("webhook-timestamp", at_s.to_string()),
                    ("webhook-signature", signature),
                ]
            }
            Hook::Jira(_) => vec![
                kind,
                ("x-atlassian-webhook-identifier", id),
                ("x-hub-signature", format!("sha256={}", hex(&tag(secret.as_bytes(), &body)))),
            ],
        };
        let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Delivery { headers, body, genuine: true }
    }
}

/// What befalls deliveries on their way, in percent; the seed decides which.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mishaps {
    /// The seed.
    pub seed: u64,
    /// How many never come.
    pub lost: u64,
    /// How many come late.
    pub late: u64,
    /// How many come twice.
    pub twice: u64,
    /// Beside how many somebody else sends one of their own making.
    pub forged: u64,
}

impl Mishaps {
    /// Returns what comes soon, in another order, and what comes late.
    #[must_use]
    pub fn befall(&self, deliveries: Vec<Delivery>) -> (Vec<Delivery>, Vec<Delivery>) {
        let (mut soon, mut late) = (Vec::new(), Vec::new());
        for (at, delivery) in (0_u64..).zip(deliveries) {
            let chance = |of: u64, kind: u64| mix(self.seed ^ mix(at << 3 | kind)) % 100 < of;
            if chance(self.forged, 1) {
                soon.push(forge(&delivery, mix(self.seed ^ at)));
            }
            if chance(self.twice, 2) {
                soon.push(delivery.clone());
            }
            if chance(self.lost, 3) {
                continue;
            }
            if chance(self.late, 4) { late.push(delivery) } else { soon.push(delivery) }
        }
        for at in (1..soon.len()).rev() {
            soon.swap(at, pick(mix(self.seed ^ at as u64), at + 1));
        }
        (soon, late)
    }
}

/// Signs a body as GitHub does.
#[must_use]
pub fn signed(secret: &str, body: &[u8]) -> Vec<(String, String)> {
    let signature = format!("sha256={}", hex(&tag(secret.as_bytes(), body)));
    vec![
        ("content-type".to_owned(), "application/json".to_owned()),
        ("x-hub-signature-256".to_owned(), signature),
    ]
}

/// Makes one like it, of somebody who does not know the secret.
fn forge(delivery: &Delivery, random: u64) -> Delivery {
    let mut forged = Delivery { genuine: false, ..delivery.clone() };
    let signs = ["x-hub-signature-256", "x-hub-signature", "x-gitlab-token", "webhook-signature"];
    let ids = ["x-github-delivery", "idempotency-key", "webhook-id", "x-atlassian-webhook-identifier"];
    for (name, value) in &mut forged.headers {
        if ids.contains(&name.as_str()) {
            *value = format!("forged-{random:016x}");
        } else if signs.contains(&name.as_str()) {
            match random % 3 {
                // Of a body that was changed on the way,
                0 => forged.body.push(b' '),
                // made with another secret,
                1 => *value = format!("sha256={}", hex(&tag(&random.to_le_bytes(), &forged.body))),
                // or not made at all.
                _ => value.clear(),
            }
            if name == "x-gitlab-token" {
                *value = format!("guess-{random:x}");
            }
        }
    }
    forged
}

fn heads(world: &World) -> Result<BTreeMap<(u64, String, String), String>, Error> {
    let mut heads = BTreeMap::new();
    for repository in world.repositories() {
        let name = repository.identity().full_name();
        let history = repository.current()?;
        let graph = read(&history.graph);
        for (branch, head) in &graph.branches {
            heads.insert((repository.id, name.clone(), branch.clone()), graph.sha(*head).to_string());
        }
    }
    Ok(heads)
}

fn issues(world: &World) -> BTreeMap<u64, i64> {
    world.site().truth().issues.iter().map(|(id, it)| (*id, it.updated_ms)).collect()
}

fn push(hook: Hook, (id, name, branch): &(u64, String, String), before: &str, after: &str) -> Value {
    let short = name.rsplit('/').next().unwrap_or(name);
    if hook == Hook::GitHub {
        return json!({
            "ref": format!("refs/heads/{branch}"),
            "before": before,
            "after": after,
            "created": before == NOWHERE,
            "deleted": after == NOWHERE,
            "repository": { "id": id, "name": short, "full_name": name, "private": false },
            "pusher": { "name": "octo" },
            "commits": [],
        });
    }
    json!({
        "object_kind": "push",
        "event_name": "push",
        "ref": format!("refs/heads/{branch}"),
        "before": before,
        "after": after,
        "checkout_sha": (after != NOWHERE).then_some(after),
        "project_id": id,
        "project": { "id": id, "name": short, "path_with_namespace": name },
        "commits": [],
        "total_commits_count": 1,
    })
}

fn issue(id: u64, at_ms: i64) -> Value {
    json!({ "timestamp": at_ms, "issue": { "id": id.to_string(), "key": format!("ISSUE-{id}") } })
}

fn tag(key: &[u8], body: &[u8]) -> [u8; 32] {
    // A key of any length is allowed.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    mac.update(body);
    mac.finalize().into_bytes().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let letter = ALPHABET[(word >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

/// What a signing token stands for: the bytes behind its prefix.
fn key_of(secret: &str) -> Vec<u8> {
    let Some(text) = secret.strip_prefix("whsec_") else { return secret.as_bytes().to_vec() };
    let mut bytes = Vec::new();
    let (mut bits, mut held) = (0_u32, 0_u32);
    for letter in text.trim_end_matches('=').bytes() {
        let value = ALPHABET.iter().position(|it| *it == letter).unwrap_or_default();
        bits = bits << 6 | u32::try_from(value).unwrap_or_default();
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xff).unwrap_or_default());
        }
    }
    bytes
}
