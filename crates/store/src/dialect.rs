//! What the two databases spell differently in our own statements. Landed tables have their own: [`crate::landing`].
//!
//! Never runs anything.

use crate::db::Conn;

/// Returns a table `t` of the JSON array of arrays in argument `$n`: its column `value` is one of the inner arrays.
pub(crate) fn each(conn: &Conn, argument: &str) -> String {
    if conn.is_sqlite() {
        format!("json_each({argument}) as t")
    } else {
        format!("json_array_elements({argument}::json) as t(value)")
    }
}

/// Ends a select whose rows are about to be changed. SQLite has one writer: there is nobody to lock out.
/// `no key update` lets others insert jobs of the same sync meanwhile.
pub(crate) fn for_update(conn: &Conn) -> &'static str {
    if conn.is_sqlite() { "" } else { "for no key update" }
}

/// Ends a select that passes over rows that others are about to change.
pub(crate) fn skip_locked(conn: &Conn) -> &'static str {
    if conn.is_sqlite() { "" } else { "for update skip locked" }
}

/// Limits a read of events to those before which nothing can still appear. In SQLite writers take turns.
pub(crate) fn settled_events(conn: &Conn) -> &'static str {
    if conn.is_sqlite() { "" } else { "and xid < pg_snapshot_xmin(pg_current_snapshot())" }
}

/// Wakes the other processes at commit; SQLite has no way to, and its own process is woken without one.
pub(crate) fn notify(conn: &Conn) -> Option<&'static str> {
    (!conn.is_sqlite()).then_some("select pg_notify('syncline_jobs', '')::text")
}

/// The channel of [`notify`].
pub(crate) const CHANNEL: &str = "syncline_jobs";

/// Reads the server's clock in epoch milliseconds; PostgreSQL only.
pub(crate) const SERVER_CLOCK: &str =
    "select cast(extract(epoch from clock_timestamp()) * 1000 as bigint) as ms";

/// The database's own clock in epoch milliseconds, for times that nothing is decided by.
pub(crate) fn now_ms(conn: &Conn) -> &'static str {
    if conn.is_sqlite() {
        "cast((julianday('now') - 2440587.5) * 86400000 as bigint)"
    } else {
        "cast(extract(epoch from clock_timestamp()) * 1000 as bigint)"
    }
}

/// Waits for other processes that are opening the same database. SQLite's `begin immediate` does it already.
pub(crate) const OPEN_LOCK: &str = "select pg_advisory_xact_lock(7092735146015473)::text";

/// Names a table's columns and their types as `name` and `type`.
pub(crate) fn columns_of(conn: &Conn) -> &'static str {
    if conn.is_sqlite() {
        "select name, lower(type) as type from pragma_table_info($1)"
    } else {
        "select column_name::text as name, data_type::text as type from information_schema.columns
         where table_schema = current_schema() and table_name = $1"
    }
}

/// Replaces what PostgreSQL cannot store in a text.
pub(crate) fn without_nul(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

/// Replaces what PostgreSQL's `jsonb` cannot store in a JSON text: NUL, as it is or escaped.
pub(crate) fn json_without_nul(text: String) -> String {
    let text = without_nul(text);
    if !text.contains("\\u0000") {
        return text;
    }
    let mut clean = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        clean += before;
        if let Some(later) = escape.strip_prefix("\\u0000") {
            clean.push('\u{fffd}');
            rest = later;
        } else {
            // What follows a backslash belongs to it, also another backslash.
            let end = escape.char_indices().nth(2).map_or(escape.len(), |it| it.0);
            let (kept, later) = escape.split_at(end);
            clean += kept;
            rest = later;
        }
    }
    clean + rest
}
