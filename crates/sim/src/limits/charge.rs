//! What a request spends on its way through the gate, at every provider.
//! Must never let one through that its own book refuses.

use std::time::{Duration, Instant};

use super::Limits;
use super::gate::{NO_TOKEN, Passage};
use super::github::Refusal;
use super::gitlab::Throttle;
use super::jira::{Bucket, Call, Shown, Stop};
use super::kind::Kind;
use crate::github::Allowance;
use crate::lock::hold;

/// What the secondary limit asks for when too many requests run at once.
const CROWDED_S: u64 = 2;

impl Passage {
    /// Shows what is left, without spending.
    pub(crate) fn allowance(&self) -> Allowance {
        self.with(|gate, account| {
            account.github.roll(gate.limits.window_s, gate.now_ms());
            account.github.show(self.primary(gate.limits))
        })
    }

    /// Spends one request, or tells why not.
    pub(crate) fn charge(&self) -> Result<Allowance, Refusal> {
        self.with(|gate, account| {
            let limits = gate.limits;
            if limits.concurrent > 0 && account.in_flight > limits.concurrent {
                return Err(Refusal::Secondary { after_s: CROWDED_S });
            }
            let book = &mut account.github;
            book.points(limits, Instant::now())?;
            book.roll(limits.window_s, gate.now_ms());
            let primary = self.primary(limits);
            if primary > 0 && book.used >= primary {
                return Err(Refusal::Primary(book.show(primary)));
            }
            book.used = book.used.saturating_add(1);
            Ok(book.show(primary))
        })
    }

    /// Gives the request back: a 304 costs nothing.
    pub(crate) fn refund(&self) -> Allowance {
        self.with(|gate, account| {
            account.github.used = account.github.used.saturating_sub(1);
            account.github.show(self.primary(gate.limits))
        })
    }

    /// Answers for the primary limit until this moment of the providers' clock, in seconds.
    pub(crate) fn wait_until(&self, reset_s: u64) -> Duration {
        let now_ms = self.with(|gate, _| gate.now_ms());
        Duration::from_millis((reset_s * 1_000).saturating_sub(now_ms))
    }

    fn primary(&self, limits: Limits) -> u32 {
        let anonymous = self.token() == NO_TOKEN && limits.anonymous > 0;
        if anonymous { limits.anonymous } else { limits.primary }
    }
}

impl Passage {
    /// Counts a request to GitLab, and tells how its credential stands.
    pub(crate) fn charge_gitlab(&self) -> Throttle {
        self.with(|gate, account| account.gitlab.charge(gate.limits, gate.now_ms()))
    }
}

impl Passage {
    /// Lets a request to Jira through, and tells what is left of the limit that is shown, or holds it back.
    pub(crate) fn charge_jira(&self, call: &Call) -> Result<Shown, Stop> {
        let now = Instant::now();
        self.with(|gate, account| {
            let limits = gate.limits;
            if !call.cloud {
                if call.exempt || limits.dc_bucket == 0 || self.token() == NO_TOKEN {
                    return Ok(Shown::default());
                }
                let (size, fill) = (limits.dc_bucket, limits.dc_fill);
                let bucket = account.jira.bucket.get_or_insert_with(|| Bucket::full(size, now));
                let shown = |remaining| Shown { limit: size, remaining, reset_ms: 0 };
                let taken = bucket.take(size, fill, u64::from(limits.dc_interval_s) * 1_000, now);
                return taken.map(shown).map_err(|after| Stop { kind: Kind::Bucket, after, shown: shown(0) });
            }
            account.jira.roll(limits, gate.now_ms());
            let quota = account.jira.quota(limits);
            if call.bearer && limits.jira_quota > 0 && quota.remaining == 0 {
                let after = Duration::from_millis(quota.reset_ms.saturating_sub(gate.now_ms()));
                return Err(Stop { kind: Kind::Quota, after, shown: quota });
            }
            let mut site = hold(&gate.site);
            let burst = site.burst(call, limits, now)?;
            if let Some(issue) = &call.writes {
                site.write(issue, limits, now)?;
            }
            account.jira.points += 1;
            Ok(if call.bearer && limits.jira_quota > 0 { account.jira.quota(limits) } else { burst })
        })
    }

    /// Spends points for what an answer holds.
    pub(crate) fn spend(&self, points: u32) {
        self.with(|_, account| account.jira.points += u64::from(points));
    }

    /// Shows what is left of the quota, though it may not be enforced.
    pub(crate) fn quota(&self) -> Shown {
        self.with(|gate, account| {
            account.jira.roll(gate.limits, gate.now_ms());
            account.jira.quota(gate.limits)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Refusal;
    use crate::limits::Gate;
    use crate::report::Recorder;

    #[test]
    fn points_close_the_door_for_a_minute() {
        let limits = "points=2,primary=0".parse().unwrap();
        let gate = Arc::new(Gate::new(limits, Arc::new(Recorder::new()), Arc::default()));
        let passage = gate.enter("t", "/", &[]);
        assert!(passage.charge().is_ok() && passage.charge().is_ok());
        assert!(matches!(passage.charge(), Err(Refusal::Secondary { after_s: 60 })));
        assert!(matches!(passage.charge(), Err(Refusal::Secondary { after_s: 59..=60 })));
        assert!(gate.enter("other", "/", &[]).charge().is_ok());
    }
}
