//! Faithful fake providers: for the demo, tests, benchmarks, and for rehearsing a configuration.
//! Must never use anything else of ours, so that it cannot share a misunderstanding with the connectors.
//!
//! One page about all of it: `docs/sim.md`.

mod clock;
mod error;
mod github;
mod gitlab;
mod hash;
mod jira;
mod limits;
mod lock;
mod report;
mod rest;
mod server;
mod world;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use self::clock::Clock;
pub use self::error::{Error, SpecError};
pub use self::jira::CardPaths;
use self::jira::Deployment;
pub use self::limits::Limits;
pub use self::report::{Endpoint, LimitsMet, Report, Violation, ViolationKind};
pub use self::server::{Faults, Login, Provider, Recipient, Sender};
use self::server::{Jira, Service};
use self::world::Links;
pub use self::world::site::{
    Access, BoardKind, BoardTruth, Edit, IssueKind, IssueTruth, ProjectTruth, RepeatedHour, Site,
    SiteControl, SiteSize, SiteTruth, SprintState, SprintTruth, Status,
};
pub use self::world::{
    Account, BranchTruth, CommitTruth, Control, Delivery, Hook, Issue, IssueEvent, IssueGone, MergeRequest,
    MergeRequestState, Mishaps, Note, Outbox, Pull, RepositoryTruth, State, Truth, World, WorldSource,
    signed,
};

/// How many things people do a second at most: more would measure the simulator and not its client.
pub const ACTIVITY_PER_S_MAX: f64 = 50.0;

/// How a simulator starts.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What it shows.
    pub world: WorldSource,
    /// How many issues and pull requests each seeded repository has at GitHub; without a number a few, by its commits.
    pub issues: Option<usize>,
    /// How long every answer of a provider takes at least.
    pub latency: Duration,
    /// Which faults it serves.
    pub faults: Faults,
    /// Which limits it keeps.
    pub limits: Limits,
    /// What its Jira is like.
    pub jira: JiraOptions,
    /// How many things people do a second, at all providers together; 0 is nobody at work, and `ACTIVITY_PER_S_MAX`
    /// the most.
    pub activity_per_s: f64,
}

/// What the fake Jira is like.
#[derive(Debug, Clone)]
pub struct JiraOptions {
    /// How large it is; its seed is the world's.
    pub size: SiteSize,
    /// The zone in the profile of whose credential asks, as the IANA database names it.
    pub time_zone: String,
    /// Where Cloud lists the issues of boards and sprints.
    pub cards: CardPaths,
    /// The credentials that are good; without any, all are but those whose secret begins with `bad`.
    pub logins: Vec<Login>,
}

impl Default for JiraOptions {
    fn default() -> Self {
        Self {
            size: SiteSize::default(),
            // East of Greenwich and far from it, so that a time taken for UTC is found out.
            time_zone: "Asia/Shanghai".to_owned(),
            cards: CardPaths::default(),
            logins: Vec::new(),
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            world: WorldSource::Seeded { seed: 1, repos: 3, commits: 200 },
            issues: None,
            latency: Duration::ZERO,
            faults: Faults::default(),
            limits: Limits::default(),
            jira: JiraOptions::default(),
            activity_per_s: 0.0,
        }
    }
}

