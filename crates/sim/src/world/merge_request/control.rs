//! Changes to merge requests while they are being read.
//! Must never date a change otherwise than by the providers' clock, whatever dates commits have.

use super::{Account, MergeRequest, MergeRequestState, NOTES, Note, id};
use crate::error::Error;
use crate::lock::{read, write};
use crate::world::{FIRST_ID, World};

/// Who changes what nobody in particular changes.
const SOMEBODY: (&str, &str) = ("Ada Byrne", "ada@acme.example");

impl World {
    /// Tells of every merge request of a repository, in the order of their numbers.
    pub fn merge_requests(&self, repository: &str) -> Result<Vec<MergeRequest>, Error> {
        Ok(read(&self.repository(repository)?.merge_requests).clone())
    }

    /// Opens a merge request and returns its number in the repository.
    pub fn open_merge_request(
        &self,
        repository: &str,
        branch: &str,
        into: &str,
        title: &str,
    ) -> Result<u64, Error> {
        let found = self.seeded(repository)?;
        let unknown = |branch: &str| Error::UnknownBranch {
            repository: repository.to_owned(),
            branch: branch.to_owned(),
        };
        let sha = {
            let history = found.current()?;
            let graph = read(&history.graph);
            graph.branches.get(into).ok_or_else(|| unknown(into))?;
            graph.sha(*graph.branches.get(branch).ok_or_else(|| unknown(branch))?).to_string()
        };
        let now_ms = self.site().clock.now_ms();
        let mut listed = write(&found.merge_requests);
        if let Some(other) = listed.iter().find(|it| it.is_open_for(branch, into)) {
            return Err(wrong(repository, other.iid, "is open for the same branches"));
        }
        let iid = listed.last().map_or(0, |last| last.iid) + 1;
        listed.push(MergeRequest {
            id: id(found.id - FIRST_ID, iid),
            iid,
            title: title.to_owned(),
            description: String::new(),
            state: MergeRequestState::Opened,
            author: Account::of(SOMEBODY.0, SOMEBODY.1),
            labels: Vec::new(),
            source_branch: branch.to_owned(),
            target_branch: into.to_owned(),
            sha,
            merge_sha: None,
            created_ms: now_ms,
            updated_ms: now_ms,
            merged: None,
            closed: None,
            notes: 0,
            said: Vec::new(),
        });
        Ok(iid)
    }

    /// Gives a merge request another title or other labels.
    pub fn edit_merge_request(
        &self,
        repository: &str,
        iid: u64,
        title: Option<&str>,
        labels: Option<&[String]>,
    ) -> Result<(), Error> {
        self.change_merge_request(repository, iid, |it| {
            if let Some(title) = title {
                title.clone_into(&mut it.title);
            }
            if let Some(labels) = labels {
                it.labels = labels.to_vec();
            }
            Ok(())
        })
    }

    /// Says something of a merge request.
    pub fn note_merge_request(&self, repository: &str, iid: u64, body: &str) -> Result<(), Error> {
        let now_ms = self.site().clock.now_ms();
        self.change_merge_request(repository, iid, |it| {
            let nth = u64::from(it.notes) + it.said.len() as u64;
            let author = Account::of(SOMEBODY.0, SOMEBODY.1);
            let (id, body) = (it.id * NOTES + nth, body.to_owned());
            it.said.push(Note { id, body, author, at_ms: now_ms, edited_ms: now_ms, system: false });
            Ok(())
        })
    }

    /// Changes what somebody said of a merge request; the merge request changes by it, too.
    pub fn edit_note(&self, repository: &str, iid: u64, note: u64, body: &str) -> Result<(), Error> {
        let now_ms = self.site().clock.now_ms();
        self.change_merge_request(repository, iid, |it| {
            let Some(note) = it.said.iter_mut().find(|it| it.id == note) else {
                return Err("has no such note that could be changed");
            };
            body.clone_into(&mut note.body);
            note.edited_ms = now_ms;
            Ok(())
        })
    }

