//! Changes to a world while it is being read: renames, states, and pushes of every awkward kind.
//! Must never change a real git repository.

mod change;

pub use self::change::Control;
use super::graph::Graph;
use super::repository::{Links, Repository, State};
use super::{World, split_name};
use crate::error::Error;
use crate::lock::{read, write};

/// Commits that are pushed lie ten minutes apart.
const PUSH_STEP_S: i64 = 600;
/// A force push replaces up to this many commits, and pushes as many.
const FORCE_PUSH_COMMITS: usize = 3;

/// When new commits are dated, in seconds.
#[derive(Clone, Copy)]
pub(super) struct Dates {
    pub(super) first: i64,
    pub(super) step: i64,
}

impl Dates {
    fn after(latest: i64) -> Self {
        Self { first: latest + PUSH_STEP_S, step: PUSH_STEP_S }
    }
}

impl World {
    /// Makes one change.
    pub fn apply(&self, repository: &str, control: &Control) -> Result<(), Error> {
        match control {
            Control::Rename(new) => self.rename(repository, new),
            Control::State(state) => self.set_state(repository, *state),
            Control::Archive(archived) => self.archive(repository, *archived),
            Control::Push { branch, commits, days_old } => {
                self.push_old(repository, branch, *commits, *days_old).map(drop)
            }
            Control::CreateBranch { name, from } => self.create_branch(repository, name, from).map(drop),
            Control::Merge { branch, into } => self.merge(repository, branch, into).map(drop),
            Control::ForcePush { branch } => self.force_push(repository, branch).map(drop),
            Control::DeleteBranch { branch } => self.delete_branch(repository, branch),
            Control::OpenMergeRequest { branch, into, title } => {
                self.open_merge_request(repository, branch, into, title).map(drop)
            }
            Control::EditMergeRequest { iid, title, labels } => {
                self.edit_merge_request(repository, *iid, title.as_deref(), labels.as_deref())
            }
            Control::CloseMergeRequest { iid } => self.close_merge_request(repository, *iid),
            Control::ReopenMergeRequest { iid } => self.reopen_merge_request(repository, *iid),
            Control::DeleteMergeRequest { iid } => self.delete_merge_request(repository, *iid),
            Control::OpenIssue { title } => self.open_issue(repository, title).map(drop),
            Control::OpenPull { title } => self.open_pull(repository, title).map(drop),
            Control::EditIssue { number, title, labels } => {
                self.edit_issue(repository, *number, title.as_deref(), labels.as_deref())
            }
            Control::CommentIssue { number, text } => self.comment_issue(repository, *number, text),
            Control::CloseIssue { number } => self.close_issue(repository, *number, true),
            Control::MergePull { number } => self.merge_pull(repository, *number),
            Control::ReviewPull { number, state } => self.review_pull(repository, *number, state),
            Control::PushPull { number } => self.push_pull(repository, *number).map(drop),
            Control::HappenToIssue { number, event } => self.happen_to_issue(repository, *number, event),
            Control::DeleteIssue { number } => self.delete_issue(repository, *number),
            Control::HideIssue { number } => self.hide_issue(repository, *number),
            Control::TransferIssue { number, to } => self.transfer_issue(repository, *number, to).map(drop),
        }
    }

    /// Renames a repository; the old name answers 301 from then on.
    pub fn rename(&self, old: &str, new: &str) -> Result<(), Error> {
        let repository = self.repository(old)?;
        let (owner, name) = split_name(new)?;
        let mut names = write(&self.names);
        if let Some(other) = names.get(&new.to_lowercase())
            && other.id != repository.id
            && other.identity().full_name().eq_ignore_ascii_case(new)
        {
            return Err(Error::NameTaken(new.to_owned()));
        }
        repository.change(|identity| {
            owner.clone_into(&mut identity.owner);
            name.clone_into(&mut identity.name);
        });
        names.insert(new.to_lowercase(), repository);
        Ok(())
    }

    /// Sets what a repository answers with.
    pub fn set_state(&self, repository: &str, state: State) -> Result<(), Error> {
        self.repository(repository)?.change(|identity| identity.state = state);
        Ok(())
    }

    /// Archives a repository, or brings it back.
    pub fn archive(&self, repository: &str, archived: bool) -> Result<(), Error> {
        self.repository(repository)?.change(|identity| identity.archived = archived);
        Ok(())
    }

    /// Sets how a repository's commits list links its pages.
    pub(crate) fn set_links(&self, repository: &str, links: Links) -> Result<(), Error> {
        self.repository(repository)?.change(|identity| identity.links = links);
        Ok(())
    }

    /// Pushes commits and returns the new head.
    pub fn push(&self, repository: &str, branch: &str, commits: usize) -> Result<String, Error> {
        self.push_old(repository, branch, commits, 0)
    }

