//! One job, page by page: fetch, commit, and the next page already under way while one is committed.
//!
//! Nothing is undone here, because nothing is done outside [`Store::commit_page`]: a job that stops anywhere goes on
//! from its last page.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::Ordering;
use std::time::Instant;

use domain::connector::{Group, SEND_MAX, Stream};
use domain::fault::{Cause, Fault};
use domain::job::Lane;
use domain::page::{Item, Next};
use domain::policy::turn::Turn;
use domain::policy::{self, Outcome, Verdict};
use jiff::SignedDuration;
use serde_json::Value;
use store::{Commit, Lease, Others, Pass, Progress, Settlement, Store, StoreError, Validator};
use tracing::Instrument as _;

use crate::clock::Clock;
use crate::fetch::{Fetched, Fetcher, Missed, Place, Why};
use crate::pool::{Pool, Reins};

/// Items that one look at the database brings; a few pages' worth.
const ITEMS_MAX: u32 = 64;

/// Items that may fail one after the other before their partition is taken to be at fault.
const ITEMS_FAILED_MAX: u32 = 3;

/// How a run ended whose job is still to be settled.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) verdict: Verdict,
    /// What went wrong: a stable word, and what is known of it.
    pub(crate) fault: Option<(String, String)>,
    /// Requests that no page has counted.
    pub(crate) requests: u64,
    /// How far the job has come in the queue.
    pub(crate) turn: Turn,
}

/// A job under way.
pub(crate) struct Run<'a> {
    pub(crate) store: &'a Store,
    pub(crate) lease: Lease,
    pub(crate) pool: &'a Pool,
    pub(crate) reins: &'a Reins,
    pub(crate) fetcher: Fetcher<'a>,
    pub(crate) group: &'static Group,
    pub(crate) stream: &'static Stream,
    pub(crate) clock: &'a Clock,
    pub(crate) lease_time: SignedDuration,
    pub(crate) place: Place,
    pub(crate) validators: HashMap<String, Validator>,
    /// Items still to read; the first of them stand in `place`.
    pub(crate) queue: VecDeque<Item>,
    pub(crate) tally: Tally,
}

/// What a run remembers between its pages.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Requests that no commit has counted.
    requests: u64,
    started_over: HashSet<String>,
    /// Whether a census looks absent ones up, because all ids are listed.
    looks_up: bool,
    items_failed: u32,
    finished_item: bool,
}

impl Tally {
    /// Begins with requests that were made before the first page.
    pub(crate) fn after(requests: u64, looks_up: bool) -> Self {
        Self { requests, looks_up, ..Self::default() }
    }
}

/// A page that was fetched while another was committed.
type Ahead = Box<Result<Fetched, Missed>>;

/// How a step of the loop ended.
enum Step {
    GoOn(Option<Ahead>),
    End(Ended),
    /// The last page has settled the job.
    Settled,
}

