//! Who holds a lease: a process, named so that another one on the same machine can tell that it died.
//!
//! This only makes a restart quicker. That a dead process's job is taken over at all follows from its lease running
//! out, and that a living one's writes are refused after that follows from the fence.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// Returns a name for this process: boot, process namespace, process id and start, so that no other process ever has
/// it, and a number, so that no two engines in it share what is granted to one.
pub(crate) fn this_node() -> String {
    static ENGINES: AtomicU32 = AtomicU32::new(1);
    let (pid, engine) = (std::process::id(), ENGINES.fetch_add(1, Ordering::Relaxed));
    let start = start_ticks(pid).unwrap_or_else(|| "0".to_owned());
    format!("{}/{}/{pid}/{start}/{engine}", boot().unwrap_or_default(), namespace().unwrap_or_default())
}

/// Says whether `node` was a process of this machine and namespace that is no longer there.
///
/// False when it cannot be told: then the lease has to run out.
pub(crate) fn is_dead(node: &str) -> bool {
    let mut parts = node.split('/');
    let (Some(its_boot), Some(its_namespace), Some(pid), Some(start)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let (Some(boot), Some(namespace), Ok(pid)) = (boot(), namespace(), pid.parse()) else { return false };
    its_boot == boot && its_namespace == namespace && start_ticks(pid).as_deref() != Some(start)
}

fn boot() -> Option<String> {
    Some(fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned())
}

fn namespace() -> Option<String> {
    let link = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(link.to_string_lossy().replace('/', "_"))
}

/// The time at which a process started, in clock ticks since boot; a process id may be used again, this may not.
fn start_ticks(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    // The program's name stands in parentheses and may hold spaces; the fields after it are plain (proc(5)).
    let (_, fields) = stat.rsplit_once(')')?;
    // A zombie is dead: nothing of it will ever run again.
    let mut fields = fields.split_whitespace();
    let state = fields.next()?;
    if state == "Z" { None } else { fields.nth(18).map(str::to_owned) }
}

#[cfg(test)]
mod tests {
    use super::{is_dead, this_node};

    #[test]
    fn a_living_process_is_not_taken_for_dead() {
        assert!(!is_dead(&this_node()));
    }

    #[test]
    fn an_ended_process_is_dead() {
        let node = this_node();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        let mut parts: Vec<String> = node.split('/').map(str::to_owned).collect();
        parts[2] = pid.to_string();
        assert!(is_dead(&parts.join("/")));
    }

    #[test]
    fn a_process_of_another_machine_is_left_to_its_lease() {
        let node = this_node();
        let (_, rest) = node.split_once('/').unwrap();
        assert!(!is_dead(&format!("another-boot/{rest}")));
        assert!(!is_dead("nonsense"));
    }
}