    /// Pushes commits whose dates are too old by some days and returns the new head.
    pub fn push_old(
        &self,
        repository: &str,
        branch: &str,
        commits: usize,
        days_old: u32,
    ) -> Result<String, Error> {
        self.push_at(repository, branch, commits, |latest| Dates {
            first: latest + PUSH_STEP_S - i64::from(days_old) * 86_400,
            step: PUSH_STEP_S,
        })
    }

    /// Pushes commits with dates that follow from the latest one.
    pub(super) fn push_at(
        &self,
        repository: &str,
        branch: &str,
        commits: usize,
        dates: impl FnOnce(i64) -> Dates,
    ) -> Result<String, Error> {
        self.edit(repository, |graph| {
            let head = head(graph, repository, branch)?;
            let dates = dates(graph.latest_date());
            Ok((branch.to_owned(), grow(graph, Some(head), commits, dates)))
        })
    }

    /// Makes a branch at another one's head and returns that head.
    pub fn create_branch(&self, repository: &str, name: &str, from: &str) -> Result<String, Error> {
        self.edit(repository, |graph| {
            if graph.branches.contains_key(name) {
                return Err(Error::BranchTaken {
                    repository: repository.to_owned(),
                    branch: name.to_owned(),
                });
            }
            Ok((name.to_owned(), head(graph, repository, from)?))
        })
    }

    /// Merges a branch into another and returns the merge commit; a merge request that asks for it is merged, too.
    pub fn merge(&self, repository: &str, branch: &str, into: &str) -> Result<String, Error> {
        self.merge_at(repository, branch, into, Dates::after)
    }

    /// Merges a branch into another with a date that follows from the latest one.
    pub(super) fn merge_at(
        &self,
        repository: &str,
        branch: &str,
        into: &str,
        dates: impl FnOnce(i64) -> Dates,
    ) -> Result<String, Error> {
        let merged = self.edit(repository, |graph| {
            let parents = [head(graph, repository, into)?, head(graph, repository, branch)?];
            let date = dates(graph.latest_date()).first;
            Ok((into.to_owned(), graph.append(&parents, date)))
        })?;
        self.merged(repository, branch, into, &merged)?;
        Ok(merged)
    }

    /// Replaces up to three of a branch's last commits with three others and returns the new head.
    pub fn force_push(&self, repository: &str, branch: &str) -> Result<String, Error> {
        self.force_push_at(repository, branch, Dates::after)
    }

    /// Replaces commits with others whose dates follow from the latest one.
    pub(super) fn force_push_at(
        &self,
        repository: &str,
        branch: &str,
        dates: impl FnOnce(i64) -> Dates,
    ) -> Result<String, Error> {
        self.edit(repository, |graph| {
            let head = head(graph, repository, branch)?;
            let kept =
                std::iter::successors(Some(head), |at| graph.parents(*at).next()).nth(FORCE_PUSH_COMMITS);
            let dates = dates(graph.latest_date());
            Ok((branch.to_owned(), grow(graph, kept, FORCE_PUSH_COMMITS, dates)))
        })
    }

    /// Deletes a branch.
    pub fn delete_branch(&self, repository: &str, branch: &str) -> Result<(), Error> {
        let history = self.seeded(repository)?.current()?;
        let mut graph = write(&history.graph);
        head(&graph, repository, branch)?;
        graph.branches.remove(branch);
        Ok(())
    }

    /// Finds a repository that may be changed.
    pub(super) fn seeded(&self, name: &str) -> Result<std::sync::Arc<Repository>, Error> {
        let repository = self.repository(name)?;
        let seeded = read(&repository.current()?.graph).salt().is_some();
        if seeded { Ok(repository) } else { Err(Error::NotSeeded(name.to_owned())) }
    }

    /// Moves one branch and returns where to.
    fn edit(
        &self,
        repository: &str,
        change: impl FnOnce(&mut Graph) -> Result<(String, u32), Error>,
    ) -> Result<String, Error> {
        let history = self.seeded(repository)?.current()?;
        let (branch, head) = {
            let mut graph = write(&history.graph);
            let (branch, head) = change(&mut graph)?;
            graph.branches.insert(branch.clone(), head);
            (branch, graph.sha(head).to_string())
        };
        self.pushed(repository, &branch, &head)?;
        Ok(head)
    }
}

fn head(graph: &Graph, repository: &str, branch: &str) -> Result<u32, Error> {
    let unknown = || Error::UnknownBranch { repository: repository.to_owned(), branch: branch.to_owned() };
    graph.branches.get(branch).copied().ok_or_else(unknown)
}

/// Appends a line of commits and returns the last.
fn grow(graph: &mut Graph, from: Option<u32>, commits: usize, dates: Dates) -> u32 {
    let (mut tip, mut date) = (from, dates.first);
    for _ in 0..commits.max(1) {
        tip = Some(graph.append(tip.as_slice(), date));
        date += dates.step;
    }
    tip.unwrap_or_default()
}
