//! The memory that answers may take: those that arrive, and those not committed yet.
//!
//! A page takes its room when its first answer begins to arrive: what a provider is still making takes none. It asks
//! once, for its first step, and never for more while it holds some: two pages could wait for each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

/// What answers may take together; it is what keeps memory flat. Twice the largest step of the busiest stream, eight
/// answers of 450 KB: one is committed while another arrives. Measured: with 12 MiB a sync is no faster.
const BODIES_KIB_MAX: u32 = 8 << 10;

/// What one answer is reckoned with before the job has had any: 100 commits are some 450 KB.
const BODY_KIB: u32 = 512;

/// Bounds the bytes of answers that this process holds.
#[derive(Debug)]
pub(crate) struct Bodies {
    free_kib: Arc<Semaphore>,
}

impl Bodies {
    pub(crate) fn new() -> Self {
        Self { free_kib: Arc::new(Semaphore::new(BODIES_KIB_MAX as usize)) }
    }

    /// Makes the room of a page whose first step has so many answers, of at most so many bytes each.
    pub(crate) fn room(&self, answers: usize, largest_bytes: Option<usize>) -> Room {
        let each = largest_bytes
            .map_or(BODY_KIB, |it| u32::try_from(it >> 10).unwrap_or(u32::MAX).saturating_add(1));
        let kib = u32::try_from(answers).unwrap_or(u32::MAX).saturating_mul(each).min(BODIES_KIB_MAX);
        Room {
            free_kib: self.free_kib.clone(),
            kib,
            is_waiting: AtomicBool::new(false),
            taken: Mutex::default(),
        }
    }
}

/// The room of one page.
#[derive(Debug)]
pub(crate) struct Room {
    free_kib: Arc<Semaphore>,
    kib: u32,
    is_waiting: AtomicBool,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    held: Option<OwnedSemaphorePermit>,
    /// What let the page ask before it had room.
    turn: Option<OwnedSemaphorePermit>,
    /// Whether the provider fell silent: what comes then takes no room until all of it is there.
    given_up: bool,
}

impl Room {
    /// Keeps a source's leave to ask without room, until there is room.
    pub(crate) async fn keep(&self, turn: OwnedSemaphorePermit) {
        self.taken.lock().await.turn = Some(turn);
    }

    /// Waits until the page has its room.
    pub(crate) async fn enter(&self) {
        let mut taken = self.taken.lock().await;
        if taken.held.is_some() || taken.given_up {
            return;
        }
        self.is_waiting.store(true, Ordering::Relaxed);
        taken.held = self.free_kib.clone().acquire_many_owned(self.kib).await.ok();
        self.is_waiting.store(false, Ordering::Relaxed);
        taken.turn = None;
    }

    /// Says whether the page waits for room, so that a silence is ours and not the provider's.
    pub(crate) fn is_waiting(&self) -> bool {
        self.is_waiting.load(Ordering::Relaxed)
    }

    /// Gives the room to others while the provider is silent.
    pub(crate) async fn give_up(&self) {
        let mut taken = self.taken.lock().await;
        taken.held = None;
        taken.given_up = true;
    }

    /// Takes the room again, once everything has arrived: nothing is held then, so that waiting keeps nobody waiting.
    pub(crate) async fn come_back(&self) {
        self.taken.lock().await.given_up = false;
        self.enter().await;
    }

    /// Returns what keeps the bodies counted until the page is committed.
    pub(crate) fn into_held(self) -> Option<OwnedSemaphorePermit> {
        self.taken.into_inner().held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_page_takes_its_room_once_and_gives_its_turn_back_for_it() {
        let bodies = Bodies::new();
        let turns = Arc::new(Semaphore::new(8));
        let room = bodies.room(8, Some(100 << 10));
        room.keep(turns.clone().acquire_many_owned(8).await.unwrap()).await;
        assert_eq!(bodies.free_kib.available_permits(), BODIES_KIB_MAX as usize, "nothing has arrived");
        tokio::join!(room.enter(), room.enter(), room.enter());
        assert_eq!(bodies.free_kib.available_permits(), BODIES_KIB_MAX as usize - 8 * 101);
        assert_eq!(turns.available_permits(), 8);
        drop(room.into_held());
        assert_eq!(bodies.free_kib.available_permits(), BODIES_KIB_MAX as usize);
    }

    #[tokio::test]
    async fn what_is_larger_than_everything_still_finds_room_and_then_nobody_else() {
        let bodies = Bodies::new();
        let (first, second) = (bodies.room(8, Some(32 << 20)), bodies.room(1, None));
        first.enter().await;
        let mut waiting = Box::pin(second.enter());
        assert!(futures::poll!(&mut waiting).is_pending());
        assert!(second.is_waiting());
        first.give_up().await;
        waiting.await;
        assert!(!second.is_waiting());
        first.enter().await;
        assert!(first.into_held().is_none(), "what comes after a silence waits for nobody");
    }
}
