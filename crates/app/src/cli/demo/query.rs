//! Queries over what landed, ready to paste, and their answers where the database's own program is installed.
//!
//! They are words for people: this program never runs SQL itself.

use std::process::Stdio;
use std::time::Duration;

use domain::id::SourceId;
use serde_json::{Value, json};
use tokio::process::Command;
use url::Url;

use crate::config::{Config, shown};

/// An answer that takes longer is left out: the query stands there to be run.
const PATIENCE: Duration = Duration::from_secs(5);

/// One query.
pub(super) struct Query {
    pub(super) title: &'static str,
    pub(super) sql: String,
    /// What to paste into a shell.
    pub(super) command: String,
}

/// Returns the demo's queries, in the words of the configured database. They and their answers fit into 80 columns.
pub(super) fn all(config: &Config, source: SourceId) -> Vec<Query> {
    let lite = config.sqlite_file().is_some();
    // A message of several lines would break the answer's table.
    let newline = if lite { "char(10)" } else { "chr(10)" };
    let queries = [
        (
            "the latest commits, with the Jira keys of their first lines",
            format!(
                "select substr(sha, 1, 8) as sha, author_name,
    jira_key, replace(substr(message, 1, 32), {newline}, ' ') as message
  from commits where source_id = {source} order by committed_at desc limit 5"
            ),
        ),
        (
            "who wrote how much, and since when",
            format!(
                "select author_name, count(*) as commits,
    min(authored_at) as since from commits where source_id = {source}
  group by author_name order by commits desc limit 5"
            ),
        ),
        (
            "how much each branch reaches",
            format!(
                "select full_name, branch, count(*) as commits
  from commit_branches join github_repositories using (source_id)
  where source_id = {source} and id = repository_id
  group by 1, 2 order by 3 desc limit 5"
            ),
        ),
    ];
    let database = match config.sqlite_file() {
        Some(file) => format!("sqlite3 -box {}", quoted(&file.to_string_lossy())),
        // psql asks for the password itself.
        None => format!("psql {} -c", quoted(&shown(&config.database_url).replace(":[redacted]", ""))),
    };
    queries
        .into_iter()
        .map(|(title, sql)| Query { title, command: format!("{database} \"{sql}\""), sql })
        .collect()
}

impl Query {
    /// Says it to scripts.
    pub(super) fn json(&self) -> Value {
        json!({ "title": self.title, "sql": self.sql, "command": self.command })
    }

    /// Has the database's own program answer; `None` when it is not installed, or does not.
    pub(super) async fn answer(&self, config: &Config) -> Option<String> {
        let mut program = match config.sqlite_file() {
            Some(file) => {
                let mut program = Command::new("sqlite3");
                program.args(["-readonly", "-box"]).arg(file).arg(&self.sql);
                program
            }
            None => self.psql(config)?,
        };
        program.stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(PATIENCE, program.output()).await.ok()?.ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    fn psql(&self, config: &Config) -> Option<Command> {
        let mut url = Url::parse(&config.database_url).ok()?;
        let password = url.password().map(decoded);
        // In the arguments it would be seen by everybody on this machine.
        url.set_password(None).ok()?;
        let mut program = Command::new("psql");
        program.args([
            "--no-psqlrc",
            "--no-password",
            "-P",
            "border=2",
            "-P",
            "linestyle=unicode",
            "-P",
            "footer=off",
        ]);
        program.arg("-c").arg(&self.sql).arg(url.as_str());
        if let Some(password) = password {
            program.env("PGPASSWORD", password);
        }
        Some(program)
    }
}

/// Undoes the encoding of an address's part.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| byte == b'%').and_then(|it| std::str::from_utf8(it).ok());
        if let Some(decoded) = hex.and_then(|it| u8::from_str_radix(it, 16).ok()) {
            bytes.push(decoded);
            rest = after.get(2..).unwrap_or_default();
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Quotes a word for a shell where it needs to be.
pub(super) fn quoted(word: &str) -> String {
    let plain = |it: char| it.is_ascii_alphanumeric() || "-_./:@".contains(it);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::{decoded, quoted};

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted("a/b.db"), "a/b.db");
        assert_eq!(quoted("it's here.db"), r"'it'\''s here.db'");
    }

    #[test]
    fn passwords_are_decoded() {
        assert_eq!(decoded("a%40b%2"), "a@b%2");
    }
}
