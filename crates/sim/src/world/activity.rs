//! People at work by themselves: commits, branches and merge requests in seeded repositories, and the life of a Jira
//! site.
//! Must never do what a person could not; what comes next is decided by the seed and the number of the thing.

use std::sync::atomic::{AtomicU64, Ordering};

use super::World;
use super::control::Dates;
use super::merge_request::MergeRequestState;
use super::site::{Edit, IssueKind, PEOPLE, SiteControl, SprintState, State, Status, somebody};
use crate::error::Error;
use crate::hash::{mix, pick};
use crate::lock::read;

/// Fewer branches than these are not deleted, so that there is always something to work on.
const BRANCHES_MIN: usize = 4;
/// How often an issue is looked for that is in an open sprint, before any is taken.
const LOOKS: u64 = 8;
const REMARKS: [&str; 5] = [
    "I can see it, too.",
    "Waiting for the numbers of last week.",
    "Fixed on main; please look again. 👍",
    "Nicht reproduzierbar — kannst du den Verlauf anhängen?",
    "Moved the rest to a story of its own.",
];
const WISHES: [&str; 4] = [
    "Say why a payment was refused",
    "Keep the filter when going back",
    "Télécharger en PDF",
    "Alert on a slow export",
];

const LABELS: [&str; 3] = ["reviewed", "needs-tests", "waiting"];

/// How far the work has come.
pub(super) struct Rhythm {
    seed: u64,
    done: AtomicU64,
}

impl Rhythm {
    /// Begins with nothing done.
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, done: AtomicU64::new(0) }
    }

    fn next(&self) -> u64 {
        mix(self.seed ^ mix(self.done.fetch_add(1, Ordering::Relaxed).wrapping_add(0x5eed)))
    }
}

impl World {
    /// Tells how many things were done by themselves.
    pub fn things_done(&self) -> u64 {
        self.work.done.load(Ordering::Relaxed)
    }

    /// Lets people do so many things, in turn at both providers.
    pub fn work(&self, things: u32) {
        for _ in 0..things {
            let random = self.work.next();
            let done = if random & 1 == 0 { self.code(random >> 1) } else { self.organise(random >> 1) };
            if let Err(error) = done {
                // A script may have taken away what somebody was about to change.
                tracing::debug!(%error, "somebody could not work");
            }
        }
    }

    /// Lets somebody push, merge or tidy up.
    fn code(&self, random: u64) -> Result<(), Error> {
        let seeded = |it: &&std::sync::Arc<super::Repository>| {
            it.current().is_ok_and(|history| read(&history.graph).salt().is_some())
        };
        let repositories: Vec<_> = self.repositories.iter().filter(seeded).collect();
        let Some(repository) = repositories.get(pick(random, repositories.len())) else {
            return self.organise(random);
        };
        let name = repository.identity().full_name();
        let (branches, main) = {
            let history = repository.current()?;
            let graph = read(&history.graph);
            (graph.branches.keys().cloned().collect::<Vec<_>>(), graph.default_branch.clone())
        };
        let now = self.site.clock.now_ms() / 1_000;
        let dates = |latest: i64| Dates { first: now.max(latest + 1), step: 1 };
        let side: Vec<&String> = branches.iter().filter(|it| **it != main).collect();
        let any = side.get(pick(random >> 8, side.len())).map_or(main.as_str(), |it| it.as_str());
        match random >> 16 & 31 {
            0..12 => self.push_at(&name, &main, 1 + pick(random >> 24, 2), dates).map(drop),
            12..23 => {
                self.push_at(&name, any, 1 + pick(random >> 24, 3), dates)?;
                self.review(&name, random >> 32)
            }
            23..26 => {
                let branch = format!(
                    "feature/{}-{}",
                    ["PAY", "OPS", "WEB2"][pick(random >> 24, 3)],
                    random >> 40 & 0xffff
                );
                if branches.contains(&branch) {
                    return self.push_at(&name, &branch, 1, dates).map(drop);
                }
                self.create_branch(&name, &branch, &main)?;
                self.push_at(&name, &branch, 1, dates)?;
                let title = WISHES[pick(random >> 24, WISHES.len())];
                self.open_merge_request(&name, &branch, &main, title).map(drop)
            }
            26..29 if any != main => self.merge_at(&name, any, &main, dates).map(drop),
            29 if any != main && branches.len() > BRANCHES_MIN => self.delete_branch(&name, any),
            30 if any != main => self.force_push_at(&name, any, dates).map(drop),
            _ => self.push_at(&name, &main, 1, dates).map(drop),
        }
    }

