//! The people of a fake Jira: each has an account id for Cloud, and a name and key for Data Center.
//! Must never depend on anything but its arguments.

use crate::hash::{Digest, pick};

/// One person, as both kinds of Jira show them.
#[derive(Debug)]
pub(crate) struct Person {
    /// The login name, which Data Center shows.
    pub(crate) name: &'static str,
    /// The full name.
    pub(crate) display: &'static str,
    /// The zone in their profile.
    pub(crate) zone: &'static str,
    /// Whether the account is in use.
    pub(crate) active: bool,
}

/// Who works in every world; the first one is whose credential asks.
pub(crate) const PEOPLE: [Person; 9] = [
    person("sync.bot", "Sync Bot", "Etc/UTC", true),
    person("ada", "Ada Byrne", "Europe/London", true),
    person("zoe.ostergard", "Zoë Østergård", "Europe/Copenhagen", true),
    person("xiaoming.li", "李小明", "Asia/Shanghai", true),
    person("ivan.petrov", "Иван Петров", "Asia/Yekaterinburg", true),
    person("jose", "José Ñuñez", "America/Bogota", true),
    person("sean", "Seán O'Brien", "Europe/Dublin", false),
    person("priya.raman", "Priya Raman", "Asia/Kolkata", true),
    person("mia.keller", "Mia \"Mo\" Keller", "Australia/Lord_Howe", true),
];

/// Whose credential asks.
pub(crate) const ME: usize = 0;

const fn person(name: &'static str, display: &'static str, zone: &'static str, active: bool) -> Person {
    Person { name, display, zone, active }
}

impl Person {
    /// Returns the account id that Cloud shows: opaque, and with the colon that has to be encoded in a query.
    pub(crate) fn account_id(&self) -> String {
        let digest = Digest::new(31).bytes(self.name.as_bytes()).finish();
        let hex = format!("{digest:032x}");
        format!("712020:{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }
}

/// Picks somebody who can be given work.
pub(crate) fn somebody(random: u64) -> usize {
    1 + pick(random, PEOPLE.len() - 1)
}
