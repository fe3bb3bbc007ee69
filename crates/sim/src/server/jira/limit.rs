//! Jira's limits as headers: those that hold back, those that only tell, and those that are not meant yet.
//! Must never show on success what only a limiting answer shows.

use std::time::Duration;

use http::Method;

use super::{Asked, Reply};
use crate::jira::{Answer, Deployment, Route, utc_minute, utc_second};
use crate::limits::{Call, Kind, Passage, Scope, Shown, Stop};
use crate::report::Endpoint;
use crate::server::Service;

/// What a fault's short pause is.
const FAULT_RETRY: Duration = Duration::from_secs(2);
/// The absurd resets: midnight of 2100-01-01, a moment in 2020.
const FAR_RESET_MS: u64 = 4_102_444_800_000;
const PAST_RESET_MS: u64 = 1_577_836_800_000;
/// What an absurd reset demands at most: a client has to doubt it, and to pause a little.
const FAR_WAIT: Duration = Duration::from_secs(10);
const MISSING_WAIT: Duration = Duration::from_secs(1);
/// Below this part of the quota Cloud warns.
const NEAR_PARTS: u32 = 5;

impl Service {
    /// Tells what a request is, as far as limits care.
    pub(super) fn call(&self, asked: &Asked, route: &Route) -> Call {
        let endpoint = route.endpoint();
        // A second has a hundred requests for most endpoints; issues have half as many more, histories twice as many.
        let burst_halves = match (endpoint, route) {
            (Endpoint::Changelog, _) => 4,
            (Endpoint::Issues, _) | (_, Route::ApproximateCount) => 3,
            _ => 2,
        };
        let writes = match route {
            // An issue is the same one, whether its key or its number is written.
            Route::AddComment(named) => self.world.site().state().issue_id(named),
            _ => None,
        };
        Call {
            cloud: asked.deployment == Deployment::Cloud,
            bearer: asked.login.as_ref().is_some_and(|it| it.user.is_none()),
            endpoint: Scope::Only(format!("{} {endpoint:?}", asked.method)),
            burst_halves,
            writes: writes.map(|id| Scope::Only(format!("writes to {id}"))),
            exempt: *route == Route::ServerInfo && asked.method == Method::GET,
        }
    }

    /// Answers for a limit that is met.
    pub(super) fn stop(&self, stop: Stop, call: &Call, passage: &mut Passage) -> Reply {
        let Stop { kind, after, shown } = stop;
        let mut reply = self.limiting(kind);
        let seconds = after.as_millis().div_ceil(1_000).max(1);
        reply.set("retry-after", &seconds.to_string());
        reply.set("x-ratelimit-limit", &shown.limit.to_string());
        reply.set("x-ratelimit-remaining", "0");
        let now_ms = self.now_ms();
        match kind {
            // The window ends with a full minute, and is written without seconds.
            Kind::Quota => reply.set("x-ratelimit-reset", &utc_minute(shown.reset_ms)),
            Kind::Burst | Kind::Writes => {
                let after_ms = u64::try_from(after.as_millis()).unwrap_or_default();
                reply.set("x-ratelimit-reset", &utc_second((now_ms + after_ms).div_ceil(1_000) * 1_000));
            }
            _ => self.bucket_rules(&mut reply),
        }
        let held = match kind {
            Kind::Burst => call.endpoint.clone(),
            Kind::Writes => call.writes.clone().unwrap_or(Scope::All),
            _ => Scope::All,
        };
        // The headers round up: whoever keeps one of them keeps this.
        passage.demand(kind, held, after);
        reply
    }

    fn limiting(&self, kind: Kind) -> Reply {
        let status = self.gate.limiting_status(kind);
        let mut reply = Reply::of(Answer::refusal(status, "Rate limit exceeded."));
        let reason = match kind {
            Kind::Quota => "jira-quota-tenant-based",
            Kind::Burst => "jira-burst-based",
            Kind::Writes => "jira-per-issue-on-write",
            _ => return reply,
        };
        reply.set("ratelimit-reason", reason);
        reply
    }

