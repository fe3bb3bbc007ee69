//! Which history the demo serves, and at which address.
//!
//! It never serves anything beyond loopback.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use engine::SourceRow;
use serde_json::{Value, json};
use sim::WorldSource;
use tokio::process::Command;
use url::Url;

use super::super::sim::WorldArgs;
use crate::exit::{Exit, Failure};
use crate::output::count;

/// The history that is served.
pub(super) struct World {
    history: WorldSource,
    source: String,
}

impl World {
    /// Names its source. Rows of different histories are kept apart: a folder that becomes a git repository has both.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// Says whether a commit made here shows up in it.
    pub(super) fn is_git(&self) -> bool {
        matches!(self.history, WorldSource::Git(_))
    }

    /// Says what it is.
    pub(super) fn words(&self) -> String {
        match &self.history {
            WorldSource::Git(path) if path == Path::new(".") => {
                "the git history that this folder is in".to_owned()
            }
            WorldSource::Git(path) => format!("the git history of {}", path.display()),
            WorldSource::Seeded { repos, commits, .. } => {
                format!(
                    "a made-up history of {} repositories with {} commits each",
                    count(*repos as u64),
                    count(*commits as u64)
                )
            }
        }
    }

    /// Says it to scripts.
    pub(super) fn json(&self) -> Value {
        match &self.history {
            WorldSource::Git(path) => json!({ "git": path }),
            WorldSource::Seeded { seed, repos, commits } => {
                json!({ "seed": seed, "repos": repos, "commits": commits })
            }
        }
    }
}

/// Says whether a source reads a simulator on this machine, as the demo's do.
pub(super) fn is_ours(source: &SourceRow) -> bool {
    port_of(source).is_some()
}

/// Refuses to take over a source of somebody's own that is called like the demo's.
pub(super) fn must_be_ours(known: &SourceRow) -> anyhow::Result<()> {
    if is_ours(known) {
        return Ok(());
    }
    let says = format!("there is a source `{}` of your own here; run the demo in another folder", known.name);
    Err(Failure::with(Exit::Refused, "conflict", says))
}

/// Names the source of a history. `demo` alone is the history that the folder is in, in a database of this folder; every
/// other one bears the name of its folder and what tells it from another folder of that name.
fn source_of(world: &WorldSource, is_our_folders: bool) -> String {
    match world {
        WorldSource::Git(path) if is_our_folders && path == Path::new(".") => "demo".to_owned(),
        WorldSource::Git(path) => {
            let path = path.canonicalize().unwrap_or_else(|_| path.clone());
            // Another release of Rust may hash otherwise: the demo then begins another source.
            let mut hasher = DefaultHasher::new();
            path.hash(&mut hasher);
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // Names have at most 64 letters, of which these leave room for the others.
            let name: String = name.chars().filter(char::is_ascii_alphanumeric).take(32).collect();
            format!("demo-{name}-{:08x}", hasher.finish() & 0xffff_ffff)
        }
        WorldSource::Seeded { seed, repos, commits } => format!("demo-{seed}-{repos}-{commits}"),
    }
}

/// Starts the simulator, at the address of the last run if it is free: what was unchanged then is then known now.
pub(super) async fn start(
    args: &WorldArgs,
    latency: Duration,
    known: &[SourceRow],
    is_our_folders: bool,
) -> anyhow::Result<(World, sim::Sim)> {
    let here = PathBuf::from(".");
    let found = args.is_default() && has_commits(&here).await;
    let world = if found { WorldSource::Git(here) } else { args.source() };
    let name = source_of(&world, is_our_folders);
    let port = known.iter().find(|it| it.name == name).and_then(port_of).unwrap_or(0);
    let named = |history: WorldSource| World { source: source_of(&history, is_our_folders), history };
    match start_at(port, world.clone(), latency).await {
        Ok(sim) => Ok((named(world), sim)),
        // A history that was only stumbled upon and cannot be served is as good as none.
        Err(sim::Error::NotGit { .. }) if found => {
            let world = args.source();
            let sim = start_at(0, world.clone(), latency).await;
            Ok((named(world), sim.map_err(|it| Failure::usage(it.to_string()))?))
        }
        Err(error) => Err(Failure::usage(error.to_string())),
    }
}

/// What the neighbour's world is made from: no number that anybody would give to --seed.
const NEIGHBOURS_SEED: u64 = 1_000_003;

/// Starts the neighbour's simulator: a small made-up world, the same whatever the folder's history is.
pub(super) async fn start_neighbour(latency: Duration, known: &[SourceRow]) -> anyhow::Result<sim::Sim> {
    let world = WorldSource::Seeded { seed: NEIGHBOURS_SEED, repos: 2, commits: 60 };
    let port = known.iter().find_map(port_of).unwrap_or(0);
    start_at(port, world, latency).await.map_err(|it| Failure::usage(it.to_string()))
}

/// Starts a simulator at a port of loopback, or at any other if that one is taken.
async fn start_at(port: u16, world: WorldSource, latency: Duration) -> Result<sim::Sim, sim::Error> {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let options = sim::Options { listen, world, latency, ..sim::Options::default() };
    match sim::start(options.clone()).await {
        Err(sim::Error::Listen { .. }) if port != 0 => {
            let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            sim::start(sim::Options { listen, ..options }).await
        }
        started => started,
    }
}

/// Returns the port of a source on this machine.
fn port_of(source: &SourceRow) -> Option<u16> {
    let url = Url::parse(&source.settings.base_url).ok()?;
    let loopback = url.host_str() == Some("127.0.0.1") && url.scheme() == "http";
    url.port().filter(|_| loopback)
}

/// Says whether the folder is in a git repository with a commit; no when there is no git.
async fn has_commits(folder: &Path) -> bool {
    let mut git = Command::new("git");
    git.arg("-C").arg(folder).args(["rev-list", "--max-count=1", "--branches"]);
    git.env_remove("GIT_DIR").env_remove("GIT_WORK_TREE");
    git.stdin(Stdio::null()).stderr(Stdio::null());
    git.output().await.is_ok_and(|it| it.status.success() && !it.stdout.is_empty())
}
