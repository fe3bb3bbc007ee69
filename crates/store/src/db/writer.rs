//! The one task that writes to an SQLite file. It takes whatever waits, commits it together, and answers after COMMIT.
//!
//! Never waits for more work, and never answers a write before it is durable. Begin with [`Writer::write`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::task::TaskTracker;

use super::{BoxFuture, Conn, Write, args};
use crate::error::StoreError;

/// Writes that share one commit: enough to hide an fsync, few enough to answer soon.
const GROUP_MAX: usize = 64;

/// Bytes of pages that share one commit: what a group holds in memory.
const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;

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

/// The way to the writer task.
pub(crate) struct Writer {
    queue: Mutex<Option<mpsc::Sender<Box<dyn Waiting>>>>,
    sender: mpsc::WeakSender<Box<dyn Waiting>>,
    task: TaskTracker,
}

impl Writer {
    /// Starts the task over its own connection.
    pub(crate) fn start(conn: SqliteConnection, options: SqliteConnectOptions, kill: KillSwitch) -> Self {
        // As many may wait as fit in two groups; more wait at the sender, each with its own page.
        let (sender, queue) = mpsc::channel(2 * GROUP_MAX);
        let task = TaskTracker::new();
        task.spawn(run(Connected { conn: Conn::Lite(conn), options, kill }, queue));
        task.close();
        Self { sender: sender.downgrade(), queue: Mutex::new(Some(sender)), task }
    }

    /// Hands a write over and waits until it is durable, or until it is known not to be.
    pub(crate) async fn write<I, T>(
        &self,
        input: I,
        bytes: usize,
        write: Write<I, T>,
    ) -> Result<T, StoreError>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let pending = Pending { input, write, bytes, result: None, reply };
        let sender = self.sender.upgrade().ok_or_else(closed)?;
        sender.send(Box::new(pending)).await.map_err(|_| closed())?;
        drop(sender);
        answer.await.map_err(|_| closed())?
    }

    /// Lets the task finish what waits, and ends it.
    pub(crate) async fn close(&self) {
        self.queue.lock().await.take();
        self.task.wait().await;
    }
}

fn closed() -> StoreError {
    sqlx::Error::PoolClosed.into()
}

/// A write that waits, whatever its input and answer.
trait Waiting: Send {
    fn bytes(&self) -> usize;
    fn run<'c>(&'c mut self, conn: &'c mut Conn) -> BoxFuture<'c, Result<(), StoreError>>;
    fn answer(self: Box<Self>, fault: Option<StoreError>);
}

struct Pending<I, T> {
    input: I,
    write: Write<I, T>,
    bytes: usize,
    result: Option<T>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<I: Send + Sync, T: Send> Waiting for Pending<I, T> {
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn run<'c>(&'c mut self, conn: &'c mut Conn) -> BoxFuture<'c, Result<(), StoreError>> {
        Box::pin(async move {
            self.result = Some((self.write)(conn, &self.input).await?);
            Ok(())
        })
    }

    fn answer(self: Box<Self>, fault: Option<StoreError>) {
        let answer = match (fault, self.result) {
            (None, Some(result)) => Ok(result),
            (Some(fault), _) => Err(fault),
            (None, None) => Err(closed()),
        };
        // The caller may have gone away; what it asked for is written all the same.
        let _gone = self.reply.send(answer);
    }
}

struct Connected {
    conn: Conn,
    options: SqliteConnectOptions,
    kill: KillSwitch,
}

type Group = Vec<(Box<dyn Waiting>, Option<StoreError>)>;

async fn run(mut connected: Connected, mut queue: mpsc::Receiver<Box<dyn Waiting>>) {
    let mut held = None;
    loop {
        let first = match held.take() {
            Some(first) => first,
            None => match queue.recv().await {
                Some(first) => first,
                None => break,
            },
        };
        let mut group = take_waiting(first, &mut queue, &mut held);
        if let Err(fault) = commit(&mut connected, &mut group).await {
            for (_, own) in &mut group {
                own.get_or_insert_with(|| fault.clone());
            }
            recover(&mut connected).await;
        }
        for (write, fault) in group {
            write.answer(fault);
        }
    }
    if let Conn::Lite(conn) = connected.conn
        && let Err(error) = conn.close().await
    {
        tracing::warn!(%error, "the writer's connection did not close");
    }
}

fn take_waiting(
    first: Box<dyn Waiting>,
    queue: &mut mpsc::Receiver<Box<dyn Waiting>>,
    held: &mut Option<Box<dyn Waiting>>,
) -> Group {
    let mut bytes = first.bytes();
    let mut group = vec![(first, None)];
    while group.len() < GROUP_MAX
        && let Ok(next) = queue.try_recv()
    {
        bytes += next.bytes();
        if bytes > GROUP_BYTES_MAX {
            *held = Some(next);
            break;
        }
        group.push((next, None));
    }
    group
}

/// Runs a group in one transaction. An error here is one of the transaction, and so of all of them.
async fn commit(connected: &mut Connected, group: &mut Group) -> Result<(), StoreError> {
    let conn = &mut connected.conn;
    conn.execute("begin immediate", args![]).await?;
    if let [(write, fault)] = group.as_mut_slice() {
        if let Err(error) = write.run(conn).await {
            *fault = Some(error.clone());
            return Err(error);
        }
    } else {
        for (write, fault) in group.iter_mut() {
            conn.execute("savepoint one", args![]).await?;
            if let Err(error) = write.run(conn).await {
                // Fails when the error has undone the whole transaction, as a full disk does; then all are answered
                // with it.
                let undone = conn.execute("rollback to one", args![]).await;
                undone.map_err(|_| error.clone())?;
                *fault = Some(error);
            }
            conn.execute("release one", args![]).await?;
        }
    }
    connected.kill.before_commit();
    connected.conn.execute("commit", args![]).await?;
    connected.kill.after_commit();
    Ok(())
}

/// Leaves the connection outside any transaction, with a new one if need be.
async fn recover(connected: &mut Connected) {
    // Fails where SQLite has rolled back by itself.
    let _already = connected.conn.execute("rollback", args![]).await;
    if connected.conn.execute("select 1", args![]).await.is_ok() {
        return;
    }
    match connected.options.connect().await {
        Ok(conn) => connected.conn = Conn::Lite(conn),
        Err(error) => tracing::error!(%error, "the writer's connection is lost; the next write tries again"),
    }
}
