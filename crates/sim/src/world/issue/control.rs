//! Changes to issues and pull requests while they are being read.
//! Must never date a change otherwise than by the providers' clock.

use serde_json::json;

use super::{Issue, IssueGone, Pull, id};
use crate::error::Error;
use crate::hash::mix;
use crate::lock::{read, write};
use crate::world::{FIRST_ID, World};

/// Who changes what nobody in particular changes.
const SOMEBODY: &str = "ada";

impl World {
    /// Tells of every issue and pull request of a repository, in the order of their numbers, also of those that are gone.
    pub fn issues(&self, repository: &str) -> Result<Vec<Issue>, Error> {
        Ok(read(&self.repository(repository)?.issues).clone())
    }

    /// Opens an issue and returns its number in the repository.
    pub fn open_issue(&self, repository: &str, title: &str) -> Result<u64, Error> {
        let found = self.seeded(repository)?;
        Ok(open(&mut write(&found.issues), found.id - FIRST_ID, (title, false), self.now_s()))
    }

    /// Opens a pull request and returns its number in the repository.
    pub fn open_pull(&self, repository: &str, title: &str) -> Result<u64, Error> {
        let found = self.seeded(repository)?;
        Ok(open(&mut write(&found.issues), found.id - FIRST_ID, (title, true), self.now_s()))
    }

    /// Gives an issue another title or other labels.
    pub fn edit_issue(
        &self,
        repository: &str,
        number: u64,
        title: Option<&str>,
        labels: Option<&[String]>,
    ) -> Result<(), Error> {
        self.change_issue(repository, number, |it, now_s| {
            if let Some(title) = title {
                let rename = json!({ "rename": { "from": it.title, "to": title } });
                it.happened("renamed", now_s, SOMEBODY, rename);
                title.clone_into(&mut it.title);
            }
            for label in labels
                .unwrap_or_default()
                .iter()
                .filter(|label| !it.labels.contains(label))
                .cloned()
                .collect::<Vec<_>>()
            {
                let labeled = json!({ "label": { "name": label, "color": "ededed" } });
                it.happened("labeled", now_s, SOMEBODY, labeled);
            }
            if let Some(labels) = labels {
                it.labels = labels.to_vec();
            }
            Ok(())
        })
    }

    /// Comments on an issue.
    pub fn comment_issue(&self, repository: &str, number: u64, text: &str) -> Result<(), Error> {
        self.change_issue(repository, number, |it, now_s| {
            it.comments += 1;
            it.happened("commented", now_s, SOMEBODY, json!({ "body": text }));
            Ok(())
        })
    }

    /// Closes an issue, or opens it again.
    pub fn close_issue(&self, repository: &str, number: u64, closed: bool) -> Result<(), Error> {
        self.change_issue(repository, number, |it, now_s| {
            if it.open != closed {
                return Err(if closed { "is not open" } else { "is not closed" });
            }
            it.open = !closed;
            it.closed_s = closed.then_some(now_s);
            let event = if closed { "closed" } else { "reopened" };
            it.happened(event, now_s, SOMEBODY, json!({ "state_reason": null }));
            Ok(())
        })
    }

    /// Merges a pull request.
    pub fn merge_pull(&self, repository: &str, number: u64) -> Result<(), Error> {
        self.change_issue(repository, number, |it, now_s| {
            let Some(pull) = it.pull.as_mut().filter(|pull| pull.merged_s.is_none() && it.open) else {
                return Err("is no open pull request");
            };
            pull.merged_s = Some(now_s);
            let merged = json!({ "commit_id": pull.sha });
            (it.open, it.closed_s) = (false, Some(now_s));
            it.happened("merged", now_s, SOMEBODY, merged);
            it.happened("closed", now_s, SOMEBODY, json!({ "state_reason": null }));
            Ok(())
        })
    }

    /// Reviews a pull request: `approved`, `changes_requested` or `commented`.
    pub fn review_pull(&self, repository: &str, number: u64, state: &str) -> Result<(), Error> {
        self.change_issue(repository, number, |it, now_s| {
            let Some(pull) = &it.pull else { return Err("is no pull request") };
            let review = json!({ "state": state, "body": "Looked at.", "commit_id": pull.sha });
            it.happened("reviewed", now_s, SOMEBODY, review);
            Ok(())
        })
    }

