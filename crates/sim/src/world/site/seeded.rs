//! Makes a site from a seed: boards of every shape, sprints before, now and to come, and issues that lived.
//! Must never ask anything but its arguments: the same seed is the same site on every machine.

use super::issue::{Change, Comment, Facts, Issue, IssueKind, Status, What};
use super::person::somebody;
use super::{Access, Board, BoardKind, Project, SiteSize, Sprint, SprintState, State};
use crate::hash::{Digest, mix, pick};

/// Midnight of 2023-01-01, when the repositories' history begins, too.
const START_MS: i64 = 1_672_531_200_000;
/// A site's life spans two years, whatever its size.
const SPAN_MS: i64 = 2 * 365 * DAY_MS;
const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;
/// Numbers begin where a new site's do; all kinds count for themselves.
const FIRST_ID: u64 = 10_000;
const FIRST_ENTRY: u64 = 100_000;
/// The keys that commits of seeded repositories speak of; further projects are counted.
const KEYS: [&str; 5] = ["PAY", "OPS", "WEB2", "DATA", "CORE"];
const NAMES: [&str; 5] = ["Payments", "Operations", "Web shop", "Data platform", "Core"];
/// One sprint for as many issues, from the fewest that show every state to more than one page of them.
const ISSUES_A_SPRINT: usize = 12;
const SPRINTS_MIN: usize = 4;
const SPRINTS_MAX: usize = 60;
/// Every so many-th issue has more entries in its history than a page or an expansion holds.
const LONG_EVERY: usize = 37;
const LONG_ENTRIES: usize = 130;
const SUBJECTS: [&str; 10] = [
    "Refunds fail for invoices paid in two parts",
    "Show the payout date in the customer's own zone",
    "Search ignores accents: Zoë is not found",
    "Export \"all\" times out above 10 000 rows",
    "Let support merge two accounts & keep the history",
    "重复的通知邮件",
    "Upgrade the ledger to the new schema",
    "Rate limits are shown as an internal error",
    "Add <audit> entries for every role change",
    "The dark theme hides the focus ring 🌓",
];
const TEXTS: [&str; 3] = [
    "Steps:\n\n# open the form\n# press the button twice\n\nExpected: one refund. Seen: two.",
    "Asked for by three customers. See the note in the ledger's documentation.",
    "It worked in the last release; the change of the session store is the likely reason.",
];
const WORDS: [&str; 6] = ["backend", "frontend", "customer", "naïve", "needs-triage", "tech-debt"];

/// A site being made.
struct Draft {
    state: State,
    salt: u64,
    /// Where each project's sprints are worked on: closed ones, active ones, those to come.
    sprints: Vec<[Vec<u64>; 3]>,
}

/// Makes a site.
pub(super) fn generate(seed: u64, size: SiteSize) -> State {
    let salt = Digest::new(21).word(seed).word(size.projects as u64).word(size.issues as u64).short();
    let state = State { last_issue: FIRST_ID - 1, last_entry: FIRST_ENTRY, ..State::default() };
    let mut draft = Draft { state, salt, sprints: Vec::new() };
    for at in 0..size.projects {
        draft.project(at, size.issues);
    }
    draft.shared_board();
    for at in 0..size.projects {
        draft.issues(at, size.issues);
    }
    draft.state
}

