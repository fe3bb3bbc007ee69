//! One page: steps the connector, sends what it describes, and waits in place where the policy says so.
//!
//! It writes nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use domain::connector::{Connector, SEND_MAX, Step};
use domain::fault::Fault;
use domain::job::Lane;
use domain::page::{Cursor, Item, Next, Page, Read, Request, Response};
use domain::policy::{self, Outcome, Verdict};
use domain::source::Settings;
use futures::future::join_all;
use jiff::Timestamp;
use serde_json::Value;
use store::{Pass, Validator};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use crate::account::Account;
use crate::clock::Clock;
use crate::http::Answer;
use crate::room::{Bodies, Room};

/// What a page is fetched with, for the length of a job.
pub(crate) struct Fetcher<'a> {
    pub(crate) connector: &'static dyn Connector,
    pub(crate) account: &'a Account,
    pub(crate) clock: &'a Clock,
    pub(crate) bodies: &'a Bodies,
    pub(crate) stop: &'a CancellationToken,
    /// Set while the provider is silent.
    pub(crate) silent: &'a AtomicBool,
    /// Set while it waits for what is not its own work.
    pub(crate) waiting: &'a AtomicBool,
    pub(crate) settings: &'a Settings,
    /// What is known of the account; a page may learn more, and the next one is read with it.
    pub(crate) learned: Value,
    pub(crate) stream: &'a str,
    pub(crate) partition: &'a str,
    pub(crate) args: &'a Value,
    pub(crate) lane: Lane,
    /// Whether the stream's pages are asked for only if they changed.
    pub(crate) conditional: bool,
    /// Whether the stream's pages together are a complete listing.
    pub(crate) listing: bool,
    pub(crate) attempt: u32,
}

/// Where to read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    pub(crate) cursor: Option<Cursor>,
    pub(crate) items: Vec<Item>,
    /// Whether the listing is read without validators.
    pub(crate) plain: bool,
}

/// A page that was fetched and is not committed yet.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) page: Page,
    pub(crate) pass: Pass,
    pub(crate) validator: Option<(String, String)>,
    pub(crate) requests: u64,
    pub(crate) observed_at: Timestamp,
    /// Keeps the bodies counted until the page is committed.
    pub(crate) held: Option<OwnedSemaphorePermit>,
}

/// Why there is no page.
#[derive(Debug)]
pub(crate) struct Missed {
    pub(crate) why: Why,
    pub(crate) requests: u64,
}

/// The reasons for a missing page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The policy has to settle this fault; waiting in place is used up.
    Fault { fault: Fault, verdict: Verdict },
    /// A later page of a listing changed: the listing must be read again without validators.
    Changed,
    /// The job was told to stop.
    Stopped,
}