    /// Gives a pull request another head without changing its time, as GitHub does now and then.
    pub fn push_pull(&self, repository: &str, number: u64) -> Result<String, Error> {
        let found = self.repository(repository)?;
        let mut listed = write(&found.issues);
        let it = here(&mut listed, repository, number)?;
        let Some(pull) = it.pull.as_mut() else {
            return Err(wrong(repository, number, "is no pull request"));
        };
        let next = mix(pull.sha.bytes().fold(0, |all, byte| mix(all ^ u64::from(byte))));
        pull.sha = format!("{next:016x}{:016x}{:08x}", mix(next), next & 0xffff_ffff);
        Ok(pull.sha.clone())
    }

    /// Lets something happen to an issue, of any kind, also one that GitHub does not have.
    pub fn happen_to_issue(&self, repository: &str, number: u64, event: &str) -> Result<(), Error> {
        self.change_issue(repository, number, |it, now_s| {
            it.happened(event, now_s, SOMEBODY, json!({ "detail": { "of": event } }));
            Ok(())
        })
    }

    /// Deletes an issue.
    pub fn delete_issue(&self, repository: &str, number: u64) -> Result<(), Error> {
        self.change_issue(repository, number, |it, _| {
            if it.pull.is_some() {
                return Err("is a pull request, which nobody can delete");
            }
            it.gone = Some(IssueGone::Deleted);
            Ok(())
        })
    }

    /// Hides an issue or pull request, as all that a suspended account wrote.
    pub fn hide_issue(&self, repository: &str, number: u64) -> Result<(), Error> {
        self.change_issue(repository, number, |it, _| {
            it.gone = Some(IssueGone::Hidden);
            Ok(())
        })
    }

    /// Moves an issue into another repository and returns its number there.
    pub fn transfer_issue(&self, repository: &str, number: u64, to: &str) -> Result<u64, Error> {
        let target = self.seeded(to)?;
        let mut moved = None;
        self.change_issue(repository, number, |it, _| {
            if it.pull.is_some() {
                return Err("is a pull request, which nobody can transfer");
            }
            moved = Some(it.clone());
            Ok(())
        })?;
        let Some(mut issue) = moved else { return Err(wrong(repository, number, "is not there")) };
        let now_s = self.now_s();
        let there = {
            let mut listed = write(&target.issues);
            issue.number = listed.len() as u64 + 1;
            issue.id = id(target.id - FIRST_ID, issue.number);
            issue.happened("transferred", now_s, SOMEBODY, json!({}));
            issue.touch(now_s);
            listed.push(issue);
            listed.len() as u64
        };
        self.change_issue(repository, number, |it, _| {
            it.gone = Some(IssueGone::Transferred { repository: target.id, number: there });
            Ok(())
        })?;
        Ok(there)
    }

    fn now_s(&self) -> i64 {
        self.site().clock.now_ms().div_euclid(1_000)
    }

    fn change_issue(
        &self,
        repository: &str,
        number: u64,
        change: impl FnOnce(&mut Issue, i64) -> Result<(), &'static str>,
    ) -> Result<(), Error> {
        let found = self.repository(repository)?;
        let now_s = self.now_s();
        let mut listed = write(&found.issues);
        let it = here(&mut listed, repository, number)?;
        change(it, now_s).map_err(|why| wrong(repository, number, why))?;
        it.touch(now_s);
        Ok(())
    }
}

/// Opens an issue, or a pull request, in the repository with this place in its world.
fn open(listed: &mut Vec<Issue>, repository: u64, (title, pull): (&str, bool), now_s: i64) -> u64 {
    let number = listed.len() as u64 + 1;
    let id = id(repository, number);
    let random = mix(id);
    listed.push(Issue {
        id,
        number,
        title: title.to_owned(),
        open: true,
        author: SOMEBODY.to_owned(),
        labels: Vec::new(),
        comments: 0,
        created_s: now_s,
        updated_s: now_s,
        closed_s: None,
        pull: pull.then(|| Pull {
            id: id + 1,
            branch: format!("topic/{}", random >> 48),
            sha: format!("{random:016x}{:016x}{:08x}", mix(random), random & 0xffff_ffff),
            forkless: false,
            merged_s: None,
        }),
        events: Vec::new(),
        gone: None,
    });
    number
}

/// Finds an issue that is there.
fn here<'a>(listed: &'a mut [Issue], repository: &str, number: u64) -> Result<&'a mut Issue, Error> {
    let found = listed.iter_mut().find(|it| it.number == number && it.is_here());
    found.ok_or_else(|| Error::UnknownIssue { repository: repository.to_owned(), number })
}

fn wrong(repository: &str, number: u64, why: &'static str) -> Error {
    Error::WrongIssue { repository: repository.to_owned(), number, why }
}
