//! The background part: the server of `syncline serve` in this process, over the demo's sources alone, until somebody
//! ends it or its time is over.
//!
//! It leaves no schedule and no token of the demo behind it.

use std::time::{Duration, Instant};

use domain::id::{SourceId, SyncId};
use domain::job::SyncState;
use engine::{SyncRow, SyncService};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::super::App;
use super::super::follow::groups;
use super::super::serve::{self, Listeners};
use super::super::view;
use super::board::{Board, Kept};
use super::tenants::Party;
use crate::exit::Exit;
use crate::output::{Field, Output, Style, count, plural, span};

/// How often the database is asked what happened: quick enough for the eye.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Looking takes at most this part of the time, so that it never slows the work.
const LOOK_SHARE: u32 = 20;

/// Syncs of one source that are looked at: several minutes' worth, should this process have been held up.
const SYNCS_LOOKED_AT: u32 = 50;

/// How long syncs under way may take to close at the end; what is then left goes on with the next run.
const REST: Duration = Duration::from_secs(3);

/// What it takes to go on in the background.
pub(super) struct Background<'a> {
    pub(super) app: &'a App,
    pub(super) service: &'a SyncService,
    pub(super) parties: &'a [Party],
    /// Whether commits that are made meanwhile show up.
    pub(super) is_git: bool,
    /// How long it goes on; until a signal where nothing is said.
    pub(super) lasting: Option<Duration>,
    /// Cancelled at the first signal.
    pub(super) stop: &'a CancellationToken,
}

/// What came of it.
pub(super) struct Outcome {
    api: String,
    lasted: Duration,
    kept: Vec<Kept>,
    /// What landed in all, by source and table.
    landed: Vec<Vec<(String, i64)>>,
    exit: Exit,
}

/// What is followed of one source.
struct Followed {
    kept: Kept,
    /// The newest sync that was reckoned in.
    told: Option<SyncId>,
    is_running: bool,
}