    /// Answers, for a fault, with a limit that soon lets go.
    pub(super) fn short_stop(&self, call: &Call, passage: &mut Passage) -> Reply {
        let kind = if call.cloud { Kind::Burst } else { Kind::Bucket };
        let limits = self.gate.limits();
        let limit = if call.cloud { limits.jira_burst } else { limits.dc_bucket };
        let shown = Shown { limit, ..Shown::default() };
        self.stop(Stop { kind, after: FAULT_RETRY, shown }, call, passage)
    }

    /// Answers, for a fault, with a limit whose end is absurd or not told.
    pub(super) fn absurd_stop(&self, detail: u64, call: &Call, passage: &mut Passage) -> Reply {
        let kind = if call.cloud { Kind::Quota } else { Kind::Bucket };
        let mut reply = self.limiting(kind);
        reply.set("x-ratelimit-remaining", "0");
        let (wait, reset_ms) = match detail % 3 {
            0 => (Some(FAR_WAIT), Some(FAR_RESET_MS)),
            1 => (None, Some(PAST_RESET_MS)),
            _ => (Some(MISSING_WAIT), None),
        };
        match reset_ms {
            Some(reset_ms) if call.cloud => reply.set("x-ratelimit-reset", &utc_minute(reset_ms)),
            // Data Center tells no moment; its absurd answer has the zero of every good one.
            _ if !call.cloud => reply.set("retry-after", "0"),
            _ => {}
        }
        if let Some(wait) = wait.filter(|_| call.cloud) {
            passage.demand(kind, Scope::All, wait);
        }
        reply
    }

    fn bucket_rules(&self, reply: &mut Reply) {
        let limits = self.gate.limits();
        reply.set("x-ratelimit-interval-seconds", &limits.dc_interval_s.to_string());
        reply.set("x-ratelimit-fillrate", &limits.dc_fill.to_string());
    }

    /// Counts what an answer holds, and shows what is left.
    pub(super) fn show_limits(
        &self,
        reply: &mut Reply,
        call: &Call,
        shown: Shown,
        objects: u32,
        passage: &Passage,
    ) {
        if !call.cloud {
            if shown.limit > 0 {
                reply.set("x-ratelimit-limit", &shown.limit.to_string());
                reply.set("x-ratelimit-remaining", &shown.remaining.to_string());
                // Every good answer says so, and means nothing by it.
                reply.set("retry-after", "0");
                self.bucket_rules(reply);
            }
            return;
        }
        self.recorder.points(1 + u64::from(objects));
        passage.spend(objects);
        let (limits, quota) = (self.gate.limits(), passage.quota());
        let enforced = call.bearer && limits.jira_quota > 0;
        let shown = if enforced { quota } else { shown };
        if shown.limit == 0 {
            return;
        }
        reply.set("x-ratelimit-limit", &shown.limit.to_string());
        reply.set("x-ratelimit-remaining", &shown.remaining.to_string());
        let burst = format!("\"jira-burst-based\";q={};w=1", limits.jira_burst);
        let policy = format!("\"tenant-app-quota\";q={};w={}", limits.jira_quota, limits.jira_window_s);
        let near = quota.remaining < quota.limit / NEAR_PARTS;
        let left = (quota.reset_ms.saturating_sub(self.now_ms())) / 1_000;
        // What is plenty is not told.
        let rate = if near {
            format!("\"tenant-app-quota\";r={};t={left}", quota.remaining)
        } else {
            format!("\"tenant-app-quota\";t={left}")
        };
        if enforced {
            reply.set("ratelimit-policy", &format!("{burst},{policy}"));
            reply.set("ratelimit", &rate);
            if near {
                reply.set("x-ratelimit-nearlimit", "true");
            }
        } else {
            reply.set("ratelimit-policy", &burst);
            if limits.jira_quota > 0 {
                reply.set("beta-ratelimit-policy", &policy);
                reply.set("beta-ratelimit", &rate);
                // Not meant yet: nobody is held back who goes on.
                if quota.remaining == 0 {
                    reply.set("beta-retry-after", &left.to_string());
                    reply.set("x-beta-ratelimit-remaining", "0");
                }
            }
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.world.site().clock.now_ms()).unwrap_or_default()
    }
}
