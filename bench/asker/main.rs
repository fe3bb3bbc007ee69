//! Asks a server at a fixed rate, as people and dashboards do, and says how long the answers took.
//!
//! A request begins when it was meant to begin, whether or not the ones before it are answered: a server that stands
//! still for a second is charged with every request of that second. It must never wait before it asks again. Begin
//! with [`Plan`], which comes on standard input as one line of JSON; the report goes to standard output.

mod report;

use std::io::BufRead as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use report::{Answer, Report};

/// How long one answer may take. The server itself gives up after 30 seconds.
const ANSWER_MAX: Duration = Duration::from_secs(40);

/// What to ask.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Plan {
    /// The server's root, such as `http://127.0.0.1:7878`.
    base: String,
    /// Requests a second, over all kinds.
    rate_per_s: f64,
    /// Requests that count; it ends after them, or earlier when standard input closes.
    count: usize,
    /// Requests before those that count.
    #[serde(default)]
    warm: usize,
    /// What is asked, in turns.
    asks: Vec<Ask>,
}

/// One thing to ask.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    /// The name that its times stand under.
    kind: String,
    /// The path and query.
    path: String,
    /// The credential.
    token: String,
    /// The query's parameter that takes `next` of the page before; without it only the first page is asked for.
    #[serde(default)]
    follow: Option<String>,
}

fn main() -> Result<()> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("read the plan")?;
    let plan: Plan = serde_json::from_str(&line).context("the plan is not as it should be")?;
    if plan.asks.is_empty() || plan.rate_per_s <= 0.0 || plan.rate_per_s.is_nan() {
        bail!("the plan asks for nothing");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(ask_all(plan))?;
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}

async fn ask_all(plan: Plan) -> Result<Report> {
    // An error means that a provider is installed already, which is just as good.
    drop(rustls::crypto::ring::default_provider().install_default());
    let http = reqwest::Client::builder().user_agent("asker").no_proxy().timeout(ANSWER_MAX).build()?;
    let asks: Vec<Arc<Ask>> = plan.asks.into_iter().map(Arc::new).collect();
    let base: Arc<str> = plan.base.trim_end_matches('/').into();
    let every = Duration::from_secs_f64(plan.rate_per_s.recip());
    let mut told_to_stop = closed();
    let mut under_way = JoinSet::new();
    let mut report = Report::default();
    let began = Instant::now();
    let mut due = began;
    for (number, ask) in asks.iter().cycle().take(plan.warm + plan.count).enumerate() {
        tokio::select! {
            biased;
            _ = told_to_stop.recv() => break,
            () = tokio::time::sleep_until(due) => {}
        }
        let counts = number >= plan.warm;
        report.behind(due.elapsed());
        let (http, base, ask, meant) = (http.clone(), Arc::clone(&base), Arc::clone(ask), due);
        under_way.spawn(async move { (counts, follow(&http, &base, &ask, meant).await) });
        while let Some(ended) = under_way.try_join_next() {
            let (counts, answer) = ended?;
            report.note(counts, answer);
        }
        due += every;
    }
    while let Some(ended) = under_way.join_next().await {
        let (counts, answer) = ended?;
        report.note(counts, answer);
    }
    report.finish(began.elapsed());
    Ok(report)
}

/// Returns a channel whose end comes when standard input closes.
fn closed() -> mpsc::Receiver<()> {
    let (sender, receiver) = mpsc::channel(1);
    // A read of standard input cannot be given up, so it has a thread of its own, which ends with the process.
    std::thread::spawn(move || {
        let mut line = String::new();
        while std::io::stdin().lock().read_line(&mut line).is_ok_and(|bytes| bytes > 0) {}
        drop(sender);
    });
    receiver
}

/// Asks, and for the pages behind where that is wanted. The first answer's time counts from when it was meant to be asked
/// for, and that of all pages too.
async fn follow(http: &reqwest::Client, base: &str, ask: &Ask, meant: Instant) -> Answer {
    let mut answer = Answer { kind: ask.kind.clone(), ..Answer::default() };
    let mut url = format!("{base}{}", ask.path);
    loop {
        let got = get(http, &url, &ask.token).await;
        answer.pages += 1;
        let body = match got {
            Ok(body) => body,
            Err(error) => {
                answer.failed = Some(format!("{error:#}"));
                break;
            }
        };
        answer.bytes += body.len();
        let Some(parameter) = &ask.follow else { break };
        match next(&body) {
            Ok(Some(next)) => {
                let joint = if ask.path.contains('?') { '&' } else { '?' };
                let next: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
                url = format!("{base}{}{joint}{parameter}={next}", ask.path);
            }
            Ok(None) => break,
            Err(error) => {
                answer.failed = Some(format!("{error:#}"));
                break;
            }
        }
    }
    answer.took = meant.elapsed();
    answer
}

async fn get(http: &reqwest::Client, url: &str, token: &str) -> Result<bytes::Bytes> {
    let response =
        http.get(url).bearer_auth(token).send().await.with_context(|| format!("{url}: no answer"))?;
    let status = response.status();
    let body = response.bytes().await.with_context(|| format!("{url}: the answer broke off"))?;
    if status != reqwest::StatusCode::OK {
        bail!("{url}: answered {status}");
    }
    Ok(body)
}

/// Reads the word that goes on behind a page.
fn next(body: &[u8]) -> Result<Option<String>> {
    #[derive(Deserialize)]
    struct Page {
        next: Option<serde_json::Value>,
    }
    let page: Page = serde_json::from_slice(body).context("a page that is no JSON")?;
    Ok(page.next.filter(|it| !it.is_null()).map(|it| match it {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    }))
}