impl Background<'_> {
    /// Serves, and shows what happens.
    pub(super) async fn run(&self, listener: TcpListener) -> anyhow::Result<Outcome> {
        let api = format!("http://{}", listener.local_addr()?);
        self.introduce(&api)?;
        let mut all = self.followed().await?;
        for party in self.parties {
            party.wake().await?;
        }
        let ids: Vec<SourceId> = all.iter().map(|it| it.kept.source.id).collect();
        let ended = CancellationToken::new();
        let listeners = Listeners { api: listener, metrics: None };
        let serving = serve::answer(self.app, self.service, listeners, Some(ids), &ended);
        let began = Instant::now();
        let watching = async {
            let watched = self.watch(&mut all, began, &ended).await;
            ended.cancel();
            watched
        };
        let (served, watched) = tokio::join!(serving, watching);
        let lasted = began.elapsed();
        // Also after a failure nothing of ours is left to begin by itself.
        for party in self.parties {
            party.rest().await?;
            party.close().await?;
        }
        served?;
        let exit = watched?;
        let mut landed = Vec::new();
        for it in &all {
            landed.push(self.service.landed_counts(it.kept.source.id).await?);
        }
        Ok(Outcome { api, lasted, kept: all.into_iter().map(|it| it.kept).collect(), landed, exit })
    }

    /// Says where it answers, and what to ask it.
    fn introduce(&self, api: &str) -> std::io::Result<()> {
        let out = &self.app.out;
        let [own, neighbour] = self.parties else { return Ok(()) };
        out.line("")?;
        out.line(out.paint().of(Style::Strong, "Now by itself, as `syncline serve` does it"))?;
        out.line(format!("  the API of tenants {} and {}: {api}", own.name, neighbour.name))?;
        out.line("  a token for each, shown this once, good while this runs:\n")?;
        out.line(format!("  MINE={}", own.token.text.expose()))?;
        out.line(format!("  THEIRS={}", neighbour.token.text.expose()))?;
        out.line(format!("  curl -H \"Authorization: Bearer $MINE\" {api}/api/sync/status"))?;
        out.line(format!("  curl -H \"Authorization: Bearer $THEIRS\" {api}/api/v1/sources"))?;
        out.line("  curl -N -H \"Authorization: Bearer $MINE\" \\")?;
        out.line(format!("    {api}/api/v1/events/stream"))?;
        if self.is_git {
            out.line("\n  Commit something: it lands within seconds.")?;
        }
        Ok(())
    }

    async fn followed(&self) -> Result<Vec<Followed>, engine::Error> {
        let mut all = Vec::new();
        for party in self.parties {
            for source in &party.sources {
                let recent = self.service.syncs(Some(source.id), SYNCS_LOOKED_AT).await?;
                let told = recent.iter().find(|it| it.state != SyncState::Running).map(|it| it.id);
                let kept = Kept {
                    tenant: party.name.clone(),
                    source: source.clone(),
                    group: groups(source, None).first().copied().unwrap_or_default(),
                    syncs: 0,
                    rows: 0,
                    requests: 0,
                    status: None,
                };
                all.push(Followed { kept, told, is_running: false });
            }
        }
        Ok(all)
    }

    /// Shows what happens until it is enough, then lets what is under way end.
    async fn watch(
        &self,
        all: &mut [Followed],
        began: Instant,
        ended: &CancellationToken,
    ) -> anyhow::Result<Exit> {
        let mut board = Board::new(&self.app.out, self.lasting)?;
        let mut exit = Exit::Done;
        let is_over = || self.lasting.is_some_and(|it| began.elapsed() >= it);
        while !is_over() && !self.stop.is_cancelled() && !ended.is_cancelled() {
            let looking = Instant::now();
            exit = exit.worse(self.look(all, &mut board, began).await?);
            let pause = pause(looking.elapsed(), began, self.lasting);
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = ended.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        for party in self.parties {
            party.rest().await?;
        }
        let rest = Instant::now();
        loop {
            exit = exit.worse(self.look(all, &mut board, began).await?);
            let is_quiet = all.iter().all(|it| !it.is_running);
            if is_quiet || rest.elapsed() >= REST || ended.is_cancelled() {
                return Ok(exit);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Reckons in what closed since the last look, and shows it.
    async fn look(&self, all: &mut [Followed], board: &mut Board, began: Instant) -> anyhow::Result<Exit> {
        let mut exit = Exit::Done;
        for it in &mut *all {
            let Ok(recent) = self.service.syncs(Some(it.kept.source.id), SYNCS_LOOKED_AT).await else {
                // The workers have more patience with the database, and say so when it ends.
                continue;
            };
            it.is_running = recent.iter().any(|sync| sync.state == SyncState::Running);
            let now = self.service.clock().now();
            let told = it.told;
            // Of the group that the board is about; what else the source is synced by has its own pace.
            let new = recent.iter().rev().filter(|sync| Some(sync.id) > told && sync.group == it.kept.group);
            for sync in new.filter(|sync| sync.state != SyncState::Running) {
                it.told = Some(sync.id);
                it.kept.syncs += 1;
                it.kept.rows += sync.rows_written;
                it.kept.requests += sync.requests;
                exit = exit.worse(exit_of(sync));
                board.tell(&it.kept, sync, began.elapsed(), now)?;
            }
            if board.wants_status()
                && let Ok(status) = self.service.status(Some(it.kept.source.id)).await
            {
                it.kept.status = status.into_iter().next();
            }
        }
        let kept: Vec<&Kept> = all.iter().map(|it| &it.kept).collect();
        board.show(&kept, began.elapsed(), self.service.clock().now());
        Ok(exit)
    }
}

/// Says how the program ends after a sync: what made-up people took away in the middle of one is mended by the next.
fn exit_of(sync: &SyncRow) -> Exit {
    if sync.state == SyncState::Partial { Exit::Done } else { view::exit_of(sync) }
}

/// Returns how long until the next look: no longer than is left.
fn pause(looked: Duration, began: Instant, lasting: Option<Duration>) -> Duration {
    let pause = LOOK_EVERY.max(looked * LOOK_SHARE);
    lasting.map_or(pause, |it| pause.min(it.saturating_sub(began.elapsed())))
}

impl Outcome {
    /// Says how the program ends after it.
    pub(super) fn exit(&self) -> Exit {
        self.exit
    }

    /// Sums it up for people.
    pub(super) fn tell(&self, out: &Output, not_modified: u64, rules_broken: usize) -> std::io::Result<()> {
        let paint = out.paint();
        out.line("")?;
        out.line(paint.of(Style::Strong, format!("What happened in {}", span(self.lasted))))?;
        let rows = self.kept.iter().map(|it| {
            vec![
                it.tenant.as_str().into(),
                Field::styled(Style::Name, &it.source.name),
                count(it.syncs).into(),
                count(it.requests).into(),
                count(it.rows).into(),
            ]
        });
        for line in out.table(&["tenant", "source", ">syncs", ">requests", ">rows landed"], rows).lines() {
            out.line(format!("  {}", line.trim_end()))?;
        }
        let text = format!(
            "{}, {} ({} answered 304), {} landed; {} broken",
            plural(self.sum(|it| it.syncs), "sync"),
            plural(self.sum(|it| it.requests), "request"),
            count(not_modified),
            plural(self.sum(|it| it.rows), "row"),
            plural(rules_broken as u64, "rule"),
        );
        let style = if rules_broken == 0 { Style::Good } else { Style::Bad };
        out.line(format!("  {}", paint.of(style, text)))?;
        let text = "the tokens and schedules of the demo ended with it; what landed stays";
        out.line(format!("  {}", paint.of(Style::Quiet, text)))
    }

    /// Says it to scripts.
    pub(super) fn json(&self, not_modified: u64) -> Value {
        let sources = self.kept.iter().zip(&self.landed).map(|(it, landed)| {
            let landed: Map<_, _> = landed.iter().map(|(table, rows)| (table.clone(), json!(rows))).collect();
            json!({
                "tenant": it.tenant,
                "source": it.source.name,
                "provider": it.source.provider,
                "group": it.group,
                "syncs": it.syncs,
                "requests": it.requests,
                "rowsWritten": it.rows,
                "landed": landed,
            })
        });
        json!({
            "api": self.api,
            "durationMs": u64::try_from(self.lasted.as_millis()).unwrap_or(u64::MAX),
            "sources": sources.collect::<Vec<_>>(),
            "syncs": self.sum(|it| it.syncs),
            "requests": self.sum(|it| it.requests),
            "notModified": not_modified,
            "rowsWritten": self.sum(|it| it.rows),
        })
    }

    fn sum(&self, of: fn(&Kept) -> u64) -> u64 {
        self.kept.iter().map(of).sum()
    }
}
