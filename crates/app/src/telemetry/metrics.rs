//! Metrics for Prometheus: what the engine counts as it works, and what is looked up when somebody asks.
//!
//! Labels are words of our own, from closed lists: never a tenant, a source, or anything that somebody else wrote.

use std::collections::BTreeMap;

use engine::SyncService;
use jiff::Timestamp;
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Upper ends of the buckets for durations in seconds: from an answer out of memory to the longest that is waited for.
const SECONDS: &[f64] =
    &[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// The metrics of this process.
#[derive(Clone)]
pub(crate) struct Metrics {
    handle: PrometheusHandle,
    service: SyncService,
}

impl Metrics {
    /// Begins to count, for the whole process.
    pub(crate) fn install(service: SyncService) -> anyhow::Result<Self> {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?
            .build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).map_err(|_| anyhow::anyhow!("metrics are counted already"))?;
        describe();
        Ok(Self { handle, service })
    }

    /// Writes all metrics down, in Prometheus' text.
    pub(crate) async fn render(&self) -> Result<String, engine::Error> {
        for (state, jobs) in self.service.queue_depth().await? {
            gauge!("syncline_jobs", "state" => state.as_str()).set(float(jobs));
        }
        let now = self.service.clock().now();
        let mut oldest: BTreeMap<(&str, &str), (u64, u64, Option<Timestamp>)> = BTreeMap::new();
        for it in self.service.status(None).await?.into_iter().filter(|it| it.enabled) {
            let (sources, never, at) = oldest.entry((it.provider, it.group)).or_default();
            *sources += 1;
            match it.last_synced_at {
                Some(synced) => *at = Some(at.map_or(synced, |at| at.min(synced))),
                None => *never += 1,
            }
        }
        for ((provider, group), (sources, never, at)) in oldest {
            let labels = [("provider", provider), ("group", group)];
            gauge!("syncline_sources", &labels).set(float(sources));
            gauge!("syncline_sources_never_synced", &labels).set(float(never));
            if let Some(at) = at {
                gauge!("syncline_freshness_seconds", &labels).set(now.duration_since(at).as_secs_f64());
            }
        }
        for it in self.service.budgets_left() {
            let labels = [("provider", it.provider.to_owned()), ("bucket", it.bucket)];
            gauge!("syncline_budget_remaining", &labels).set(float(it.remaining));
        }
        self.handle.run_upkeep();
        Ok(self.handle.render())
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of jobs and requests are far below 2^52")]
fn float(count: u64) -> f64 {
    count as f64
}

fn describe() {
    describe_counter!("syncline_api_requests_total", "Requests to the API, by route, method and status.");
    describe_histogram!(
        "syncline_api_request_duration_seconds",
        Unit::Seconds,
        "Time until the API's answer began."
    );
    describe_counter!("syncline_provider_requests_total", "Requests to providers, by provider and status.");
    describe_histogram!(
        "syncline_provider_request_duration_seconds",
        Unit::Seconds,
        "Time until a provider's answer was read."
    );
    describe_counter!("syncline_limits_met_total", "Answers of providers that refused because of a limit.");
    describe_counter!("syncline_deliveries_total", "Deliveries of providers, by what became of each.");
    describe_counter!(
        "syncline_recoveries_total",
        "Parts that were read with care because the provider shows more than was read, by what became of each."
    );
    describe_counter!("syncline_leases_lost_total", "Jobs whose lease was lost to another worker.");
    // It counts from zero, so that the first loss is a change.
    counter!("syncline_leases_lost_total").absolute(0);
    describe_counter!("syncline_pages_total", "Pages committed, by provider and stream group.");
    describe_counter!(
        "syncline_rows_total",
        "Landed rows that were new or changed, by provider and stream group."
    );
    describe_histogram!("syncline_page_commit_duration_seconds", Unit::Seconds, "Time to commit a page.");
    describe_histogram!(
        "syncline_attempt_duration_seconds",
        Unit::Seconds,
        "Time that a job was worked on at once."
    );
    describe_gauge!("syncline_jobs", "Jobs that wait or run, by state.");
    describe_gauge!("syncline_sources", "Sources that are switched on, by provider and stream group.");
    describe_gauge!("syncline_sources_never_synced", "Of them, those that were never synced.");
    describe_gauge!("syncline_freshness_seconds", Unit::Seconds, "Age of the oldest last success.");
    describe_gauge!("syncline_budget_remaining", "Requests left until the reset; the lowest of all sources.");
}
