//! The one thread that writes: prepared statements, a row at a time, so many rows to a commit.
//!
//! Tables, indexes, upsert and durability are those of `crates/store` and must stay so.

use anyhow::{Context as _, Result};
use rusqlite::{Connection, Statement};
use tokio::sync::mpsc::Receiver;

use crate::args::Args;
use crate::parse::{BranchRow, CommitRow, INSTANT_BYTES, Page, Rows};

/// The only source: every key begins with its number.
const SOURCE: i64 = 1;

/// What `syncline` sets: full durability, a cache of 8 MiB, and a log that shrinks back to 16 MiB.
const SETTINGS: &str = "
pragma page_size = 16384;
pragma journal_mode = wal;
pragma synchronous = full;
pragma foreign_keys = on;
pragma cache_size = -8192;
pragma journal_size_limit = 16777216;";

const TABLES: &str = "
create table branches (
    source_id bigint not null, repository_id bigint not null, name text not null, head_sha text, protected boolean,
    raw text not null, landing_hash blob not null, observed_at text not null, first_seen text not null,
    changed_at text not null, deleted_at text,
    primary key (source_id, repository_id, name)
);
create table commits (
    source_id bigint not null, repository_id bigint not null, sha text not null, message text, author_name text,
    author_email text, author_login text, authored_at text, committer_name text, committer_email text,
    committed_at text, jira_key text, jira_keys text, url text,
    raw text not null, landing_hash blob not null, observed_at text not null, first_seen text not null,
    changed_at text not null, deleted_at text,
    primary key (source_id, repository_id, sha)
);
create index commits_1 on commits (source_id, committed_at);
create index commits_2 on commits (source_id, jira_key);
create table commit_parents (
    source_id bigint not null, repository_id bigint not null, sha text not null, position bigint not null,
    parent_sha text,
    primary key (source_id, repository_id, sha, position)
) without rowid;";

const BRANCH: &str = "
insert into branches (source_id, repository_id, name, head_sha, protected, raw, landing_hash, observed_at, first_seen,
    changed_at, deleted_at)
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?8, null)
on conflict (source_id, repository_id, name) do update set
    head_sha = excluded.head_sha, protected = excluded.protected, raw = excluded.raw,
    landing_hash = excluded.landing_hash, observed_at = excluded.observed_at, changed_at = excluded.changed_at,
    deleted_at = excluded.deleted_at
where (branches.landing_hash <> excluded.landing_hash or branches.deleted_at is not null)
    and excluded.observed_at >= branches.observed_at";

const COMMIT: &str = "
insert into commits (source_id, repository_id, sha, message, author_name, author_email, author_login, authored_at,
    committer_name, committer_email, committed_at, jira_key, jira_keys, url, raw, landing_hash, observed_at,
    first_seen, changed_at, deleted_at)
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?17, ?17, null)
on conflict (source_id, repository_id, sha) do update set
    message = excluded.message, author_name = excluded.author_name, author_email = excluded.author_email,
    author_login = excluded.author_login, authored_at = excluded.authored_at,
    committer_name = excluded.committer_name, committer_email = excluded.committer_email,
    committed_at = excluded.committed_at, jira_key = excluded.jira_key, jira_keys = excluded.jira_keys,
    url = excluded.url, raw = excluded.raw, landing_hash = excluded.landing_hash,
    observed_at = excluded.observed_at, changed_at = excluded.changed_at, deleted_at = excluded.deleted_at
where (commits.landing_hash <> excluded.landing_hash or commits.deleted_at is not null)
    and excluded.observed_at >= commits.observed_at";

const PARENT: &str = "
insert into commit_parents (source_id, repository_id, sha, position, parent_sha) values (?1, ?2, ?3, ?4, ?5)
on conflict do nothing";