impl Run<'_> {
    /// Reads until the partition is caught up, or something ends it; `None` when the last page has settled the job.
    ///
    /// An error is the database's: the job is then as its last page left it.
    pub(crate) async fn run(mut self) -> Result<Option<Ended>, StoreError> {
        if self.item_batch().is_some() && !self.load_items().await? {
            return Ok(Some(self.end(&Outcome::CaughtUp)));
        }
        let mut ahead: Option<Ahead> = None;
        loop {
            let fetched = match ahead.take() {
                Some(fetched) => *fetched,
                None => self.fetcher.fetch(&self.place, &self.validators).await,
            };
            let step = match fetched {
                Ok(fetched) => self.commit(fetched).await?,
                Err(missed) => self.miss(missed).await?,
            };
            match step {
                Step::GoOn(next) => ahead = next,
                Step::End(ended) => return Ok(Some(ended)),
                Step::Settled => return Ok(None),
            }
        }
    }

    /// Commits a page while the next one is fetched, if what that one is follows from this one.
    async fn commit(&mut self, fetched: Fetched) -> Result<Step, StoreError> {
        let Fetched { page, pass, validator, requests, observed_at, held } = fetched;
        let read: Vec<_> = self.place.items.iter().map(|it| (it.key.clone(), it.wanted.clone())).collect();
        if let Some(learned) = &page.learned {
            self.fetcher.learned = Value::clone(learned);
        }
        let after = self.after(&page.next, &page.done, pass);
        let now = self.clock.now();
        let commit = Commit {
            page,
            pass,
            read,
            validator,
            requests: requests + std::mem::take(&mut self.tally.requests),
            observed_at,
            lease_until: now.saturating_add(self.lease_time).unwrap_or(now),
            group: self.group,
            groups: self.fetcher.connector.spec().groups,
            ends: matches!(after, After::Look | After::CaughtUp).then(|| self.completed()),
            rivals: self.pool.rivals(self.reins),
        };
        // Where others may come first, the next page is not asked for before it is known that they do not.
        let alone = commit.rivals.is_none();
        let committing = async {
            let began = Instant::now();
            let span = tracing::info_span!("commit");
            let committed = self.store.commit_page(&self.lease, commit, now).instrument(span).await;
            drop(held);
            metrics::histogram!("syncline_page_commit_duration_seconds").record(began.elapsed());
            committed
        };
        let fetching = async {
            match &after {
                After::Read(place) if alone => Some(self.fetcher.fetch(place, &self.validators).await),
                After::Read(_) | After::Look | After::CaughtUp | After::Stuck(_) => None,
            }
        };
        let (committed, ahead) = tokio::join!(committing, fetching);
        let committed = committed?;
        self.count(committed);
        if committed.ended {
            return Ok(Step::Settled);
        }
        self.lease.turn = committed.turn;
        if committed.others == Others::None && !alone {
            self.reins.pressed.store(false, Ordering::Relaxed);
        }
        if committed.others == Others::Ahead && matches!(after, After::Read(_) | After::Look) {
            return Ok(Step::End(self.end(&Outcome::Overtaken)));
        }
        match after {
            After::Read(place) => {
                self.place = place;
                Ok(Step::GoOn(ahead.map(Box::new)))
            }
            After::CaughtUp if self.looks_up() && self.load_items().await? => Ok(Step::GoOn(None)),
            After::Look if self.load_items().await? => Ok(Step::GoOn(None)),
            After::Look | After::CaughtUp => Ok(Step::End(self.end(&Outcome::CaughtUp))),
            After::Stuck(what) => {
                let fault = Fault::Malformed { what: what.to_owned() };
                Ok(Step::End(self.ended(Verdict::Discard { invalidates: false }, Some(&fault))))
            }
        }
    }

    /// Counts a committed page and the rows that it changed.
    fn count(&self, committed: Progress) {
        let labels = [("provider", self.fetcher.connector.spec().provider), ("group", self.group.name)];
        metrics::counter!("syncline_pages_total", &labels).increment(1);
        metrics::counter!("syncline_rows_total", &labels).increment(committed.rows_written);
    }

    /// Says what is to be read once the page that ended with `next` is committed.
    fn after(&mut self, next: &Next, done: &[String], pass: Pass) -> After {
        if let Next::More(cursor) = next
            && self.place.cursor.as_ref() == Some(cursor)
        {
            return After::Stuck("a page that leads to itself");
        }
        let plain = self.place.plain || matches!(pass, Pass::Plain { .. });
        let Some(batch) = self.item_batch() else {
            return match next {
                Next::More(cursor) => {
                    After::Read(Place { cursor: Some(cursor.clone()), items: Vec::new(), plain })
                }
                Next::CaughtUp { .. } => After::CaughtUp,
            };
        };
        if !done.is_empty() {
            self.tally.items_failed = 0;
        }
        self.queue.retain(|it| !done.contains(&it.key));
        if let (Next::More(cursor), Some(first)) = (next, self.queue.front_mut()) {
            first.cursor = Some(cursor.clone());
            return After::Read(self.place_of_items(batch));
        }
        // The first item that is finished may be the one that the others start from, so the database is asked anew.
        let first_finished = !done.is_empty() && !std::mem::replace(&mut self.tally.finished_item, true);
        if done.is_empty() {
            return After::Stuck("a page that finished no item");
        }
        if self.queue.is_empty() || first_finished {
            After::Look
        } else {
            After::Read(self.place_of_items(batch))
        }
    }

    /// Returns how many items a page reads, in a stream of items, which are read forward; a census looks up what is absent
    /// as items.
    fn item_batch(&self) -> Option<usize> {
        match self.lease.lane {
            Lane::Forward => self.stream.item_batch,
            Lane::Census => self.tally.looks_up.then_some(SEND_MAX),
            Lane::Backfill | Lane::Reread => None,
        }
    }

    /// Goes over to looking absent ones up, where this is a census that has listed all ids.
    fn looks_up(&mut self) -> bool {
        self.tally.looks_up |= self.lease.lane == Lane::Census;
        self.tally.looks_up
    }

    fn place_of_items(&self, batch: usize) -> Place {
        let items: Vec<Item> = self.queue.iter().take(batch).cloned().collect();
        Place { cursor: items.first().and_then(|it| it.cursor.clone()), items, plain: false }
    }

    /// Asks the database for due items; false when there are none.
    async fn load_items(&mut self) -> Result<bool, StoreError> {
        let Some(batch) = self.item_batch() else { return Ok(true) };
        self.queue = self.store.due_items(&self.lease, ITEMS_MAX).await?.into();
        self.place = self.place_of_items(batch);
        Ok(!self.queue.is_empty())
    }

    /// Makes something of a page that did not come.
    async fn miss(&mut self, missed: Missed) -> Result<Step, StoreError> {
        self.tally.requests += missed.requests;
        let now = self.clock.now();
        let (fault, verdict) = match missed.why {
            Why::Stopped => return Ok(Step::End(self.end(&Outcome::Interrupted))),
            Why::Changed => {
                let requests = std::mem::take(&mut self.tally.requests);
                self.store.restart_listing(&self.lease, requests, now).await?;
                self.place = Place { plain: true, ..Place::default() };
                self.validators.clear();
                return Ok(Step::GoOn(None));
            }
            Why::Fault { fault, verdict } => (fault, verdict),
        };
        let item = self.place.items.first().map(|it| it.key.clone());
        match (verdict, item) {
            (Verdict::StartOver, item) => self.start_over(item, fault).await,
            (Verdict::Discard { .. }, Some(item)) if is_about_one_item(&fault) => {
                self.fail_item(item, fault).await
            }
            (verdict, _) => Ok(Step::End(self.ended(verdict, Some(&fault)))),
        }
    }

    /// Forgets the place to read on from. Once for each item or job: what is lost twice is not there.
    async fn start_over(&mut self, item: Option<String>, fault: Fault) -> Result<Step, StoreError> {
        if !self.tally.started_over.insert(item.clone().unwrap_or_default()) {
            return match item {
                Some(item) => self.fail_item(item, fault).await,
                None => Ok(Step::End(self.ended(Verdict::Discard { invalidates: false }, Some(&fault)))),
            };
        }
        let requests = std::mem::take(&mut self.tally.requests);
        self.store.start_over(&self.lease, item, requests, self.clock.now()).await?;
        self.validators.clear();
        if self.item_batch().is_some() {
            let more = self.load_items().await?;
            return Ok(if more { Step::GoOn(None) } else { Step::End(self.end(&Outcome::CaughtUp)) });
        }
        self.place = Place { plain: true, ..Place::default() };
        Ok(Step::GoOn(None))
    }

    /// Notes that an item cannot be read, and goes on with the others, unless item after item fails.
    async fn fail_item(&mut self, item: String, fault: Fault) -> Result<Step, StoreError> {
        self.tally.items_failed += 1;
        if self.tally.items_failed >= ITEMS_FAILED_MAX {
            let invalidates = matches!(fault, Fault::Denied | Fault::Gone);
            return Ok(Step::End(self.ended(Verdict::Discard { invalidates }, Some(&fault))));
        }
        let requests = std::mem::take(&mut self.tally.requests);
        self.store.fail_item(&self.lease, item, words(&fault), requests, self.clock.now()).await?;
        let more = self.load_items().await?;
        Ok(if more { Step::GoOn(None) } else { Step::End(self.end(&Outcome::CaughtUp)) })
    }

    /// How the job ends with its last page, which counts the requests.
    fn completed(&self) -> Settlement {
        let verdict = policy::settle(&Outcome::CaughtUp, self.lease.attempt, self.clock.now());
        Settlement { verdict, fault: None, requests: 0 }
    }

    fn end(&mut self, outcome: &Outcome) -> Ended {
        self.ended(policy::settle(outcome, self.lease.attempt, self.clock.now()), None)
    }

    fn ended(&mut self, verdict: Verdict, fault: Option<&Fault>) -> Ended {
        let requests = std::mem::take(&mut self.tally.requests);
        Ended { verdict, fault: fault.map(words), requests, turn: self.lease.turn }
    }
}