/// Converts a count of few into milliseconds' arithmetic.
fn int(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Draft {
    fn project(&mut self, at: usize, issues: usize) {
        let key = KEYS.get(at).map_or_else(|| format!("TEAM{}", at + 1), |key| (*key).to_owned());
        let name = NAMES.get(at).map_or_else(|| format!("Team {}", at + 1), |name| (*name).to_owned());
        let id = FIRST_ID + at as u64;
        self.state.projects.push(Project { id, key: key.clone(), name, access: Access::Ok, last_number: 0 });
        let scrum = self.board(format!("{key} board"), BoardKind::Scrum, vec![at]);
        // In turn: a team in sprints; one with two sprints at once and a kanban board beside; one without sprints.
        let (active, kanban, sprints) = match at % 4 {
            1 => (2, true, true),
            2 => (0, true, false),
            _ => (1, false, true),
        };
        if kanban {
            self.board(format!("{key} kanban"), BoardKind::Kanban, vec![at]);
        }
        let count = if sprints { (issues / ISSUES_A_SPRINT).clamp(SPRINTS_MIN, SPRINTS_MAX) } else { 0 };
        let made =
            (0..count).map(|number| self.sprint(at, scrum, &key, number, count, active)).collect::<Vec<_>>();
        let sprints = &self.state.sprints;
        let of = |state: SprintState| made.iter().copied().filter(move |id| sprints[id].state == state);
        let sorted =
            [SprintState::Closed, SprintState::Active, SprintState::Future].map(|it| of(it).collect());
        self.sprints.push(sorted);
    }

    fn board(&mut self, name: String, kind: BoardKind, projects: Vec<usize>) -> u64 {
        let id = self.state.boards.len() as u64 + 1;
        self.state.boards.insert(id, Board { id, name, kind, projects, access: Access::Ok });
        id
    }

    /// Adds a board over the first two projects: it shows sprints that were made elsewhere.
    fn shared_board(&mut self) {
        if self.state.projects.len() > 1 {
            self.board("Release train".to_owned(), BoardKind::Scrum, vec![0, 1]);
        }
    }

    fn sprint(
        &mut self,
        at: usize,
        board: u64,
        key: &str,
        number: usize,
        count: usize,
        active: usize,
    ) -> u64 {
        let state = match count - 1 - number {
            0 => SprintState::Future,
            left if left <= active => SprintState::Active,
            _ => SprintState::Closed,
        };
        let length = SPAN_MS / int(count);
        let start = START_MS + int(number) * length + 9 * HOUR_MS;
        let (begun, over) = (state != SprintState::Future, state == SprintState::Closed);
        let id = self.state.next_sprint();
        let sprint = Sprint {
            id,
            name: format!("{key} Sprint {}", number + 1),
            goal: (number % 3 != 2)
                .then(|| format!("{} without surprises", SUBJECTS[number % SUBJECTS.len()])),
            state,
            board,
            project: at,
            created_ms: start - 2 * DAY_MS,
            start_ms: begun.then_some(start),
            end_ms: begun.then_some(start + length.min(14 * DAY_MS)),
            complete_ms: over.then_some(start + length.min(14 * DAY_MS) + 7 * HOUR_MS + 345),
        };
        self.state.sprints.insert(id, sprint);
        id
    }

    fn issues(&mut self, at: usize, issues: usize) {
        let step = SPAN_MS / int(issues.max(1));
        let (mut epic, mut story) = (None, None);
        for number in 0..issues {
            let random = mix(self.salt ^ mix(((at as u64) << 32) | number as u64));
            let kind = match number % 10 {
                0 if number % 20 == 0 => IssueKind::Epic,
                3 if story.is_some() => IssueKind::Subtask,
                1 | 2 | 5 => IssueKind::Story,
                4 | 8 => IssueKind::Bug,
                _ => IssueKind::Task,
            };
            let parent = if kind == IssueKind::Subtask { story } else { epic };
            let created = START_MS + int(number) * step + int(pick(random >> 20, 86_400_000)) % step.max(1);
            let id = self.issue(at, number, kind, parent.filter(|_| kind != IssueKind::Epic), created);
            self.live(id, random, number, issues);
            match kind {
                IssueKind::Epic => epic = Some(id),
                IssueKind::Story => story = Some(id),
                _ => {}
            }
        }
    }

    fn issue(
        &mut self,
        at: usize,
        number: usize,
        kind: IssueKind,
        parent: Option<u64>,
        created_ms: i64,
    ) -> u64 {
        let random = mix(self.salt ^ mix(created_ms.cast_unsigned()));
        let id = self.state.next_issue();
        let project = &mut self.state.projects[at];
        project.last_number += 1;
        let facts = Facts {
            project: at,
            number: project.last_number,
            kind,
            status: Status::ToDo,
            assignee: None,
            reporter: somebody(random >> 8),
            parent,
            sprints: Vec::new(),
            labels: Vec::new(),
            created_ms,
            updated_ms: created_ms,
            resolved_ms: None,
        };
        self.state.keys.insert(self.state.key(&facts), id);
        let mut issue =
            Issue::new(id, facts, format!("{} ({})", SUBJECTS[pick(random, SUBJECTS.len())], number + 1));
        issue.description =
            (random >> 16 & 3 != 0).then(|| TEXTS[pick(random >> 18, TEXTS.len())].to_owned());
        // A day, whatever the zone: the 28th exists in every month.
        issue.due = (random >> 24)
            .is_multiple_of(8)
            .then(|| format!("2025-{:02}-{:02}", random % 12 + 1, random % 28 + 1));
        if let (IssueKind::Subtask, Some(parent)) = (kind, parent)
            && let Some(parent) = self.state.issues.get_mut(&parent)
        {
            issue.facts.sprints.clone_from(&parent.facts.sprints);
            parent.subtasks.push(id);
        }
        self.state.issues.insert(id, issue);
        id
    }

    /// Chooses the sprints that an issue goes through, by how far the project's life is.
    fn way(&self, facts: &Facts, random: u64, number: usize, issues: usize) -> Vec<u64> {
        let [closed, active, future] = &self.sprints[facts.project];
        if matches!(facts.kind, IssueKind::Epic | IssueKind::Subtask) || active.is_empty() {
            return Vec::new();
        }
        let part = number * 100 / issues.max(1);
        let mut way = Vec::new();
        match part {
            0..55 => way.extend(closed.get(part * closed.len() / 55)),
            55..80 => {
                // Work that was not finished was carried over, some of it more than once.
                let carried = if random.is_multiple_of(4) { 1 + pick(random >> 4, 2) } else { 0 };
                way.extend(closed.iter().skip(closed.len().saturating_sub(carried)));
                way.extend(active.get(pick(random >> 8, active.len())));
            }
            80..88 => way.extend(future.first()),
            _ => {}
        }
        way
    }

    /// Gives an issue its history.
    fn live(&mut self, id: u64, random: u64, number: usize, issues: usize) {
        let way = self.way(&self.state.issues[&id].facts, random, number, issues);
        let facts = &self.state.issues[&id].facts;
        let done = facts.created_ms < START_MS + SPAN_MS * 55 / 100;
        let progress = if done { 3 } else { pick(random >> 12, 4) };
        let mut story = Vec::new();
        let mut held: Vec<u64> = Vec::new();
        for sprint in way {
            let after = held.iter().copied().chain([sprint]).collect::<Vec<_>>();
            story.push(What::Sprint(std::mem::replace(&mut held, after.clone()), after));
        }
        if random >> 28 & 3 != 0 {
            story.push(What::Assignee(None, Some(somebody(random >> 30))));
        }
        if random >> 34 & 1 == 0 {
            story.push(What::Points(None, Some([1, 2, 3, 5, 8][pick(random >> 35, 5)])));
        }
        let labels = vec![WORDS[pick(random >> 38, WORDS.len())].to_owned()];
        if number % LONG_EVERY == LONG_EVERY - 1 {
            let flip =
                |turn: usize| if turn.is_multiple_of(2) { What::Rank(true) } else { What::Rank(false) };
            story.extend((0..LONG_ENTRIES).map(flip));
        }
        story.push(What::Labels(Vec::new(), labels));
        for step in 0..progress {
            story.push(What::Status(Status::ALL[step], Status::ALL[step + 1]));
        }
        self.play(id, random, story);
    }

    /// Lets things happen one after the other, hours apart, each with its milliseconds.
    fn play(&mut self, id: u64, random: u64, story: Vec<What>) {
        let state = &mut self.state;
        let first = state.last_entry + 1;
        state.last_entry += story.len() as u64 + 2;
        let Some(issue) = state.issues.get_mut(&id) else { return };
        let mut at_ms = issue.facts.created_ms;
        for (what, entry) in story.into_iter().zip(first..) {
            at_ms += HOUR_MS / 2 + int(pick(mix(random ^ entry), 5_400_000));
            if let What::Sprint(_, to) = &what {
                // Nothing is planned into a sprint that is not there yet.
                let planned = to.last().and_then(|id| state.sprints.get(id)).map_or(0, |it| it.created_ms);
                at_ms = at_ms.max(planned + int(pick(mix(random ^ entry), 86_400_000)));
            }
            match &what {
                What::Status(_, to) => {
                    issue.facts.status = *to;
                    issue.facts.resolved_ms = (*to == Status::Done).then_some(at_ms);
                }
                What::Assignee(_, to) => issue.facts.assignee = *to,
                What::Sprint(_, to) => issue.facts.sprints.clone_from(to),
                What::Points(_, to) => issue.points = *to,
                What::Labels(_, to) => issue.facts.labels.clone_from(to),
                _ => {}
            }
            issue.changes.push(Change { id: entry, author: somebody(mix(entry)), at_ms, what });
        }
        for turn in 0..pick(random >> 50, 3) {
            at_ms += HOUR_MS + int(pick(random >> 20, 3_600_000));
            let text = TEXTS[pick(random >> (turn + 3), TEXTS.len())].to_owned();
            let entry = state.last_entry - turn as u64;
            issue.comments.push(Comment { id: entry, author: somebody(random >> 44), at_ms, text });
        }
        issue.facts.updated_ms = at_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::{What, generate};
    use crate::world::site::{BoardKind, IssueKind, SiteSize, SprintState};

    #[test]
    fn a_site_has_boards_and_sprints_of_every_kind() {
        let state = generate(1, SiteSize::default());
        let kinds = |kind| state.boards.values().filter(|it| it.kind == kind).count();
        assert_eq!((kinds(BoardKind::Scrum), kinds(BoardKind::Kanban)), (4, 2));
        for (wanted, least) in [(SprintState::Closed, 5), (SprintState::Active, 3), (SprintState::Future, 2)]
        {
            let found = state.sprints.values().filter(|it| it.state == wanted).count();
            assert!(found >= least, "{found} {wanted:?}");
        }
        let without = state.boards.values().filter(|it| state.sprints_of(it).count() == 0).count();
        assert_eq!(without, 3, "two kanban boards, and a scrum board that has none yet");
    }

    #[test]
    fn issues_have_parts_histories_and_sprints() {
        let state = generate(1, SiteSize { projects: 2, issues: 200 });
        let count = |wanted: &dyn Fn(&crate::world::site::Issue) -> bool| {
            state.issues.values().filter(|it| wanted(it)).count()
        };
        assert_eq!(state.issues.len(), 400);
        assert!(count(&|it| it.facts.kind == IssueKind::Subtask && it.facts.parent.is_some()) > 30);
        assert!(count(&|it| it.changes.len() > 100) >= 10);
        assert!(count(&|it| it.facts.sprints.len() > 1) > 5);
        assert!(count(&|it| state.open_sprint(&it.facts).is_some()) > 60);
        let planned = |it: &crate::world::site::Issue| {
            it.changes.iter().all(|change| match &change.what {
                What::Sprint(_, to) => change.at_ms >= state.sprints[to.last().unwrap()].created_ms,
                _ => true,
            })
        };
        assert_eq!(count(&planned), 400, "nothing is planned into a sprint that is not there yet");
        let ordered = |it: &crate::world::site::Issue| it.changes.is_sorted_by_key(|change| change.at_ms);
        assert_eq!(count(&ordered), 400);
        assert!(
            state
                .issues
                .values()
                .all(|it| it.changes.iter().all(|change| change.at_ms <= it.facts.updated_ms))
        );
    }
}
