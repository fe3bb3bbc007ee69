//! The order of turns against a queue that is simulated: who waits for whom, and for how long.
//!
//! It must never use a clock: a page is the unit of time.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{HEAD_START, Line, PAGE, Turn};
use crate::policy::ledger::Class;

#[derive(Clone, Debug)]
struct Job {
    id: usize,
    tenant: usize,
    source: usize,
    turn: Turn,
    /// Pages left to read.
    pages: usize,
    running: bool,
}

/// A queue with workers: what the database and the worker pool do, in few words.
struct Queue {
    jobs: Vec<Job>,
    /// The first place of each source's sync that is under way: source, tenant, class, place.
    syncs: Vec<(usize, usize, Class, i64)>,
    workers: usize,
    ids: usize,
    /// The sources of the pages that were begun, in order.
    begun: Vec<usize>,
}

impl Queue {
    fn new(workers: usize) -> Self {
        Self { jobs: Vec::new(), syncs: Vec::new(), workers, ids: 0, begun: Vec::new() }
    }

    fn line(&self, source: usize, tenant: usize, class: Class) -> Line {
        let bare = |it: &Job| it.turn.at - it.turn.class.behind();
        let served = self.jobs.iter().filter(|it| it.running).map(bare).max();
        let waits = self.waiting().map(|it| (it.turn.class, it.turn.at));
        let own = self.jobs.iter().filter(|it| it.source == source && it.turn.class == class);
        let of_tenant = self.syncs.iter().filter(|it| it.1 == tenant && it.2 == class);
        let others = of_tenant.clone().filter(|it| it.0 != source).map(|it| it.0).collect::<BTreeSet<_>>();
        Line {
            served,
            waits,
            last: own.map(bare).max(),
            first: of_tenant.map(|it| it.3).max(),
            others: i64::try_from(others.len()).unwrap(),
        }
    }

    /// The job that is next.
    fn waiting(&self) -> Option<&Job> {
        self.jobs.iter().filter(|it| !it.running).min_by_key(|it| (it.turn.at, it.id))
    }

    fn is_idle(&self, source: usize) -> bool {
        self.jobs.iter().all(|it| it.source != source)
    }

    /// Begins a sync of a source with so many jobs of so many pages.
    fn begin(&mut self, tenant: usize, source: usize, class: Class, jobs: usize, pages: usize) {
        let mut turn = self.line(source, tenant, class).begins(class);
        self.syncs.push((source, tenant, class, turn.at - class.behind()));
        for _ in 0..jobs {
            self.jobs.push(Job { id: self.ids, tenant, source, turn, pages, running: false });
            self.ids += 1;
            turn = turn.next();
        }
        self.claim();
    }

    fn claim(&mut self) {
        while self.jobs.iter().filter(|it| it.running).count() < self.workers {
            let Some(id) = self.waiting().map(|it| it.id) else { return };
            let job = self.jobs.iter_mut().find(|it| it.id == id).unwrap();
            job.running = true;
            self.begun.push(job.source);
        }
    }

    /// Ends the page of the `nth` job that runs.
    fn page(&mut self, nth: usize) {
        let running: Vec<usize> = (0..self.jobs.len()).filter(|&it| self.jobs[it].running).collect();
        let Some(&at) = running.get(nth % running.len().max(1)) else { return };
        self.jobs[at].pages -= 1;
        let job = self.jobs[at].clone();
        let line = self.line(job.source, job.tenant, job.turn.class);
        let next = line.goes_on(job.turn);
        let is_alone = self.jobs.iter().all(|it| it.running || it.source == job.source);
        let gives_way = !is_alone && self.waiting().is_some_and(|it| it.turn.at <= next.at);
        if job.pages == 0 {
            self.jobs.remove(at);
            if self.is_idle(job.source) {
                self.syncs.retain(|it| it.0 != job.source);
            }
        } else if gives_way {
            let turn = line.follows(Turn { stride: line.stride(job.turn.class), ..job.turn });
            self.jobs[at] = Job { turn, running: false, ..job };
        } else {
            // Nobody is ahead of it: it goes on, and where others wait that counts.
            if !is_alone {
                self.jobs[at].turn = next;
            }
            self.begun.push(job.source);
        }
        self.claim();
    }

    fn count(&self, from: usize, source: usize) -> usize {
        self.begun[from..].iter().filter(|&&it| it == source).count()
    }
}

#[test]
fn a_small_source_waits_for_one_page_of_a_huge_one() {
    for (jobs, pages) in [(1, 1000), (1000, 1), (30, 30)] {
        for workers in [1, 4] {
            let mut queue = Queue::new(workers);
            queue.begin(1, 1, Class::Cron, jobs, pages);
            (0..97).for_each(|nth| queue.page(nth));
            let from = queue.begun.len();
            queue.begin(2, 2, Class::Cron, 1, 1);
            // The pages under way end, one after the other; the first place that they free is the small source's.
            queue.page(0);
            assert_eq!(queue.begun[from..][..1], [2], "{jobs} jobs of {pages} pages, {workers} workers");
        }
    }
}

#[test]
fn sources_that_wait_do_not_make_a_tenant_larger() {
    let mut queue = Queue::new(1);
    (0..900).for_each(|source| queue.begin(1, source, Class::Cron, 1, 20));
    (0..50).for_each(|nth| queue.page(nth));
    let from = queue.begun.len();
    queue.begin(2, 1000, Class::Cron, 1, 500);
    (0..400).for_each(|nth| queue.page(nth));
    assert!(queue.begun[from..=from + 1].contains(&1000), "{:?}", &queue.begun[from..from + 9]);
    let pages = queue.count(from, 1000);
    assert!((180..=220).contains(&pages), "of 400 pages the tenant with one source has {pages}");
}