/// Writes what comes until nobody sends any more, and returns how many commits were new or had changed.
pub(crate) fn run(args: &Args, mut pages: Receiver<Page>) -> Result<u64> {
    let database = args.database.display();
    let connection = Connection::open(&args.database).with_context(|| format!("open {database}"))?;
    for pragma in &args.pragmas {
        // Before the others: the page size can be chosen only while there is no page.
        connection
            .execute_batch(&format!("pragma {pragma}"))
            .with_context(|| format!("--pragma {pragma}"))?;
    }
    connection.execute_batch(SETTINGS).context("set up the database")?;
    connection.execute_batch(TABLES).context("make the tables; the file has to be a new one")?;
    let mut land = Land {
        branch: connection.prepare(BRANCH)?,
        commit: connection.prepare(COMMIT)?,
        parent: connection.prepare(PARENT)?,
    };
    let (mut commits, mut rows) = (0, 0);
    while let Some(page) = pages.blocking_recv() {
        if rows == 0 {
            connection.execute_batch("begin immediate")?;
        }
        commits += land.page(&page)?;
        rows += page.rows.len();
        if rows >= args.rows_per_transaction {
            connection.execute_batch("commit").context("commit")?;
            rows = 0;
        }
    }
    if rows > 0 {
        connection.execute_batch("commit").context("commit")?;
    }
    drop(land);
    connection.close().map_err(|(_, error)| error).context("close the database")?;
    Ok(commits)
}

/// The prepared statements.
struct Land<'a> {
    branch: Statement<'a>,
    commit: Statement<'a>,
    parent: Statement<'a>,
}

impl Land<'_> {
    fn page(&mut self, page: &Page) -> Result<u64> {
        let body = std::str::from_utf8(&page.body)?;
        let mut commits = 0;
        match &page.rows {
            Rows::Branches(rows) => {
                for row in rows {
                    self.branch(page, body, row)?;
                }
            }
            Rows::Commits(rows) => {
                for row in rows {
                    commits += self.commit(page, body, row)?;
                }
            }
        }
        Ok(commits)
    }

    fn branch(&mut self, page: &Page, body: &str, row: &BranchRow) -> rusqlite::Result<()> {
        self.branch.execute((
            SOURCE,
            page.repository,
            row.name.get(body),
            row.head.get(body),
            row.protected,
            row.raw.get(body),
            &row.hash[..],
            &page.observed_at,
        ))?;
        Ok(())
    }

    fn commit(&mut self, page: &Page, body: &str, row: &CommitRow) -> rusqlite::Result<u64> {
        let sha = row.sha.get(body);
        let to = &mut self.commit;
        to.raw_bind_parameter(1, SOURCE)?;
        to.raw_bind_parameter(2, page.repository)?;
        to.raw_bind_parameter(3, sha)?;
        to.raw_bind_parameter(4, row.message.get(body))?;
        to.raw_bind_parameter(5, row.author_name.get(body))?;
        to.raw_bind_parameter(6, row.author_email.get(body))?;
        to.raw_bind_parameter(7, row.author_login.get(body))?;
        to.raw_bind_parameter(8, text(row.authored_at.as_ref()))?;
        to.raw_bind_parameter(9, row.committer_name.get(body))?;
        to.raw_bind_parameter(10, row.committer_email.get(body))?;
        to.raw_bind_parameter(11, text(row.committed_at.as_ref()))?;
        to.raw_bind_parameter(12, row.jira_key.get(body))?;
        to.raw_bind_parameter(13, row.jira_keys.get(body))?;
        to.raw_bind_parameter(14, row.url.get(body))?;
        to.raw_bind_parameter(15, row.raw.get(body))?;
        to.raw_bind_parameter(16, &row.hash[..])?;
        to.raw_bind_parameter(17, &page.observed_at)?;
        let written = to.raw_execute()?;
        for (position, parent) in (0_i64..).zip(&row.parents) {
            self.parent.execute((SOURCE, page.repository, sha, position, parent.get(body)))?;
        }
        Ok(u64::from(written > 0))
    }
}

fn text(instant: Option<&[u8; INSTANT_BYTES]>) -> Option<&str> {
    instant.and_then(|it| std::str::from_utf8(it).ok())
}