    /// Closes an open merge request without a merge.
    pub fn close_merge_request(&self, repository: &str, iid: u64) -> Result<(), Error> {
        let now_ms = self.site().clock.now_ms();
        self.change_merge_request(repository, iid, |it| {
            if it.state != MergeRequestState::Opened {
                return Err("is not open");
            }
            it.state = MergeRequestState::Closed;
            it.closed = Some((now_ms, Account::of(SOMEBODY.0, SOMEBODY.1)));
            Ok(())
        })
    }

    /// Opens a closed merge request again.
    pub fn reopen_merge_request(&self, repository: &str, iid: u64) -> Result<(), Error> {
        self.change_merge_request(repository, iid, |it| {
            if it.state != MergeRequestState::Closed {
                return Err("is not closed");
            }
            it.state = MergeRequestState::Opened;
            it.closed = None;
            Ok(())
        })
    }

    /// Deletes a merge request, as only owners may; nothing in GitLab tells of it afterwards.
    pub fn delete_merge_request(&self, repository: &str, iid: u64) -> Result<(), Error> {
        let found = self.repository(repository)?;
        let mut listed = write(&found.merge_requests);
        let before = listed.len();
        listed.retain(|it| it.iid != iid);
        if listed.len() == before {
            return Err(Error::UnknownMergeRequest { repository: repository.to_owned(), iid });
        }
        Ok(())
    }

    fn change_merge_request(
        &self,
        repository: &str,
        iid: u64,
        change: impl FnOnce(&mut MergeRequest) -> Result<(), &'static str>,
    ) -> Result<(), Error> {
        let found = self.repository(repository)?;
        let now_ms = self.site().clock.now_ms();
        let mut listed = write(&found.merge_requests);
        let unknown = || Error::UnknownMergeRequest { repository: repository.to_owned(), iid };
        let it = listed.iter_mut().find(|it| it.iid == iid).ok_or_else(unknown)?;
        change(it).map_err(|why| wrong(repository, iid, why))?;
        it.touch(now_ms);
        Ok(())
    }

    /// Notes that a branch has another head, in the open merge requests of that branch.
    pub(in crate::world) fn pushed(&self, repository: &str, branch: &str, sha: &str) -> Result<(), Error> {
        let found = self.repository(repository)?;
        let now_ms = self.site().clock.now_ms();
        let pushed_s = self.site().clock.stands_at_ms().map(|it| it / 1_000);
        found.change(|it| it.pushed_s = pushed_s.or(it.pushed_s));
        let open =
            |it: &&mut MergeRequest| it.state == MergeRequestState::Opened && it.source_branch == branch;
        for it in write(&found.merge_requests).iter_mut().filter(open).filter(|it| it.sha != sha) {
            sha.clone_into(&mut it.sha);
            it.touch(now_ms);
        }
        Ok(())
    }

    /// Notes that a branch was merged, in the merge request that asked for it.
    pub(in crate::world) fn merged(
        &self,
        repository: &str,
        branch: &str,
        into: &str,
        sha: &str,
    ) -> Result<(), Error> {
        let found = self.repository(repository)?;
        let now_ms = self.site().clock.now_ms();
        let mut listed = write(&found.merge_requests);
        if let Some(it) = listed.iter_mut().find(|it| it.is_open_for(branch, into)) {
            it.merge(sha.to_owned(), now_ms, Account::of(SOMEBODY.0, SOMEBODY.1));
        }
        Ok(())
    }
}

impl MergeRequest {
    fn is_open_for(&self, branch: &str, into: &str) -> bool {
        self.state == MergeRequestState::Opened && self.source_branch == branch && self.target_branch == into
    }
}

fn wrong(repository: &str, iid: u64, why: &'static str) -> Error {
    Error::WrongMergeRequest { repository: repository.to_owned(), iid, why }
}
