//! Asks the `git` program about one repository on disk.
//! Must never change that repository, and never let the caller's environment point git elsewhere.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::sha::Sha;
use super::text::Written;
use crate::error::Error;

/// Variables by which a git hook or a shell would lead git to another repository.
const LEADS_ASTRAY: [&str; 7] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_COMMON_DIR",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
];
/// One commit per NUL; names and dates hold no newline, the message comes last and may.
const FORMAT: &str = "--format=format:%H%n%T%n%P%n%at%n%ct%n%an%n%ae%n%cn%n%ce%n%B";

/// A commit as git showed it.
pub(crate) struct Shown {
    /// Its name.
    pub(crate) sha: Sha,
    /// Its parents' names.
    pub(crate) parents: Vec<Sha>,
    /// The committer date in seconds.
    pub(crate) date: i64,
    /// Its words.
    pub(crate) words: Written,
}

/// The branches as git showed them.
pub(crate) struct Refs {
    /// The heads by branch name.
    pub(crate) branches: Vec<(String, Sha)>,
    /// The branch that HEAD names, whether it exists or not.
    pub(crate) head: Option<String>,
}

/// One repository on disk.
pub(crate) struct Git {
    path: PathBuf,
    /// Where HEAD is.
    pub(crate) own_dir: PathBuf,
    /// Where the branches are; another folder than `own_dir` in a linked worktree.
    pub(crate) common_dir: PathBuf,
    /// The name of the repository's folder, fit for a URL.
    pub(crate) folder: String,
}

impl Git {
    /// Opens the repository that the path is in.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let refuse = |why: String| Error::NotGit { path: path.to_owned(), why };
        let mut git = Self {
            path: path.to_owned(),
            own_dir: PathBuf::new(),
            common_dir: PathBuf::new(),
            folder: String::new(),
        };
        if !path.is_dir() {
            return Err(refuse("there is no such folder".to_owned()));
        }
        let asked =
            ["rev-parse", "--path-format=absolute", "--git-dir", "--git-common-dir", "--show-object-format"];
        let output =
            git.command(&asked).output().map_err(|error| refuse(format!("cannot run git: {error}")))?;
        let shown = text(&output).map_err(&refuse)?;
        let mut lines = shown.lines();
        git.own_dir = lines.next().unwrap_or_default().into();
        git.common_dir = lines.next().unwrap_or_default().into();
        if lines.next() != Some("sha1") {
            return Err(refuse("its object names are not SHA-1, which GitHub's are".to_owned()));
        }
        let top = git
            .command(&["rev-parse", "--show-toplevel"])
            .output()
            .ok()
            .and_then(|output| text(&output).ok());
        // A bare repository has no work tree: its own folder is its name.
        let folder = top.map_or_else(|| git.common_dir.clone(), |top| PathBuf::from(top.trim_end()));
        git.folder = legal_name(&folder);
        Ok(git)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.arg("-C").arg(&self.path).arg("--no-pager").args(arguments);
        for name in LEADS_ASTRAY {
            command.env_remove(name);
        }
        command.env("LC_ALL", "C").env("GIT_OPTIONAL_LOCKS", "0").env("GIT_NO_LAZY_FETCH", "1");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Lists the branches.
    pub(crate) fn refs(&self) -> Result<Refs, Error> {
        let run = |arguments: &[&str]| {
            self.command(arguments).output().map_err(|error| Error::Git(error.to_string()))
        };
        let listed = run(&["for-each-ref", "--format=%(objectname) %(refname)", "refs/heads"])?;
        let mut branches = Vec::new();
        for line in text(&listed).map_err(Error::Git)?.lines() {
            if let Some((sha, name)) = line.split_once(" refs/heads/")
                && let Ok(sha) = sha.parse()
            {
                branches.push((name.to_owned(), sha));
            }
        }
        let head = text(&run(&["symbolic-ref", "--quiet", "HEAD"])?).ok();
        let head = head.and_then(|name| name.trim_end().strip_prefix("refs/heads/").map(str::to_owned));
        Ok(Refs { branches, head })
    }

    /// Shows the commits that the wanted reach and the known do not, parents first.
    pub(crate) fn commits(
        &self,
        wanted: &[Sha],
        known: &[Sha],
        mut each: impl FnMut(Shown),
    ) -> Result<(), Error> {
        let failed = |error: std::io::Error| Error::Git(error.to_string());
        let asked = [
            "log",
            "--stdin",
            "--ignore-missing",
            "--topo-order",
            "--reverse",
            "--encoding=UTF-8",
            "-s",
            "-z",
            FORMAT,
        ];
        let mut child = self
            .command(&asked)
            .args(["--no-show-signature", "--no-color"])
            .stdin(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            let lines = wanted
                .iter()
                .map(|sha| format!("{sha}\n"))
                .chain(known.iter().map(|sha| format!("^{sha}\n")));
            // A git that stopped early tells why on its way out, so a broken pipe is not the error to show.
            stdin.write_all(lines.collect::<String>().as_bytes()).ok();
        }
        if let Some(stdout) = child.stdout.take() {
            let mut stdout = BufReader::new(stdout);
            let mut entry = Vec::new();
            while stdout.read_until(0, &mut entry).map_err(failed)? > 0 {
                if entry.last() == Some(&0) {
                    entry.pop();
                }
                if let Some(shown) = parse(&String::from_utf8_lossy(&entry)) {
                    each(shown);
                }
                entry.clear();
            }
        }
        text(&child.wait_with_output().map_err(failed)?).map_err(Error::Git)?;
        Ok(())
    }
}

/// Reads one commit.
fn parse(entry: &str) -> Option<Shown> {
    let mut parts = entry.splitn(10, '\n');
    let mut part = || parts.next();
    let (sha, tree) = (part()?.parse().ok()?, part()?.parse().ok()?);
    let parents = part()?.split_ascii_whitespace().filter_map(|parent| parent.parse().ok()).collect();
    // Broken commits exist that have no date; git itself takes them as 1970.
    let (author_date, date) = (part()?.parse().unwrap_or(0), part()?.parse().unwrap_or(0));
    let people = [part()?, part()?, part()?, part()?];
    let message = part()?.trim_end_matches('\n');
    Some(Shown { sha, parents, date, words: Written::new(tree, author_date, people, message) })
}

/// Takes what a program wrote, or what it complained about.
fn text(output: &Output) -> Result<String, String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(if complaint.is_empty() { output.status.to_string() } else { complaint })
}

/// Makes a folder's name one that GitHub would allow.
fn legal_name(folder: &Path) -> String {
    let is_git = folder.file_name().is_some_and(|name| name == ".git");
    let folder = if is_git { folder.parent().unwrap_or(folder) } else { folder };
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = name.strip_suffix(".git").unwrap_or(&name);
    let legal = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let name: String = name.chars().map(legal).collect();
    if name.is_empty() { "repository".to_owned() } else { name }
}
