//! One source's way out: its credential, its budgets, its pace, and how many requests it may have under way.
//!
//! Every request of every job goes through [`Account::get`]; nothing may ask a provider beside it.

pub(crate) mod budget;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use domain::connector::{Auth, Connector, Spec};
use domain::fault::{Cause, Fault};
use domain::page::{Request, Response};
use domain::source::Settings;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use reqwest::header::HeaderMap;
use serde_json::Value;
use store::{BudgetRow, Secret};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::Instrument as _;
use url::Url;

use crate::clock::Clock;
use crate::http::{Access, Answer, Http, fixed_headers, is_same_keeper};
use crate::room::Room;
use budget::{Budgets, Grant};

/// What all jobs of a source share in this process.
#[derive(Debug)]
pub(crate) struct Gate {
    /// The provider's word.
    pub(crate) provider: &'static str,
    pub(crate) budgets: Budgets,
    under_way: Semaphore,
    /// Requests that pages may have under way before they have room for the answers.
    turns: Arc<Semaphore>,
    turns_max: usize,
    pace: Option<DefaultDirectRateLimiter>,
}

impl Gate {
    /// Makes the gate of a source. The pace belongs to the provider's own service; other hosts of the same software
    /// set limits of their own and state them.
    pub(crate) fn new(spec: &Spec, base_url: &str, in_flight_max: usize, budgets: Budgets) -> Self {
        let per_minute = spec.limits.per_minute.filter(|_| spec.default_base_url == Some(base_url));
        let quota = per_minute.and_then(NonZeroU32::new).map(Quota::per_minute);
        let under_way_max = spec.limits.concurrent_max.min(in_flight_max).max(1);
        // A page that has room must always find a way for its next request, or the room would never be free again.
        let turns_max = under_way_max * 3 / 4;
        Self {
            provider: spec.provider,
            budgets,
            under_way: Semaphore::new(under_way_max),
            turns: Arc::new(Semaphore::new(turns_max)),
            turns_max,
            pace: quota.map(RateLimiter::direct),
        }
    }
}

/// One source's way out, for the length of a job.
pub(crate) struct Account {
    connector: &'static dyn Connector,
    gate: Arc<Gate>,
    base: Url,
    headers: HeaderMap,
    token: Option<Secret>,
    /// Whom the credential belongs to, where it goes into a request together with that.
    user: Option<String>,
    http: Http,
    clock: Clock,
    /// The size of the last answer, and of the largest.
    body_bytes: AtomicUsize,
    body_bytes_max: AtomicUsize,
}

impl Account {
    pub(crate) fn new(
        connector: &'static dyn Connector,
        settings: &Settings,
        token: Option<Secret>,
        gate: Arc<Gate>,
        http: Http,
        clock: Clock,
    ) -> Result<Self, Fault> {
        let base = Url::parse(&settings.base_url)
            .map_err(|_| Fault::Malformed { what: "the source's base URL".to_owned() })?;
        let headers = fixed_headers(connector.spec().headers);
        let user = match connector.spec().auth {
            Auth::Bearer => None,
            Auth::BasicAs(setting) => {
                settings.options.get(setting).and_then(Value::as_str).map(ToOwned::to_owned)
            }
        };
        Ok(Self {
            connector,
            gate,
            base,
            headers,
            token,
            user,
            http,
            clock,
            body_bytes: AtomicUsize::new(0),
            body_bytes_max: AtomicUsize::new(0),
        })
    }

    /// Returns what is known of the budgets, for the database.
    pub(crate) fn budgets(&self) -> Vec<BudgetRow> {
        self.gate.budgets.rows()
    }

    /// Returns the size of the largest answer so far, once there was one.
    pub(crate) fn body_bytes_max(&self) -> Option<usize> {
        Some(self.body_bytes_max.load(Ordering::Relaxed)).filter(|it| *it > 0)
    }

    /// Waits for leave to ask for so many answers without room for them; `None` where there is no such leave.
    pub(crate) async fn turn(&self, answers: usize) -> Option<OwnedSemaphorePermit> {
        let turns = u32::try_from(answers).ok().filter(|_| answers <= self.gate.turns_max)?;
        self.gate.turns.clone().acquire_many_owned(turns).await.ok()
    }