/// A running simulator; it ends when it is dropped.
pub struct Sim {
    address: SocketAddr,
    service: Arc<Service>,
    tasks: JoinSet<()>,
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Builds the world, listens, and serves in the background.
pub async fn start(options: Options) -> Result<Sim, Error> {
    let Options { listen, world, issues, latency, faults, limits, jira, activity_per_s } = options;
    let unusual = faults.clone();
    let JiraOptions { size, time_zone, cards, logins } = jira;
    let built = tokio::task::spawn_blocking(move || {
        clock::zone(&time_zone).ok_or_else(|| Error::UnknownZone(time_zone.clone()))?;
        // A real git history has no seed; the site beside it is then the usual one.
        let seed = if let WorldSource::Seeded { seed, .. } = &world { *seed } else { 1 };
        let site = Site::build(seed, size, time_zone, Arc::new(Clock::default()));
        let world = World::build(&world, issues, site, seed)?;
        arrange(&world, &unusual)?;
        Ok(world)
    });
    let world = built.await.map_err(|error| Error::Git(error.to_string()))??;
    let refuse = |source| Error::Listen { address: listen, source };
    let listener = TcpListener::bind(listen).await.map_err(refuse)?;
    let address = listener.local_addr().map_err(refuse)?;
    let service = Arc::new(Service::new(world, limits, faults, latency, Jira { cards, logins }));
    let mut tasks = JoinSet::new();
    tasks.spawn(server::accept(listener, Arc::clone(&service)));
    tasks.spawn(server::deliver(Arc::clone(&service)));
    let mut sim = Sim { address, service, tasks };
    sim.keep_busy(activity_per_s);
    Ok(sim)
}

/// Brings the repositories into the states that were asked for.
fn arrange(world: &World, faults: &Faults) -> Result<(), Error> {
    let states = [
        (&faults.empty, State::Empty),
        (&faults.gone, State::Gone),
        (&faults.legal, State::Legal),
        (&faults.denied, State::Denied),
    ];
    for (names, state) in states {
        names.iter().try_for_each(|name| world.set_state(name, state))?;
    }
    for (names, links) in [(&faults.opaque, Links::Opaque), (&faults.nolast, Links::NoLast)] {
        names.iter().try_for_each(|name| world.set_links(name, links))?;
    }
    let mut named = faults.paused.iter().chain(&faults.stale);
    if let Some(name) = named.find(|it| world.find(it).is_none()) {
        return Err(Error::UnknownRepository(name.clone()));
    }
    faults.renamed.iter().try_for_each(|(old, new)| world.rename(old, new))
}

impl Sim {
    /// Returns where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the base URL of its GitHub.
    #[must_use]
    pub fn github_url(&self) -> String {
        format!("http://{}/github", self.address)
    }

    /// Returns the base URL of its GitLab, which shows the same repositories.
    #[must_use]
    pub fn gitlab_url(&self) -> String {
        format!("http://{}{}", self.address, gitlab::PREFIX)
    }

    /// Lists what it serves, by the provider's name; the two kinds of Jira show one site.
    #[must_use]
    pub fn providers(&self) -> Vec<(&'static str, String)> {
        vec![
            ("github", self.github_url()),
            ("gitlab", self.gitlab_url()),
            ("jira", self.jira_cloud_url()),
            ("jira-dc", self.jira_dc_url()),
        ]
    }

    /// Returns the base URL of its Jira Cloud.
    #[must_use]
    pub fn jira_cloud_url(&self) -> String {
        format!("http://{}{}", self.address, Deployment::Cloud.prefix())
    }

    /// Returns the base URL of its Jira Data Center, which shows the same site.
    #[must_use]
    pub fn jira_dc_url(&self) -> String {
        format!("http://{}{}", self.address, Deployment::DataCenter.prefix())
    }

    /// Lets the providers' clock stand at a moment, in milliseconds since the epoch, or follow the wall clock again.
    pub fn set_time(&self, at_ms: Option<i64>) {
        self.service.world.site().clock.set(at_ms);
    }

    /// Lets the providers' clock run, so many milliseconds ahead of the wall clock.
    pub fn run_ahead(&self, ahead_ms: i64) {
        self.service.world.site().clock.run_ahead(ahead_ms);
    }

    /// Serves other faults from now on. What state repositories are in stays; [`World::set_state`] changes that.
    pub fn set_faults(&self, faults: Faults) {
        self.service.set_faults(faults);
    }

    /// Returns what it was asked so far.
    #[must_use]
    pub fn report(&self) -> Report {
        self.service.recorder.report()
    }

    /// Lets people work from now on, so many things a second; see [`Options::activity_per_s`].
    pub fn keep_busy(&mut self, activity_per_s: f64) {
        if activity_per_s > 0.0 {
            self.tasks.spawn(server::keep_busy(Arc::clone(&self.service), activity_per_s));
        }
    }

    /// Starts the report over.
    pub fn reset_report(&self) {
        self.service.recorder.reset();
    }

    /// Returns the world, to change it and to learn the truth.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.service.world
    }

    /// Stops listening and ends every connection.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}
