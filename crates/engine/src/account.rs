//! One source's way out: its credential, and the budgets, the pace and the room of the account that it belongs to.
//!
//! Every request of every job goes through [`Account::get`]; nothing may ask a provider beside it.

mod bucket;
pub(crate) mod budget;
pub(crate) mod gate;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use domain::connector::{Auth, Connector};
use domain::fault::{Cause, Fault};
use domain::page::{Request, Response};
use domain::policy::ledger::Class;
use domain::source::Settings;
use reqwest::header::HeaderMap;
use serde_json::Value;
use store::{Secret, Store};
use tokio::sync::OwnedSemaphorePermit;
use tracing::Instrument as _;
use url::Url;

use crate::clock::Clock;
use crate::http::{Access, Answer, Http, fixed_headers, is_same_keeper};
use crate::room::Room;
use budget::{End, Pass, Stop};
use gate::Gate;

/// How a job asks the ledger: where, as which node, and for whose requests.
#[derive(Clone)]
pub(crate) struct Payer {
    pub(crate) store: Store,
    pub(crate) node: String,
    pub(crate) class: Class,
}

/// One source's way out, for the length of a job.
pub(crate) struct Account {
    connector: &'static dyn Connector,
    gate: Arc<Gate>,
    payer: Payer,
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
        (gate, payer): (Arc<Gate>, Payer),
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
            payer,
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

    /// Returns the size of the largest answer so far, once there was one.
    pub(crate) fn body_bytes_max(&self) -> Option<usize> {
        Some(self.body_bytes_max.load(Ordering::Relaxed)).filter(|it| *it > 0)
    }

    /// Waits for leave to ask for so many answers without room for them; `None` where there is no such leave.
    pub(crate) async fn turn(&self, answers: usize) -> Option<OwnedSemaphorePermit> {
        self.gate.turn(answers).await
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
        let Some(_permit) = self.gate.enter().await else {
            return (Err(Fault::Transient { after: None, cause: Cause::Connect }), 0);
        };
        let pass = match self.admit(request.bucket).await {
            Ok(pass) => pass,
            Err(fault) => return (Err(fault), 0),
        };
        // If this future is dropped half-way, the request still counts as under way until the budget's window ends;
        // the guard gives it back.
        let mut under_way = UnderWay { gate: &self.gate, pass: Some(pass), clock: &self.clock };
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
        let end = match &answer {
            Ok(Answer::NotModified(_)) => End::Unchanged(sent),
            _ => End::Answered(sent),
        };
        under_way.finish(end, &meters);
        let refused = meters.iter().find(|it| it.refused.is_some());
        if let Some(meter) = refused {
            let labels = [("provider", self.connector.spec().provider), ("bucket", meter.bucket)];
            metrics::counter!("syncline_limits_met_total", &labels).increment(1);
            // The budget knows how long, also where the answer named no time.
            let until = self.gate.budgets.refused_until(request.bucket, self.clock.now());
            return (Err(Fault::RateLimited { until, bucket: meter.bucket }), sent);
        }
        if let Some(fault) = server_error(response) {
            return (Err(fault), sent);
        }
        (answer, sent)
    }

    /// Lets a request go, taking a grant first where it needs one; or says how long its budget is spent.
    async fn admit(&self, bucket: &'static str) -> Result<Pass, Fault> {
        let Payer { store, node, class } = &self.payer;
        // A grant that was taken may be spent by others before this request comes to it.
        for _ in 0..GRANTS_MAX {
            let now = self.clock.now();
            let wanted = match self.gate.budgets.admit(bucket, *class, now) {
                Ok(pass) => return Ok(pass),
                Err(Stop::Spent(until)) => return Err(Fault::RateLimited { until: Some(until), bucket }),
                Err(Stop::Ungranted(wanted)) => wanted,
            };
            if let Err(error) = self.gate.ask(store, node, (wanted, *class), now).await {
                tracing::warn!(%error, "cannot take a grant");
                return Err(Fault::Transient { after: None, cause: Cause::Ledger });
            }
        }
        Err(Fault::Transient { after: None, cause: Cause::Ledger })
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
    pass: Option<Pass>,
    clock: &'a Clock,
}

impl UnderWay<'_> {
    fn finish(&mut self, end: End, meters: &[domain::connector::Meter]) {
        if let Some(pass) = self.pass.take() {
            self.gate.budgets.finish(&pass, end, meters, self.clock.now());
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.finish(End::Unknown, &[]);
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

/// Grants that one request may see others spend; each is of a request at least, so this is more than wait for them.
const GRANTS_MAX: u32 = 256;