    /// Asks, when the budgets allow it, and reads off the answer what it says of them.
    ///
    /// Faults are those that any provider's answer shows: a limit, a server error, no answer. What else an answer
    /// means is for the connector to read. The count is of requests sent.
    pub(crate) async fn get(
        &self,
        request: &Request,
        validator: Option<&str>,
        room: &Room,
    ) -> (Result<Answer, Fault>, u64) {
        if !is_same_keeper(self.base.as_str(), &request.url) {
            // It would be asked without the credential, and its answer be taken for the provider's.
            let what =
                "a link to another server than the base URL; give the address that the provider names itself";
            return (Err(Fault::Malformed { what: what.to_owned() }), 0);
        }
        let Ok(_permit) = self.gate.under_way.acquire().await else {
            return (Err(Fault::Transient { after: None, cause: Cause::Connect }), 0);
        };
        if let Some(pace) = &self.gate.pace {
            pace.until_ready().await;
        }
        let now = self.clock.now();
        let grant = match self.gate.budgets.admit(request.bucket, now) {
            Ok(grant) => grant,
            Err(spent) => {
                return (Err(Fault::RateLimited { until: Some(spent.until), bucket: spent.bucket }), 0);
            }
        };
        // If this future is dropped half-way, the request still counts as under way until the budget's window ends;
        // the guard gives it back.
        let mut under_way = UnderWay { gate: &self.gate, grant: Some(grant), clock: &self.clock };
        let access = Access {
            base: &self.base,
            headers: &self.headers,
            token: self.token.as_ref(),
            user: self.user.as_deref(),
            body_bytes: self.body_bytes.load(Ordering::Relaxed),
            room,
        };
        let began = Instant::now();
        let span = tracing::info_span!("provider_request", provider = self.connector.spec().provider);
        let (answer, sent) = self.http.get(access, &request.url, validator).instrument(span).await;
        self.count(&answer, began.elapsed());
        let Ok(Answer::Whole(response) | Answer::NotModified(response)) = &answer else {
            return (answer, sent);
        };
        // An eighth more: pages of one listing differ a little.
        self.body_bytes_max.fetch_max(response.body.len(), Ordering::Relaxed);
        self.body_bytes.store(response.body.len() + response.body.len() / 8, Ordering::Relaxed);
        let meters = self.connector.meter(request, response);
        under_way.finish(&meters);
        let refused = meters.iter().find(|it| it.refused.is_some());
        if let Some(meter) = refused {
            let labels = [("provider", self.connector.spec().provider), ("bucket", meter.bucket)];
            metrics::counter!("syncline_limits_met_total", &labels).increment(1);
            // The budget knows how long, also where the answer named no time.
            let until = self.gate.budgets.admit(request.bucket, self.clock.now()).err().map(|it| it.until);
            return (Err(Fault::RateLimited { until, bucket: meter.bucket }), sent);
        }
        if let Some(fault) = server_error(response) {
            return (Err(fault), sent);
        }
        (answer, sent)
    }

    /// Counts an answer, or its absence under the fault's word.
    fn count(&self, answer: &Result<Answer, Fault>, elapsed: Duration) {
        let status = match answer {
            Ok(Answer::Whole(response) | Answer::NotModified(response)) => response.status.to_string(),
            Err(fault) => fault.code().to_owned(),
        };
        let provider = self.connector.spec().provider;
        metrics::counter!("syncline_provider_requests_total", "provider" => provider, "status" => status)
            .increment(1);
        metrics::histogram!("syncline_provider_request_duration_seconds", "provider" => provider)
            .record(elapsed);
    }
}

struct UnderWay<'a> {
    gate: &'a Gate,
    grant: Option<Grant>,
    clock: &'a Clock,
}

impl UnderWay<'_> {
    fn finish(&mut self, meters: &[domain::connector::Meter]) {
        if let Some(grant) = self.grant.take() {
            self.gate.budgets.finish(&grant, meters, self.clock.now());
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.finish(&[]);
    }
}

fn server_error(response: &Response) -> Option<Fault> {
    if response.status < 500 {
        return None;
    }
    let after = response.headers.get("retry-after").and_then(|it| it.trim().parse().ok());
    let after = after.map(Duration::from_secs);
    Some(Fault::Transient { after, cause: Cause::Server(response.status) })
}
