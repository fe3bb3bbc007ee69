//! Schedules as people see and set them. When a tick is due is the policy's to say; the scheduler fires it.

use std::collections::BTreeMap;

use domain::connector::{Group, Spec};
use domain::id::SourceId;
use domain::policy::schedule::{EVERY_MAX, EVERY_MIN, Own, next_tick, place};
use jiff::{SignedDuration, Timestamp};
use store::{Plan, SourceRow, StoredSchedule};

use super::SyncService;
use super::source::{connector, group_of};
use crate::error::Error;

/// Schedules that are read at once: some hundred bytes each.
pub(crate) const PAGE: u32 = 500;

/// Tries to change a schedule that ticks meanwhile: one tick a second at most, so that the second try succeeds.
const TRIES_MAX: u32 = 3;

/// Whether and when sources are synced by themselves, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Whether there is a scheduler at all.
    pub enabled: bool,
    /// Intervals of stream groups, by name; of others the connector's own holds.
    pub intervals: BTreeMap<String, SignedDuration>,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { enabled: true, intervals: BTreeMap::new() }
    }
}

impl Schedule {
    /// Returns the interval of a group whose source says nothing of it.
    #[must_use]
    pub fn interval(&self, group: &Group) -> SignedDuration {
        let own = || SignedDuration::from_millis(group.every_ms);
        self.intervals.get(group.name).copied().unwrap_or_else(own)
    }
}

/// A schedule as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleRow {
    /// The source.
    pub source: SourceId,
    /// What people call it.
    pub source_name: String,
    /// The group of streams.
    pub group: String,
    /// What the source says of it.
    pub own: Own,
    /// The interval in force; `None` is off.
    pub every: Option<SignedDuration>,
    /// When the next tick is due; `None` when there is none: it, its source, its tenant or the scheduler is off.
    pub next_at: Option<Timestamp>,
    /// When the last tick was.
    pub last_tick_at: Option<Timestamp>,
    /// Ticks that met their running sync.
    pub skipped: u64,
    /// When the last one of those was.
    pub last_skipped_at: Option<Timestamp>,
}

impl SyncService {
    /// Lists the schedules of a source, or of all, one for each group of its connector.
    pub async fn schedules(&self, source: Option<SourceId>) -> Result<Vec<ScheduleRow>, Error> {
        let sources = match source {
            Some(id) => vec![self.source_by_id(id).await?],
            None => self.sources().await?,
        };
        let stored = self.stored_schedules(source).await?;
        let now = self.clock.now();
        let mut all = Vec::new();
        for source in &sources {
            let Ok(connector) = connector(&source.provider) else { continue };
            for group in connector.spec().groups {
                let at = stored
                    .binary_search_by(|it| (it.source, it.group.as_str()).cmp(&(source.id, group.name)));
                all.push(self.schedule_row(source, group, at.ok().and_then(|at| stored.get(at)), now));
            }
        }
        Ok(all)
    }

    /// Reads all stored schedules in the order of their sources and groups, a page at a time.
    pub(super) async fn stored_schedules(
        &self,
        source: Option<SourceId>,
    ) -> Result<Vec<StoredSchedule>, Error> {
        let mut all: Vec<StoredSchedule> = Vec::new();
        loop {
            let after = all.last().map(|it| (it.source, it.group.clone()));
            let page = self.store.schedules(self.scope, source, after, PAGE).await?;
            let more = page.len() >= PAGE as usize;
            all.extend(page);
            if !more {
                // The database may order text in another way.
                all.sort_by(|a, b| (a.source, &a.group).cmp(&(b.source, &b.group)));
                return Ok(all);
            }
        }
    }

    fn schedule_row(
        &self,
        source: &SourceRow,
        group: &Group,
        stored: Option<&StoredSchedule>,
        now: Timestamp,
    ) -> ScheduleRow {
        let own = stored.map_or(Own::Default, |it| it.own);
        let (every, next_at) = self.next_tick(group, stored, source.enabled, now);
        ScheduleRow {
            source: source.id,
            source_name: source.name.clone(),
            group: group.name.to_owned(),
            own,
            every,
            next_at,
            last_tick_at: stored.and_then(|it| it.last_tick_at),
            skipped: stored.map_or(0, |it| it.skipped),
            last_skipped_at: stored.and_then(|it| it.last_skipped_at),
        }
    }

    /// Returns the interval in force, and when the next tick is due, of a group whose source is switched on or not.
    pub(super) fn next_tick(
        &self,
        group: &Group,
        stored: Option<&StoredSchedule>,
        enabled: bool,
        now: Timestamp,
    ) -> (Option<SignedDuration>, Option<Timestamp>) {
        let own = stored.map_or(Own::Default, |it| it.own);
        let every = own.in_force(self.options.schedule.interval(group));
        // Without a row it is about to be made, and due at once.
        let runs = self.options.schedule.enabled && stored.map_or(enabled, |it| it.enabled);
        let next_at = every.filter(|_| runs).map(|every| match stored {
            Some(it) => due_at(it, every, now).max(now),
            None => now,
        });
        (every, next_at)
    }

    /// Sets what a source says of a group's schedule.
    pub async fn set_schedule(&self, source: SourceId, group: &str, own: Own) -> Result<ScheduleRow, Error> {
        let row = self.source_by_id(source).await?;
        let spec: &'static Spec = connector(&row.provider)?.spec();
        let group = group_of(spec, group)?;
        if let Own::Every(every) = own
            && !(EVERY_MIN..=EVERY_MAX).contains(&every)
        {
            let why = format!("{every:#} is not allowed; allowed is a duration from 1s to 8760h");
            return Err(Error::Invalid { field: "every", why });
        }
        for _ in 0..TRIES_MAX {
            let stored = self.stored_schedules(Some(source)).await?;
            let stored = stored.into_iter().find(|it| it.group == group.name);
            let now = self.clock.now();
            let default = self.options.schedule.interval(group);
            let interval = own.in_force(default).unwrap_or(default);
            let last = stored.as_ref().and_then(|it| it.last_tick_at);
            let plan = Plan {
                source,
                group: group.name.to_owned(),
                own: Some(own),
                interval,
                next_at: next_tick(interval, place(source, group.name), last, now),
                was: stored.as_ref().map(|it| it.next_at),
            };
            // The scheduler plans sources that have no schedule at all: of one that is new, all groups get theirs now.
            let others = self.plans(source, &row.provider).into_iter().filter(|it| it.group != group.name);
            let others = others.filter(|_| stored.is_none());
            if self.store.plan(std::iter::once(plan).chain(others).collect()).await? > 0 {
                let rows = self.schedules(Some(source)).await?;
                let found = rows.into_iter().find(|it| it.group == group.name);
                let found =
                    found.ok_or_else(|| Error::Internal("a schedule that was set is gone".to_owned()))?;
                if found.own == own {
                    return Ok(found);
                }
            }
        }
        Err(Error::Conflict("others change this schedule at the same time; try again".to_owned()))
    }
}

/// Returns when a stored schedule is due, where `every` is in force: as stored, unless it was reckoned with another one.
pub(crate) fn due_at(stored: &StoredSchedule, every: SignedDuration, now: Timestamp) -> Timestamp {
    if stored.interval == every {
        return stored.next_at;
    }
    next_tick(every, place(stored.source, &stored.group), stored.last_tick_at, now)
}
