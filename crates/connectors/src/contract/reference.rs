//! The engine's part of the contract, in memory: partitions, items and cursors as `domain::page` words them.
//!
//! It checks every page on the way: sizes, kinds, keys, and that what is done is truly read.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Debug;

use domain::connector::{Connector, PAGE_REQUESTS_MAX, SEND_MAX, Step, Stream};
use domain::fault::Fault;
use domain::job::Lane;
use domain::page::{Cursor, Item, Next, Page, Partition, Read, Record, Response, Wanted};
use domain::source::Settings;
use domain::table::{Cell, Kind, Table};

/// A provider as a model: it answers, things happen to it, and it knows what should have landed.
pub(super) trait Provider {
    /// Something that happens to its data.
    type Change: Clone + Debug;

    /// Answers a request.
    fn answer(&mut self, url: &str) -> Response;

    /// Lets something happen.
    fn apply(&mut self, change: &Self::Change);

    /// Takes note of a record that landed.
    fn landed(&mut self, record: &Record);

    /// Takes note of a complete listing of a table: what it did not see is gone.
    fn listed(&mut self, table: &'static Table, owner: Option<i64>, seen: &BTreeSet<String>);

    /// Fails unless an item of a partition that is called read has landed.
    fn assert_read(&self, partition: &str, item: &Item);
}

/// What may happen before any request.
#[derive(Clone, Debug)]
pub(super) enum Disturbance<C> {
    None,
    /// The process dies: what is not committed is forgotten, and the job begins again from what is.
    Crash,
    /// The provider's data changes.
    Change(C),
}

/// The engine, with nothing but the contract in it.
pub(super) struct Reference<P: Provider> {
    connector: &'static dyn Connector,
    pub(super) provider: P,
    settings: Settings,
    /// Commits every page twice, the second time from a second fetch.
    pub(super) replay_every_page: bool,
    /// Every address asked, in order.
    pub(super) requests: Vec<String>,
    landed: BTreeSet<(&'static str, String)>,
    partitions: BTreeMap<(&'static str, String), Partition>,
    pub(super) items: BTreeMap<(&'static str, String, String), State>,
    /// Where partitions are read on.
    checkpoints: BTreeMap<(&'static str, String), Cursor>,
    /// The items that a listing under way has named, by the listing's partition.
    seen: BTreeMap<(&'static str, String), BTreeSet<String>>,
    read: BTreeSet<&'static str>,
    /// What was learned of the account.
    learned: serde_json::Value,
    script: VecDeque<Disturbance<P::Change>>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) have: Option<String>,
    wanted: String,
    /// The version of the walk under way.
    reading: Option<String>,
    base: Option<String>,
    no_base: bool,
    cursor: Option<Cursor>,
}

/// A fetched page was not committed, because the process died.
struct Died;

impl<P: Provider> Reference<P> {
    pub(super) fn new(connector: &'static dyn Connector, provider: P, settings: Settings) -> Self {
        let roots = connector.roots(&settings).expect("good settings");
        let partitions = roots.into_iter().map(|it| ((it.stream, it.key.clone()), it)).collect();
        Self {
            connector,
            provider,
            settings,
            replay_every_page: false,
            requests: Vec::new(),
            landed: BTreeSet::new(),
            partitions,
            items: BTreeMap::new(),
            checkpoints: BTreeMap::new(),
            seen: BTreeMap::new(),
            read: BTreeSet::new(),
            learned: serde_json::Value::Null,
            script: VecDeque::new(),
        }
    }

    pub(super) fn landed(&self) -> BTreeSet<(&'static str, String)> {
        self.landed.clone()
    }

    pub(super) fn streams_read(&self) -> impl Iterator<Item = &'static str> {
        self.read.iter().copied()
    }

    /// Reads every partition once, in the streams' order, also those found on the way.
    pub(super) fn sync(&mut self, script: Vec<Disturbance<P::Change>>) {
        self.script = script.into();
        for stream in self.connector.spec().groups.iter().flat_map(|it| it.streams) {
            let partitions: Vec<_> =
                self.partitions.values().filter(|it| it.stream == stream.name).cloned().collect();
            for partition in partitions {
                self.read.insert(stream.name);
                if stream.item_batch.is_some() {
                    self.read_items(stream, &partition);
                } else {
                    self.read_listing(stream, &partition);
                }
            }
        }
    }

    fn read_listing(&mut self, stream: &'static Stream, partition: &Partition) {
        let place = (stream.name, partition.key.clone());
        loop {
            let cursor = self.checkpoints.get(&place).cloned();
            let page = match self.fetch(stream, partition, &[], cursor.as_ref()) {
                Err(Died) => continue,
                Ok(Ok(page)) => page,
                // A place that is lost begins anew, and a thing that is gone meanwhile is not read.
                Ok(Err(Fault::CursorLost)) if self.checkpoints.remove(&place).is_some() => {
                    self.seen.remove(&place);
                    continue;
                }
                Ok(Err(Fault::Gone)) => return,
                Ok(Err(fault)) => panic!("the listing {place:?} failed: {fault:?}"),
            };
            let seen = self.seen.entry(place.clone()).or_default();
            seen.extend(page.wanted.iter().map(|it| it.key.clone()));
            let listed =
                page.records.iter().filter(|it| stream.lists.is_some_and(|of| of.name == it.table.name));
            seen.extend(listed.filter_map(|it| match it.cells.get(it.table.key.len() - 1)? {
                Cell::Text(text) => Some(text.clone()),
                Cell::Integer(number) => Some(number.to_string()),
                _ => None,
            }));
            self.land(&page.records);
            if let Some(learned) = page.learned {
                self.learned = *learned;
            }
            for wanted in page.wanted {
                self.want(wanted);
            }
            for found in page.partitions {
                assert!(self.connector.spec().stream(found.stream).is_some(), "{}", found.stream);
                self.partitions.entry((found.stream, found.key.clone())).or_insert(found);
            }
            match page.next {
                Next::More(cursor) => {
                    self.checkpoints.insert(place.clone(), cursor);
                }
                Next::CaughtUp { cursor, sweep } => {
                    match cursor {
                        Some(cursor) => self.checkpoints.insert(place.clone(), cursor),
                        None => self.checkpoints.remove(&place),
                    };
                    let seen = self.seen.remove(&place).unwrap_or_default();
                    let Some(sweep) = sweep else { return };
                    if let Some(table) = stream.lists {
                        self.provider.listed(table, sweep.owner, &seen);
                    }
                    if let Some((of, within)) = sweep.items.map(|it| *it) {
                        self.items.retain(|(stream, partition, key), _| {
                            *stream != of || *partition != within || seen.contains(key)
                        });
                    }
                    if let Some(of) = sweep.partitions {
                        self.partitions.retain(|(stream, key), _| *stream != of || seen.contains(key));
                    }
                    return;
                }
            }
        }
    }

    fn want(&mut self, wanted: Wanted) {
        let state = self.items.entry((wanted.stream, wanted.partition, wanted.key)).or_default();
        state.wanted = wanted.version;
        state.base = wanted.base;
    }

    /// Returns the due items of a partition: those under way first, then those that others start from.
    fn due(&self, stream: &Stream, partition: &Partition, failed: &BTreeSet<String>) -> Vec<Item> {
        let of = |key: &str| self.items.get(&(stream.name, partition.key.clone(), key.to_owned()));
        let mut due: Vec<_> = self
            .items
            .iter()
            .filter(|((of, within, key), state)| {
                *of == stream.name
                    && *within == partition.key
                    && !failed.contains(key)
                    && (state.reading.is_some() || state.have.as_ref() != Some(&state.wanted))
            })
            .collect();
        due.sort_by_key(|(_, it)| (it.cursor.is_none(), it.base.is_some()));
        due.into_iter()
            .take(stream.item_batch.unwrap_or_default())
            .map(|((_, _, key), state)| Item {
                key: key.clone(),
                have: state.have.clone(),
                wanted: state.reading.clone().unwrap_or_else(|| state.wanted.clone()),
                base: state
                    .base
                    .as_deref()
                    .filter(|_| !state.no_base)
                    .and_then(of)
                    .and_then(|it| it.have.clone()),
                args: serde_json::json!({}),
                cursor: state.cursor.clone(),
            })
            .collect()
    }

    fn read_items(&mut self, stream: &'static Stream, partition: &Partition) {
        let (mut failed, mut started_over) = (BTreeSet::new(), BTreeSet::new());
        loop {
            let items = self.due(stream, partition, &failed);
            let Some(first) = items.first() else { return };
            match self.fetch(stream, partition, &items, first.cursor.as_ref()) {
                Err(Died) => {}
                Ok(Ok(page)) => self.commit_items(stream, partition, &items, page),
                Ok(Err(Fault::CursorLost)) if started_over.insert(first.key.clone()) => {
                    let state = self.state(stream, partition, &first.key);
                    (state.cursor, state.reading, state.have, state.no_base) = (None, None, None, true);
                }
                Ok(Err(Fault::CursorLost | Fault::Gone)) => {
                    failed.insert(first.key.clone());
                }
                Ok(Err(fault)) => panic!("{first:?} failed: {fault:?}"),
            }
        }
    }

    fn commit_items(&mut self, stream: &'static Stream, partition: &Partition, items: &[Item], page: Page) {
        self.land(&page.records);
        let goes_on = matches!(page.next, Next::More(_));
        assert!(goes_on || !page.done.is_empty(), "a page must bring the work forward: {items:?}");
        for key in &page.done {
            let item = items.iter().find(|it| it.key == *key).expect("only what was asked for is done");
            self.provider.assert_read(&partition.key, item);
            let state = self.state(stream, partition, key);
            *state = State {
                have: Some(item.wanted.clone()),
                wanted: state.wanted.clone(),
                base: state.base.clone(),
                ..State::default()
            };
        }
        if let Next::More(cursor) = page.next {
            assert!(!page.done.contains(&items[0].key), "what is done does not go on");
            let state = self.state(stream, partition, &items[0].key);
            assert_ne!(state.cursor.as_ref(), Some(&cursor), "a walk must get on");
            state.cursor = Some(cursor);
            state.reading = Some(items[0].wanted.clone());
        }
    }

    fn state(&mut self, stream: &Stream, partition: &Partition, key: &str) -> &mut State {
        let name = self.connector.spec().stream(stream.name).expect("a stream of the spec").1.name;
        self.items.get_mut(&(name, partition.key.clone(), key.to_owned())).expect("a known item")
    }

    /// Steps the connector to a page, or to a fault; dies where the script says so.
    fn fetch(
        &mut self,
        stream: &Stream,
        partition: &Partition,
        items: &[Item],
        cursor: Option<&Cursor>,
    ) -> Result<Result<Page, Fault>, Died> {
        let page = self.fetch_once(stream, partition, items, cursor)?;
        if !self.replay_every_page {
            return Ok(page);
        }
        if let Ok(page) = &page {
            self.land(&page.records);
        }
        self.fetch_once(stream, partition, items, cursor)
    }

    fn fetch_once(
        &mut self,
        stream: &Stream,
        partition: &Partition,
        items: &[Item],
        cursor: Option<&Cursor>,
    ) -> Result<Result<Page, Fault>, Died> {
        let settings = self.settings.clone();
        // What is stored comes back as it was: the connector may keep nothing beside it.
        let cursor = cursor.map(|it| serde_json::from_str(&serde_json::to_string(it).unwrap()).unwrap());
        let learned = self.learned.clone();
        let read = Read {
            source: &settings,
            learned: &learned,
            stream: stream.name,
            partition: &partition.key,
            args: &partition.args,
            lane: Lane::Forward,
            items,
            cursor: cursor.as_ref(),
            careful: false,
        };
        let mut got: Vec<Response> = Vec::new();
        loop {
            match self.connector.step(&read, &got) {
                Err(fault) => return Ok(Err(fault)),
                Ok(Step::Page(page)) => return Ok(Ok(page)),
                Ok(Step::Send(requests)) => {
                    assert!((1..=SEND_MAX).contains(&requests.len()));
                    for request in requests {
                        match self.script.pop_front() {
                            Some(Disturbance::Crash) => return Err(Died),
                            Some(Disturbance::Change(change)) => self.provider.apply(&change),
                            Some(Disturbance::None) | None => {}
                        }
                        got.push(self.provider.answer(&request.url));
                        self.requests.push(request.url);
                    }
                    assert!(got.len() <= if stream.conditional { 1 } else { PAGE_REQUESTS_MAX });
                }
            }
        }
    }

    fn land(&mut self, records: &[Record]) {
        let mut keys = BTreeSet::new();
        for record in records {
            assert!(self.connector.spec().tables.iter().any(|it| it.name == record.table.name));
            assert_eq!(record.cells.len(), record.table.columns.len(), "{}", record.table.name);
            for (cell, column) in record.cells.iter().zip(record.table.columns) {
                let fits = matches!(
                    (cell, column.kind),
                    (Cell::Null, _)
                        | (Cell::Text(_), Kind::Text)
                        | (Cell::Integer(_), Kind::Integer)
                        | (Cell::Real(_), Kind::Real)
                        | (Cell::Bool(_), Kind::Bool)
                        | (Cell::Timestamp(_), Kind::Timestamp)
                        | (Cell::Json(_), Kind::Json)
                );
                assert!(fits, "{}.{}: {cell:?}", record.table.name, column.name);
            }
            let key = format!("{:?}", &record.cells[..record.table.key.len()]);
            assert!(!key.contains("Null"), "a key is never null: {key}");
            // A database refuses to write one row twice in one statement.
            assert!(keys.insert((record.table.name, key.clone())), "a page lands {key} twice");
            self.landed.insert((record.table.name, key));
            self.provider.landed(record);
        }
    }
}
