//! The one thread that writes to an SQLite file. It takes whatever waits, commits it together, and answers after COMMIT.
//!
//! Never waits for more work, and never answers a write before it is durable. A write that fails undoes the group, whose
//! other writes then run again, each in a transaction of its own: a savepoint per write would copy every page that it
//! touches, on the chance that it fails. Begin with [`Writer::write`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Mutex, mpsc, oneshot, watch};

use super::lite::{File, at_once};
use super::{Access, Conn};
use crate::error::StoreError;

/// Writes that share one commit: enough to hide an fsync, few enough to answer soon.
const GROUP_MAX: usize = 64;

/// Bytes of pages that share one commit: some ten pages of commits. Twice as many save little, and leave too few of the
/// bodies that may be in memory to those who read meanwhile.
const GROUP_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Kills this process at one of its commits; crash tests loop over all of them.
#[derive(Clone, Copy, Debug)]
pub struct KillAt {
    /// Which write transaction of the process, from 1.
    pub nth: u64,
    /// Just before COMMIT, or right after it and before anyone is answered.
    pub before: bool,
}

/// Counts write transactions, and kills the process at the chosen one.
#[derive(Clone, Debug, Default)]
pub(crate) struct KillSwitch {
    at: Option<KillAt>,
    count: Arc<AtomicU64>,
}

impl KillSwitch {
    /// Returns a switch that kills at `at`; in a release build it never does.
    pub(crate) fn new(at: Option<KillAt>) -> Self {
        Self { at: at.filter(|_| cfg!(debug_assertions)), count: Arc::default() }
    }

    /// Called when a transaction is about to commit.
    pub(crate) fn before_commit(&self) {
        if let Some(at) = self.at {
            let nth = self.count.fetch_add(1, Ordering::SeqCst) + 1;
            if at.before && nth == at.nth {
                die();
            }
        }
    }

    /// Called when a transaction has committed.
    pub(crate) fn after_commit(&self) {
        if let Some(at) = self.at
            && !at.before
            && self.count.load(Ordering::SeqCst) >= at.nth
        {
            die();
        }
    }
}

fn die() {
    let _gone = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
}

/// The way to the writer's thread.
pub(crate) struct Writer {
    queue: Mutex<Option<mpsc::Sender<Box<dyn Waiting>>>>,
    sender: mpsc::WeakSender<Box<dyn Waiting>>,
    /// Closed when the thread has ended.
    ended: watch::Receiver<()>,
}

impl Writer {
    /// Starts the thread over its own connection.
    pub(crate) fn start(conn: rusqlite::Connection, file: File, kill: KillSwitch) -> std::io::Result<Self> {
        // As many may wait as fit in two groups; more wait at the sender, each with its own page.
        let (sender, queue) = mpsc::channel(2 * GROUP_MAX);
        let (running, ended) = watch::channel(());
        let mut connected = Connected { conn: Conn::Lite(conn), file, kill };
        std::thread::Builder::new().name("writer".to_owned()).spawn(move || {
            connected.serve(queue);
            drop(connected);
            drop(running);
        })?;
        Ok(Self { sender: sender.downgrade(), queue: Mutex::new(Some(sender)), ended })
    }

    /// Hands a write over and waits until it is durable, or until it is known not to be.
    pub(crate) async fn write<I, T>(
        &self,
        input: I,
        bytes: usize,
        write: Access<I, T>,
    ) -> Result<T, StoreError>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let pending = Pending { input, write, bytes, result: None, reply };
        let sender = self.sender.upgrade().ok_or_else(StoreError::closed)?;
        sender.send(Box::new(pending)).await.map_err(|_| StoreError::closed())?;
        drop(sender);
        // The input comes back to be freed here, where it was made, and not on the one thread that all wait for.
        let (answer, _input) = answer.await.map_err(|_| StoreError::closed())?;
        answer
    }

    /// Lets the thread finish what waits, and ends it.
    pub(crate) async fn close(&self) {
        self.queue.lock().await.take();
        let mut ended = self.ended.clone();
        while ended.changed().await.is_ok() {}
    }
}

/// A write that waits, whatever its input and answer.
trait Waiting: Send {
    fn bytes(&self) -> usize;
    fn run(&mut self, conn: &mut Conn) -> Result<(), StoreError>;
    fn answer(self: Box<Self>, fault: Option<StoreError>);
}

struct Pending<I, T> {
    input: I,
    write: Access<I, T>,
    bytes: usize,
    result: Option<T>,
    reply: oneshot::Sender<(Result<T, StoreError>, I)>,
}

impl<I: Send + Sync, T: Send> Waiting for Pending<I, T> {
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn run(&mut self, conn: &mut Conn) -> Result<(), StoreError> {
        self.result = Some(at_once((self.write)(conn, &self.input))?);
        Ok(())
    }

    fn answer(self: Box<Self>, fault: Option<StoreError>) {
        let answer = match (fault, self.result) {
            (None, Some(result)) => Ok(result),
            (Some(fault), _) => Err(fault),
            (None, None) => Err(StoreError::closed()),
        };
        // The caller may have gone away; what it asked for is written all the same.
        let _gone = self.reply.send((answer, self.input));
    }
}

struct Connected {
    conn: Conn,
    file: File,
    kill: KillSwitch,
}

impl Connected {
    fn serve(&mut self, mut queue: mpsc::Receiver<Box<dyn Waiting>>) {
        let mut held = None;
        while let Some(first) = held.take().or_else(|| queue.blocking_recv()) {
            let mut group = take_waiting(first, &mut queue, &mut held);
            let fault = self.commit(&mut group).err();
            let alone = fault.is_some() && group.len() > 1;
            for write in group {
                let mut write = [write];
                let fault = if alone { self.commit(&mut write).err() } else { fault.clone() };
                let [write] = write;
                write.answer(fault);
            }
        }
    }

    /// Runs a group in one transaction: all of it is written, or nothing.
    fn commit(&mut self, group: &mut [Box<dyn Waiting>]) -> Result<(), StoreError> {
        let done = self.transact(group);
        if done.is_err() {
            self.recover();
        }
        done
    }

    fn transact(&mut self, group: &mut [Box<dyn Waiting>]) -> Result<(), StoreError> {
        at_once(self.conn.script("begin immediate"))?;
        for write in group {
            write.run(&mut self.conn)?;
        }
        self.kill.before_commit();
        at_once(self.conn.script("commit"))?;
        self.kill.after_commit();
        Ok(())
    }

    /// Leaves the connection outside any transaction, with a new one if need be.
    fn recover(&mut self) {
        // Fails where SQLite has rolled back by itself.
        let _already = at_once(self.conn.script("rollback"));
        if at_once(self.conn.script("select 1")).is_ok() {
            return;
        }
        match self.file.connect() {
            Ok(conn) => self.conn = Conn::Lite(conn),
            Err(error) => {
                tracing::error!(%error, "the writer's connection is lost; the next write tries again");
            }
        }
    }
}

fn take_waiting(
    first: Box<dyn Waiting>,
    queue: &mut mpsc::Receiver<Box<dyn Waiting>>,
    held: &mut Option<Box<dyn Waiting>>,
) -> Vec<Box<dyn Waiting>> {
    let mut bytes = first.bytes();
    let mut group = vec![first];
    while group.len() < GROUP_MAX
        && let Ok(next) = queue.try_recv()
    {
        bytes += next.bytes();
        if bytes > GROUP_BYTES_MAX {
            *held = Some(next);
            break;
        }
        group.push(next);
    }
    group
}