impl Fetcher<'_> {
    /// Fetches the page at `place`.
    pub(crate) async fn fetch(
        &self,
        place: &Place,
        validators: &HashMap<String, Validator>,
    ) -> Result<Fetched, Missed> {
        let mut requests = 0;
        let mut attempt = self.attempt.max(1);
        loop {
            let missed = match self.try_fetch(place, validators, &mut requests, &mut attempt).await {
                Ok(mut fetched) => {
                    fetched.requests = requests;
                    return Ok(fetched);
                }
                Err(why) => why,
            };
            if let Err(why) = self.bear(missed, &mut attempt).await {
                return Err(Missed { why, requests });
            }
        }
    }

    /// Asks whom the credential belongs to, and returns that with how many requests it took.
    pub(crate) async fn identify(&self, request: &Request) -> Result<(Option<String>, u64), Missed> {
        let mut requests = 0;
        let mut attempt = self.attempt.max(1);
        loop {
            let why = match self.try_identify(request, &mut requests, &mut attempt).await {
                Ok(owner) => return Ok((owner, requests)),
                Err(why) => why,
            };
            if let Err(why) = self.bear(why, &mut attempt).await {
                return Err(Missed { why, requests });
            }
        }
    }

    async fn try_identify(
        &self,
        request: &Request,
        requests: &mut u64,
        attempt: &mut u32,
    ) -> Result<Option<String>, Why> {
        let room = self.until_stopped(self.room(1)).await?;
        let sending = self.send(std::slice::from_ref(request), None, &room, requests, attempt);
        let Sent::All(got) = self.bear_silence(&room, sending).await? else { return Ok(None) };
        let Some(answer) = got.first() else { return Ok(None) };
        self.connector.owner(answer).map_err(|fault| self.judge(fault, *attempt))
    }

    /// Waits in place where the policy says so; any other reason is for the job to settle.
    async fn bear(&self, why: Why, attempt: &mut u32) -> Result<(), Why> {
        let Why::Fault { fault, verdict: Verdict::WaitHere { until } } = &why else { return Err(why) };
        tracing::debug!(stream = self.stream, partition = self.partition, fault = fault.code(), %until, "waiting");
        // A limit is a wait, not a failure: it uses up no attempt.
        if !matches!(fault, Fault::RateLimited { .. }) {
            *attempt += 1;
        }
        if self.wait(*until).await { Ok(()) } else { Err(Why::Stopped) }
    }

    async fn try_fetch(
        &self,
        place: &Place,
        validators: &HashMap<String, Validator>,
        requests: &mut u64,
        attempt: &mut u32,
    ) -> Result<Fetched, Why> {
        let mut got: Vec<Response> = Vec::new();
        let (mut room, mut asked): (Option<Room>, _) = (None, None);
        let read = Read {
            source: self.settings,
            learned: &self.learned,
            stream: self.stream,
            partition: self.partition,
            args: self.args,
            lane: self.lane,
            items: &place.items,
            cursor: place.cursor.as_ref(),
            careful: place.plain,
        };
        loop {
            match self.connector.step(&read, &got).map_err(|fault| self.judge(fault, *attempt))? {
                Step::Page(page) => {
                    return Ok(self.finish(place, page, &got, asked, room.and_then(Room::into_held)));
                }
                Step::Send(wanted) => {
                    asked =
                        if got.is_empty() && wanted.len() == 1 { Some(wanted[0].url.clone()) } else { None };
                    let validator = self.validator(place, &wanted, validators);
                    let room = match &mut room {
                        Some(room) => room,
                        none => none.insert(self.until_stopped(self.waits(self.room(wanted.len()))).await?),
                    };
                    let etag = validator.map(|it| it.etag.as_str());
                    let sending = self.send(&wanted, etag, room, requests, attempt);
                    match self.bear_silence(room, sending).await? {
                        Sent::All(answers) => got.extend(answers),
                        Sent::NotModified(response) => return self.unchanged(validator, &response, *attempt),
                    }
                    if self.conditional
                        && !place.plain
                        && place.cursor.is_some()
                        && got.iter().any(is_success)
                    {
                        return Err(Why::Changed);
                    }
                }
            }
        }
    }

    /// Makes the room of a page with so many first answers. It is taken when the first of them begins to arrive, or
    /// here, where the source lets nobody ask without it.
    async fn room(&self, answers: usize) -> Room {
        let room = self.bodies.room(answers, self.account.body_bytes_max());
        match self.account.turn(answers).await {
            Some(turn) => room.keep(turn).await,
            None => room.enter().await,
        }
        room
    }

    /// Waits for answers. While none comes for long, the page's room is others', and so is the worker's place: one
    /// provider that hangs must not stop another.
    async fn bear_silence<T>(
        &self,
        room: &Room,
        work: impl Future<Output = Result<T, Why>>,
    ) -> Result<T, Why> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = tokio::time::sleep(SILENCE) => {}
            }
            if !room.is_waiting() {
                break;
            }
        }
        room.give_up().await;
        self.silent.store(true, Ordering::Relaxed);
        let done = work.await;
        self.silent.store(false, Ordering::Relaxed);
        let done = done?;
        self.until_stopped(self.waits(room.come_back())).await?;
        Ok(done)
    }

    fn validator<'v>(
        &self,
        place: &Place,
        wanted: &[Request],
        validators: &'v HashMap<String, Validator>,
    ) -> Option<&'v Validator> {
        let [one] = wanted else { return None };
        validators.get(&one.url).filter(|_| self.keeps(true) && !place.plain)
    }

    /// Says whether a page's validator is kept: of each in a listing, else of one that is settled.
    fn keeps(&self, settled: bool) -> bool {
        self.conditional || (settled && self.lane == Lane::Forward && !self.listing)
    }

    fn finish(
        &self,
        place: &Place,
        page: Page,
        got: &[Response],
        asked: Option<String>,
        held: Option<OwnedSemaphorePermit>,
    ) -> Fetched {
        let first = place.cursor.is_none();
        let pass = if self.listing && !got.is_empty() { Pass::Plain { first } } else { Pass::Incremental };
        let answer = got.first().filter(|_| self.keeps(page.settled));
        // It stands for one answer, and is kept under the address that was asked for, also when redirected.
        let validator = asked.zip(answer.and_then(|it| it.headers.get("etag")).map(str::to_owned));
        let observed_at = got.iter().map(|it| it.requested_at).min().unwrap_or_else(|| self.clock.now());
        Fetched { page, pass, validator, requests: 0, observed_at, held }
    }

    /// Replays what the validator stands for. A replayed listing sweeps nothing: it saw no keys.
    fn unchanged(
        &self,
        validator: Option<&Validator>,
        response: &Response,
        attempt: u32,
    ) -> Result<Fetched, Why> {
        let Some(validator) = validator else {
            let what = "not modified, although nothing was said to be known".to_owned();
            return Err(self.judge(Fault::Malformed { what }, attempt));
        };
        let next = match validator.next.clone() {
            Next::CaughtUp { cursor, .. } => Next::CaughtUp { cursor, sweep: None },
            more @ Next::More(_) => more,
        };
        Ok(Fetched {
            page: Page::empty(next),
            pass: Pass::Unchanged,
            validator: None,
            requests: 0,
            observed_at: response.requested_at,
            held: None,
        })
    }

    /// Sends requests side by side, and those that failed in passing once more, until all have an answer.
    async fn send(
        &self,
        wanted: &[Request],
        etag: Option<&str>,
        room: &Room,
        requests: &mut u64,
        attempt: &mut u32,
    ) -> Result<Sent, Why> {
        let mut answers: Vec<Option<Response>> = wanted.iter().map(|_| None).collect();
        debug_assert!(wanted.len() <= SEND_MAX, "a step sends at most SEND_MAX requests");
        loop {
            let missing: Vec<usize> = (0..wanted.len()).filter(|&at| answers[at].is_none()).collect();
            let sending = join_all(missing.iter().map(|&at| self.account.get(&wanted[at], etag, room)));
            let round = self.until_stopped(sending).await?;
            let mut fault = None;
            let mut progress = false;
            for (&at, (answer, sent)) in missing.iter().zip(round) {
                *requests += sent;
                match answer {
                    Ok(Answer::NotModified(response)) => return Ok(Sent::NotModified(response)),
                    Ok(Answer::Whole(response)) => {
                        answers[at] = Some(response);
                        progress = true;
                    }
                    Err(it) => fault = Some(worse(fault, it)),
                }
            }
            let Some(fault) = fault else { return Ok(Sent::All(answers.into_iter().flatten().collect())) };
            let limited = matches!(fault, Fault::RateLimited { .. });
            match self.judge(fault, *attempt) {
                Why::Fault { verdict: Verdict::WaitHere { until }, .. } => {
                    if !progress && !limited {
                        *attempt += 1;
                    }
                    if !self.wait(until).await {
                        return Err(Why::Stopped);
                    }
                }
                why => return Err(why),
            }
        }
    }

    fn judge(&self, fault: Fault, attempt: u32) -> Why {
        let outcome = Outcome::Faulted(fault.clone());
        Why::Fault { verdict: policy::settle(&outcome, attempt, self.clock.now()), fault }
    }

    async fn wait(&self, until: Timestamp) -> bool {
        self.until_stopped(self.waits(self.clock.sleep_until(until))).await.is_ok()
    }

    /// Says, as long as `wait` lasts, that the job waits and is not stuck.
    async fn waits<T>(&self, wait: impl Future<Output = T>) -> T {
        self.waiting.store(true, Ordering::Relaxed);
        let _over = Waiting(self.waiting);
        wait.await
    }

    async fn until_stopped<T>(&self, work: impl Future<Output = T>) -> Result<T, Why> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Why::Stopped),
            done = work => Ok(done),
        }
    }
}

/// Ends a wait, also of a page that nobody wants any more.
struct Waiting<'a>(&'a AtomicBool);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

enum Sent {
    All(Vec<Response>),
    NotModified(Response),
}

fn is_success(response: &Response) -> bool {
    (200..300).contains(&response.status)
}

/// Of two faults of one round, returns the one that decides: a refused credential, then the longest limit.
fn worse(known: Option<Fault>, other: Fault) -> Fault {
    let rank = |fault: &Fault| match fault {
        Fault::Unauthorized => (3, None),
        Fault::RateLimited { until, .. } => (2, *until),
        _ => (1, None),
    };
    match known {
        Some(known) if rank(&known) >= rank(&other) => known,
        _ => other,
    }
}

/// How long a provider may be silent before its job takes no place any more: ten times what one usually takes.
pub(crate) const SILENCE: Duration = Duration::from_secs(2);