#[test]
fn sources_of_one_tenant_share_alike() {
    let mut queue = Queue::new(1);
    queue.begin(1, 1, Class::Cron, 1, 1000);
    queue.begin(1, 2, Class::Cron, 1, 1000);
    (0..20).for_each(|nth| queue.page(nth));
    let from = queue.begun.len();
    queue.begin(1, 3, Class::Cron, 1, 1000);
    (0..300).for_each(|nth| queue.page(nth));
    for source in 1..=3 {
        assert!((95..=105).contains(&queue.count(from, source)), "{source}: {}", queue.count(from, source));
    }
}

#[test]
fn a_person_comes_before_what_is_scheduled() {
    let mut queue = Queue::new(1);
    (0..50).for_each(|source| queue.begin(source, source, Class::Cron, 10, 2));
    (0..20).for_each(|nth| queue.page(nth));
    let from = queue.begun.len();
    queue.begin(90, 90, Class::Backfill, 1, 1);
    queue.begin(91, 91, Class::Webhook, 1, 3);
    queue.begin(92, 92, Class::Human, 30, 2);
    (0..65).for_each(|nth| queue.page(nth));
    let expected: Vec<usize> = [vec![92; 60], vec![91; 3]].concat();
    assert_eq!(queue.begun[from..][..63], expected);
}

#[test]
fn nobody_starves_behind_people_who_never_stop() {
    let (hint, cron, backfill) = ((Class::Webhook, 300), (Class::Cron, 600), (Class::Backfill, 900));
    for ((class, within), jobs) in [(hint, 1), (cron, 1), (backfill, 1), (cron, 300)] {
        let mut queue = Queue::new(1);
        queue.begin(1, 1, Class::Human, jobs, 100_000);
        let from = queue.begun.len();
        queue.begin(2, 2, class, 1, 100_000);
        (0..within).for_each(|nth| queue.page(nth));
        assert!(queue.count(from, 2) >= 1, "{class:?}");
        (0..3400).for_each(|nth| queue.page(nth));
        let (people, others) = (queue.count(from + within, 1), queue.count(from + within, 2));
        let share = usize::try_from(class.page() / PAGE).unwrap();
        assert!((others * share).abs_diff(people) <= 2 * share, "{class:?}: {people} and {others}");
    }
}

#[test]
fn new_sources_that_never_stop_coming_leave_room() {
    let mut queue = Queue::new(1);
    queue.begin(1, 1, Class::Cron, 1, 1000);
    for nth in 0..300 {
        queue.begin(2 + nth, 2 + nth, Class::Cron, 1, 1);
        queue.page(0);
        queue.page(0);
    }
    let pages = queue.count(0, 1);
    assert!(pages >= 280, "beside 300 new sources, one after the other, it has {pages} pages");
}

#[test]
fn classes_have_their_numbers() {
    for class in Class::ALL {
        assert_eq!(Class::from_rank(class.rank()), class);
        assert_eq!(class.behind() % HEAD_START, 0);
    }
    assert!(Class::ALL.is_sorted_by_key(|it| it.behind()) && Class::ALL.is_sorted_by_key(|it| it.page()));
    assert_eq!(Class::from_rank(9), Class::Backfill);
}

/// What happens next: a page of one of the running jobs ends, or a sync begins.
#[derive(Clone, Debug)]
enum Step {
    Page(usize),
    Begin { source: usize, jobs: usize, pages: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let begin = (0_usize..12, 1_usize..30, 1_usize..12).prop_map(|(source, jobs, pages)| Step::Begin {
        source,
        jobs,
        pages,
    });
    let step = prop_oneof![6 => (0_usize..8).prop_map(Step::Page), 1 => begin];
    prop::collection::vec(step, 1..400)
}

proptest! {
    /// Whatever came before: a source alone in its tenant has its first page before a second one of any other source
    /// begins, and in the end everything is read.
    #[test]
    fn a_new_source_has_its_page_before_anybody_has_two(steps in steps(), workers in 1_usize..5) {
        let mut queue = Queue::new(workers);
        // The small sources that wait, each with what had begun when it came.
        let mut fresh: Vec<(usize, usize)> = Vec::new();
        let mut tenants = 100;
        for step in steps {
            match step {
                Step::Page(nth) => queue.page(nth),
                // Sources of three tenants; every fourth is a small one of a tenant of its own.
                Step::Begin { source, .. } if source % 4 == 3 => {
                    tenants += 1;
                    fresh.push((tenants, queue.begun.len()));
                    queue.begin(tenants, tenants, Class::Cron, 1, 1);
                }
                Step::Begin { source, jobs, pages } if queue.is_idle(source) => {
                    queue.begin(source % 4, source, Class::Cron, jobs, pages);
                }
                Step::Begin { .. } => {}
            }
            fresh.retain(|(small, from)| !queue.begun[*from..].contains(small));
            for (small, from) in &fresh {
                for source in 0..12 {
                    let pages = queue.count(*from, source);
                    prop_assert!(pages <= 1, "{small} waits for {pages} pages of {source}");
                }
            }
        }
        let mut left = 100_000;
        while !queue.jobs.is_empty() && left > 0 {
            queue.page(0);
            left -= 1;
        }
        prop_assert!(queue.jobs.is_empty(), "something is never read");
    }
}
