//! Asking for a sync, and working on it in this process until it closes: for `sync start` and the demo.
//!
//! It prints nothing but how it gets on; what came of it is for the commands to say.

use std::time::Duration;

use domain::id::{SourceId, SyncId};
use domain::job::{Lane, SyncState};
use domain::policy::Decision;
use domain::trigger::Trigger;
use engine::{Requested, SourceRow, SyncRow, SyncService, Target, TargetsRequested, provider_specs};
use tokio_util::sync::CancellationToken;

use crate::output::Output;
use crate::progress::Progress;
use crate::words::About;

/// How often the database is asked how a sync gets on, at most: quick enough for the eye.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Syncs of a source among which those of other lanes are looked for: each of its groups has at most one of each lane.
const LATEST: u32 = 20;

/// Looking takes at most this part of the time, so that it never slows the work.
const LOOK_SHARE: u32 = 20;

/// What became of one request.
pub(crate) struct Asked {
    pub(crate) source: SourceRow,
    pub(crate) group: String,
    /// The sync that was started, or joined.
    pub(crate) sync: Option<SyncId>,
    /// The sync that stands in the way, where one does.
    pub(crate) active: Option<SyncId>,
    /// The policy's answer, where it was not to start.
    pub(crate) decision: Option<Decision>,
}

impl Asked {
    pub(crate) fn about(&self) -> About<'_> {
        About { source: &self.source.name, provider: &self.source.provider }
    }
}

/// Asks for a sync of one group; with `join` a sync that runs already is as good as a new one.
pub(crate) async fn ask(
    service: &SyncService,
    source: SourceRow,
    group: &str,
    join: bool,
) -> Result<Asked, engine::Error> {
    let group = group.to_owned();
    Ok(match service.request_source(source.id, &group, Trigger::Manual).await? {
        Requested::Started { sync, .. } => {
            Asked { source, group, sync: Some(sync), active: None, decision: None }
        }
        Requested::Refused { active, decision } => {
            let sync = active.filter(|_| join);
            Asked { source, group, sync, active, decision: Some(decision) }
        }
    })
}

/// Asks for a sync of some partitions of a group; the sync that reads them already is as good as a new one.
pub(crate) async fn ask_targets(
    service: &SyncService,
    source: SourceRow,
    group: &str,
    targets: Vec<Target>,
) -> Result<Asked, engine::Error> {
    let group = group.to_owned();
    Ok(match service.request_targets(source.id, &group, targets, Trigger::Manual).await? {
        TargetsRequested::Started { sync, .. } | TargetsRequested::Again { sync } => {
            Asked { source, group, sync: Some(sync), active: None, decision: None }
        }
        TargetsRequested::Refused { active, decision } => {
            Asked { source, group, sync: None, active, decision: Some(decision) }
        }
    })
}

/// Returns the groups of a source, or the one that was named; whether it exists is the engine's to say.
pub(crate) fn groups<'a>(source: &SourceRow, named: Option<&'a str>) -> Vec<&'a str> {
    if let Some(group) = named {
        return vec![group];
    }
    let spec = provider_specs().find(|it| it.provider == source.provider);
    spec.into_iter().flat_map(|it| it.groups).map(|it| it.name).collect()
}

/// Works on syncs in this process until they closed or `stop` is cancelled, and shows how they get on. What they began to
/// read in other lanes is read too: nobody else may be there to do it.
///
/// Returns them as they are then; one that was stopped is still running.
pub(crate) async fn follow(
    service: &SyncService,
    asked: &[Asked],
    out: &Output,
    stop: &CancellationToken,
) -> anyhow::Result<Vec<SyncRow>> {
    let followed: Vec<(About<'_>, SyncId)> =
        asked.iter().filter_map(|it| it.sync.map(|sync| (it.about(), sync))).collect();
    let sources: Vec<SourceId> = asked.iter().filter(|it| it.sync.is_some()).map(|it| it.source.id).collect();
    if followed.is_empty() {
        return Ok(Vec::new());
    }
    let enough = stop.child_token();
    let work = async {
        let worked = service.work(Some(sources), enough.clone()).await;
        // Without workers there is nothing more to watch.
        enough.cancel();
        worked
    };
    let watch = async {
        watch(service, asked, followed.clone(), out, &enough).await;
        enough.cancel();
    };
    let (worked, ()) = tokio::join!(work, watch);
    worked?;
    let mut rows = Vec::new();
    for (_, sync) in &followed {
        rows.push(service.sync(*sync).await?);
    }
    Ok(rows)
}

/// Shows how syncs get on until all closed, or there is enough.
async fn watch<'a>(
    service: &SyncService,
    asked: &'a [Asked],
    mut syncs: Vec<(About<'a>, SyncId)>,
    out: &Output,
    enough: &CancellationToken,
) {
    let mut progress = Progress::new(out);
    loop {
        let began = std::time::Instant::now();
        let mut open = 0;
        for (about, sync) in &syncs {
            match look(service, *about, *sync, &mut progress).await {
                Ok(SyncState::Running) => open += 1,
                Ok(_) => {}
                // The workers have more patience with the database, and say so when it ends.
                Err(error) => {
                    tracing::debug!(%error, "cannot see how the sync gets on");
                    open += 1;
                }
            }
        }
        if open == 0 {
            let more = beside(service, asked, &syncs).await;
            if more.is_empty() {
                return;
            }
            syncs.extend(more);
        }
        let pause = LOOK_EVERY.max(began.elapsed() * LOOK_SHARE);
        tokio::select! {
            () = enough.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Finds the syncs of other lanes that are under way beside those that were asked for.
async fn beside<'a>(
    service: &SyncService,
    asked: &'a [Asked],
    known: &[(About<'a>, SyncId)],
) -> Vec<(About<'a>, SyncId)> {
    let mut found = Vec::new();
    for it in asked.iter().filter(|it| it.sync.is_some()) {
        let syncs = service.syncs(Some(it.source.id), LATEST).await.unwrap_or_default();
        let under_way = syncs.into_iter().filter(|sync| {
            let other = sync.lane.is_some_and(|lane| lane != Lane::Forward) && sync.group == it.group;
            other && sync.state == SyncState::Running && known.iter().all(|it| it.1 != sync.id)
        });
        found.extend(under_way.map(|sync| (it.about(), sync.id)));
    }
    found
}

async fn look(
    service: &SyncService,
    about: About<'_>,
    sync: SyncId,
    progress: &mut Progress,
) -> Result<SyncState, engine::Error> {
    let row = service.sync(sync).await?;
    let jobs = if progress.wants_jobs() { service.jobs(sync).await? } else { Vec::new() };
    progress.show(about, &row, &jobs, service.clock().now());
    Ok(row.state)
}