/// An attempt that no further attempt could better.
pub(crate) fn hopeless(lease: &Lease, code: &str, detail: String) -> Ended {
    Ended {
        verdict: Verdict::Discard { invalidates: false },
        fault: Some((code.to_owned(), detail)),
        requests: 0,
        turn: lease.turn,
    }
}

/// Returns what is stored of a fault: its stable word, and what is known of it.
pub(crate) fn words(fault: &Fault) -> (String, String) {
    (fault.code().to_owned(), fault.to_string())
}

/// What follows a committed page.
enum After {
    /// Read this, at once.
    Read(Place),
    /// Ask the database which items are due.
    Look,
    /// Nothing.
    CaughtUp,
    /// Nothing can follow, and this is why: it would be the same page again and again.
    Stuck(&'static str),
}

/// Says whether a fault may be one item's own, so that the others can still be read. A provider may fail again and
/// again over one large comparison and answer all others.
fn is_about_one_item(fault: &Fault) -> bool {
    match fault {
        Fault::Denied | Fault::Gone | Fault::Malformed { .. } | Fault::CursorLost => true,
        Fault::Transient { cause, .. } => {
            matches!(cause, Cause::Server(_) | Cause::Timeout | Cause::Cut | Cause::TooLarge)
        }
        Fault::RateLimited { .. } | Fault::Unauthorized => false,
    }
}
