//! A real git repository that stories write to, and what git itself says of it.
//!
//! It must never touch the repository of the project, or a person's settings.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A repository in a folder of its own.
pub(crate) struct Git {
    _folder: TempDir,
    path: PathBuf,
    /// The date of the next commit, in seconds since the epoch: all runs make the same shas.
    date: Cell<i64>,
}

impl Git {
    /// Makes an empty repository.
    pub(crate) fn new() -> Self {
        let git = Self::at("project");
        git.run(&["init", "-q", "-b", "main"]);
        git
    }

    /// Copies a repository with all its branches.
    pub(crate) fn copy_of(path: &Path) -> Self {
        let git = Self::at("project");
        let from = path.to_str().unwrap();
        git.run(&["clone", "-q", "--no-checkout", "--no-hardlinks", from, "."]);
        git.run(&["fetch", "-q", "--update-head-ok", "origin", "+refs/heads/*:refs/heads/*"]);
        git
    }

    fn at(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::create_dir(&path).unwrap();
        Self { _folder: folder, path, date: Cell::new(1_700_000_000) }
    }

    /// Returns where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Runs git, and returns what it prints.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        self.run_with(arguments, "")
    }

    /// Runs git with something to read.
    pub(crate) fn run_with(&self, arguments: &[&str], input: &str) -> String {
        run_at(&self.path, self.date.get(), arguments, input)
            .unwrap_or_else(|said| panic!("{arguments:?}: {said}"))
    }

    /// Sets the date of the next commit.
    pub(crate) fn set_date(&self, seconds: i64) {
        self.date.set(seconds);
    }

    /// Commits on the branch that is checked out, a minute after the last one.
    pub(crate) fn commit(&self, message: &str) -> String {
        self.date.set(self.date.get() + 60);
        self.run(&["commit", "-q", "--allow-empty", "-m", message]);
        self.run(&["rev-parse", "HEAD"])
    }

    /// Commits several times on the branch that is checked out, quickly.
    pub(crate) fn commits(&self, count: usize, message: &str) {
        let branch = self.run(&["symbolic-ref", "HEAD"]);
        let parent = run_at(&self.path, 0, &["rev-parse", "-q", "--verify", "HEAD"], "").ok();
        let mut stream = String::new();
        for nth in 1..=count {
            self.date.set(self.date.get() + 60);
            let text = format!("PAY-{nth}: {message}\n");
            let person = "Zoë <zoe@example.org>";
            let (date, length) = (self.date.get(), text.len());
            write!(stream, "commit {branch}\ncommitter {person} {date} +0200\ndata {length}\n{text}")
                .unwrap();
            if let Some(parent) = parent.as_ref().filter(|_| nth == 1) {
                writeln!(stream, "from {parent}").unwrap();
            }
        }
        self.run_with(&["fast-import", "--quiet"], &stream);
        self.run(&["reset", "-q", "--hard"]);
    }

    /// Checks a branch out.
    pub(crate) fn checkout(&self, branch: &str) {
        self.run(&["checkout", "-q", branch]);
    }

    /// Makes a branch at a commit and checks it out.
    pub(crate) fn branch(&self, name: &str, at: &str) {
        self.run(&["checkout", "-q", "-b", name, at]);
    }

    /// Merges a branch into the one that is checked out.
    pub(crate) fn merge(&self, branch: &str) {
        self.date.set(self.date.get() + 60);
        self.run(&["merge", "-q", "--no-ff", "-m", &format!("Merge {branch}"), branch]);
    }

    /// Makes or moves many branches at once.
    pub(crate) fn set_branches(&self, branches: &[(String, String)]) {
        let mut lines = String::new();
        for (name, sha) in branches {
            writeln!(lines, "update refs/heads/{name} {sha}").unwrap();
        }
        self.run_with(&["update-ref", "--stdin"], &lines);
    }

    /// Deletes a branch.
    pub(crate) fn delete_branch(&self, name: &str) {
        self.run(&["update-ref", "-d", &format!("refs/heads/{name}")]);
    }

    /// Returns git's answer to `git rev-list` with these arguments.
    pub(crate) fn shas(&self, arguments: &[&str]) -> BTreeSet<String> {
        let all = [&["rev-list"], arguments].concat();
        self.run(&all).lines().map(str::to_owned).collect()
    }

    /// Returns git's answer for every branch.
    pub(crate) fn branches(&self) -> BTreeMap<String, BTreeSet<String>> {
        let names = self.run(&["for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads"]);
        names.lines().map(|name| (name.to_owned(), self.shas(&[&format!("refs/heads/{name}")]))).collect()
    }
}

/// Runs git in a folder without any settings of a person; an error is what it said.
pub(crate) fn run_at(path: &Path, date: i64, arguments: &[&str], input: &str) -> Result<String, String> {
    let mut command = Command::new("git");
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(name);
    }
    let date = format!("{date} +0200");
    command.env("GIT_AUTHOR_DATE", &date).env("GIT_COMMITTER_DATE", &date);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "Zoë").env(format!("GIT_{role}_EMAIL"), "zoe@example.org");
    }
    command.arg("-C").arg(path).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|it| it.to_string())?;
    // Dropped at the end of the statement, so that git sees the end of its input.
    child.stdin.take().unwrap().write_all(input.as_bytes()).map_err(|it| it.to_string())?;
    let output = child.wait_with_output().map_err(|it| it.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