    /// Lets somebody look at a merge request, now and then.
    fn review(&self, repository: &str, random: u64) -> Result<(), Error> {
        let listed = self.merge_requests(repository)?;
        let of = |state| listed.iter().filter(|it| it.state == state).map(|it| it.iid).collect::<Vec<_>>();
        let open = of(MergeRequestState::Opened);
        let some = |from: &[u64]| from.get(pick(random >> 8, from.len())).copied();
        match (random & 15, some(&open), some(&of(MergeRequestState::Closed))) {
            (0, Some(iid), _) => self.close_merge_request(repository, iid),
            (1, _, Some(iid)) => self.reopen_merge_request(repository, iid),
            (2..6, Some(iid), _) => {
                let labels = [LABELS[pick(random >> 16, LABELS.len())].to_owned()];
                self.edit_merge_request(repository, iid, None, Some(&labels))
            }
            _ => Ok(()),
        }
    }

    /// Lets somebody work at the Jira site.
    fn organise(&self, random: u64) -> Result<(), Error> {
        let who = somebody(random >> 4);
        let controls = choose(&self.site.state(), random);
        for control in controls {
            self.site.apply_as(who, &control)?;
        }
        Ok(())
    }
}

/// Chooses what somebody does next; more than one change is one thing, such as the end of a sprint.
fn choose(state: &State, random: u64) -> Vec<SiteControl> {
    let Some(id) = an_issue(state, random) else { return Vec::new() };
    let issue = &state.issues[&id];
    let named = id.to_string();
    let edit = |edit: Edit| vec![SiteControl::Edit(Edit { issue: named.clone(), ..edit })];
    match random >> 8 & 63 {
        0..20 => {
            let at = Status::ALL.iter().position(|it| *it == issue.facts.status).unwrap_or_default();
            // What is done is now and then found not to be.
            let next = Status::ALL.get(at + 1).copied().unwrap_or(Status::InProgress);
            edit(Edit { status: Some(next), ..Edit::default() })
        }
        20..30 => {
            let text = REMARKS[pick(random >> 20, REMARKS.len())].to_owned();
            vec![SiteControl::Comment { issue: named, text }]
        }
        30..38 => {
            let name = PEOPLE[somebody(random >> 20)].name.to_owned();
            edit(Edit { assignee: Some(name), ..Edit::default() })
        }
        38..44 => {
            let points = [1, 2, 3, 5, 8][pick(random >> 20, 5)];
            edit(Edit { points: Some(points), labels: Some(vec!["groomed".to_owned()]), ..Edit::default() })
        }
        44..51 => {
            let sprint =
                open_sprint(state, issue.facts.project, random >> 20).filter(|_| random >> 30 & 3 != 0);
            vec![SiteControl::Move { issue: named, sprint, quiet: false }]
        }
        51..60 => {
            let kind = [IssueKind::Story, IssueKind::Task, IssueKind::Bug][pick(random >> 20, 3)];
            let summary = WISHES[pick(random >> 24, WISHES.len())].to_owned();
            let project = state.projects[issue.facts.project].key.clone();
            let sprint =
                open_sprint(state, issue.facts.project, random >> 26).filter(|_| random >> 36 & 1 == 0);
            vec![SiteControl::Create { project, kind, summary, parent: None, sprint }]
        }
        60 => vec![SiteControl::Delete { issue: named }],
        61 => turn_over(state, issue.facts.project),
        _ => {
            let summary = format!("{} — {}", WISHES[pick(random >> 24, WISHES.len())], random >> 40 & 0xff);
            edit(Edit { summary: Some(summary), ..Edit::default() })
        }
    }
}

/// Finds an issue, rather one that is in an open sprint.
fn an_issue(state: &State, random: u64) -> Option<u64> {
    let (first, last) = (state.issues.keys().next()?, state.issues.keys().next_back()?);
    let found = |look: u64| {
        let from = first + mix(random ^ look) % (last - first + 1);
        state.issues.range(from..).next().map(|(id, _)| *id)
    };
    let open = |id: &u64| state.open_sprint(&state.issues[id].facts).is_some();
    (0..LOOKS).filter_map(found).find(open).or_else(|| found(LOOKS))
}

/// Finds a sprint of a project that work can be put into.
fn open_sprint(state: &State, project: usize, random: u64) -> Option<u64> {
    let open = state.sprints.values().filter(|it| it.project == project && it.state != SprintState::Closed);
    let open: Vec<u64> = open.map(|it| it.id).collect();
    open.get(pick(random, open.len())).copied()
}

/// Ends a project's sprint and begins the next one, and plans another.
fn turn_over(state: &State, project: usize) -> Vec<SiteControl> {
    let first =
        |wanted: SprintState| state.sprints.values().find(|it| it.project == project && it.state == wanted);
    let (Some(active), Some(next)) = (first(SprintState::Active), first(SprintState::Future)) else {
        return Vec::new();
    };
    let name = format!("{} Sprint {}", state.projects[project].key, state.last_sprint + 1);
    vec![
        SiteControl::CloseSprint { sprint: active.id, to: Some(next.id) },
        SiteControl::StartSprint { sprint: next.id },
        SiteControl::CreateSprint { board: active.board, name },
    ]
}
