//! What is asked for: the repositories, each one's branches, every page of its default branch side by side, and of
//! the other branches only what the default branch lacks.

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinSet;

use crate::args::Args;
use crate::client::{Answer, Client};
use crate::parse::{self, Branch, Page, Rows};

/// The pages' way to the writer.
type Pages = Sender<Page>;

/// A repository as listed.
#[derive(Deserialize)]
struct Repository {
    id: i64,
    default_branch: String,
}

/// What the reading of one repository shares.
struct Place {
    client: Arc<Client>,
    pages: Pages,
    base: String,
    repository: i64,
}

/// Reads all that the credential sees and returns how many requests that took.
pub(crate) async fn everything(args: &Args, pages: Pages) -> Result<u64> {
    let client = Arc::new(Client::new(args)?);
    let mut repositories = JoinSet::new();
    let mut url = format!("{}/user/repos?per_page=100", args.base);
    let mut last = None;
    for number in 2_u64.. {
        let answer = client.get(&url).await?;
        last = last.or_else(|| answer.last.clone());
        for it in serde_json::from_slice::<Vec<Repository>>(&answer.body).context("repositories")? {
            let (client, pages, base) = (Arc::clone(&client), pages.clone(), args.base.clone());
            let place = Place { client, pages, base, repository: it.id };
            repositories.spawn(repository(place, it.default_branch));
        }
        match numbered(last.as_deref(), number) {
            Some(next) => url = next,
            None => break,
        }
    }
    drop(pages);
    while let Some(done) = repositories.join_next().await {
        done??;
    }
    Ok(client.requests())
}

async fn repository(place: Place, default_branch: String) -> Result<()> {
    let place = Arc::new(place);
    let branches = branches(&place).await?;
    let Some(base) = branches.iter().find(|it| it.name == default_branch).map(|it| it.head.clone()) else {
        return Ok(());
    };
    let heads: HashSet<String> = branches.into_iter().map(|it| it.head).collect();
    let seen = list(&place, &base, &heads).await?;
    let mut walks = JoinSet::new();
    for head in heads.into_iter().filter(|it| !seen.contains(it)) {
        walks.spawn(ahead(Arc::clone(&place), base.clone(), head));
    }
    while let Some(done) = walks.join_next().await {
        done??;
    }
    Ok(())
}

async fn branches(place: &Arc<Place>) -> Result<Vec<Branch>> {
    let mut all = Vec::new();
    let mut url = format!("{}/repositories/{}/branches?per_page=100", place.base, place.repository);
    let mut last = None;
    for number in 2_u64.. {
        let answer = place.client.ask(&url).await?;
        if answer.status == 409 {
            break; // GitHub's answer for an empty repository.
        }
        last = last.or_else(|| answer.last.clone());
        let (rows, branches) = parse::branches(&answer.body)?;
        all.extend(branches);
        place.hand_over(answer, Rows::Branches(rows)).await?;
        match numbered(last.as_deref(), number) {
            Some(next) => url = next,
            None => break,
        }
    }
    Ok(all)
}

/// Reads every page of the list that begins at `head` and returns which of `heads` are in it.
async fn list(place: &Arc<Place>, head: &str, heads: &HashSet<String>) -> Result<HashSet<String>> {
    let url = format!("{}/repositories/{}/commits?per_page=100&sha={head}", place.base, place.repository);
    let answer = place.client.get(&url).await?;
    let last = answer.last.clone();
    let heads = Arc::new(heads.clone());
    let mut seen = commits(place, answer, &heads).await?;
    let mut walks = JoinSet::new();
    for url in (2..).map_while(|number| numbered(last.as_deref(), number)) {
        let (place, heads) = (Arc::clone(place), Arc::clone(&heads));
        walks.spawn(async move {
            let answer = place.client.get(&url).await?;
            commits(&place, answer, &heads).await
        });
    }
    while let Some(done) = walks.join_next().await {
        seen.extend(done??);
    }
    Ok(seen)
}

/// Reads the commits of `head` that `base` lacks.
async fn ahead(place: Arc<Place>, base: String, head: String) -> Result<()> {
    let compare = format!("{}/repositories/{}/compare/{base}...{head}", place.base, place.repository);
    let mut url = format!("{compare}?per_page=100&page=1");
    let mut last = None;
    for number in 2_u64.. {
        let answer = place.client.ask(&url).await?;
        if answer.status == 404 {
            drop(answer);
            // The two share no commit, so nothing of the branch is known.
            return list(&place, &head, &HashSet::new()).await.map(drop);
        }
        last = last.or_else(|| answer.last.clone());
        compared(&place, answer).await?;
        match numbered(last.as_deref(), number) {
            Some(next) => url = next,
            None => break,
        }
    }
    Ok(())
}

async fn commits(place: &Place, answer: Answer<'_>, heads: &HashSet<String>) -> Result<HashSet<String>> {
    let text = std::str::from_utf8(&answer.body).context("commits: not UTF-8")?;
    let rows = parse::commits(text, text)?;
    let shas = rows.iter().map(|it| it.sha.get(text));
    let seen = shas.flatten().filter(|it| heads.contains(*it)).map(str::to_owned).collect();
    place.hand_over(answer, Rows::Commits(rows)).await?;
    Ok(seen)
}

async fn compared(place: &Place, answer: Answer<'_>) -> Result<()> {
    #[derive(Deserialize)]
    struct Comparison<'a> {
        #[serde(borrow)]
        commits: &'a RawValue,
    }
    let text = std::str::from_utf8(&answer.body).context("comparison: not UTF-8")?;
    let comparison: Comparison<'_> = serde_json::from_str(text).context("comparison")?;
    let rows = parse::commits(text, comparison.commits.get())?;
    place.hand_over(answer, Rows::Commits(rows)).await
}

impl Place {
    /// Gives a page to the writer; the answer counts as under way until there is room for it.
    async fn hand_over(&self, answer: Answer<'_>, rows: Rows) -> Result<()> {
        let (body, observed_at) = (answer.body.clone(), answer.sent_at.clone());
        let page = Page { repository: self.repository, body, observed_at, rows };
        self.pages.send(page).await.map_err(|_| anyhow::anyhow!("the writer is gone"))
    }
}

/// Returns the address of page `number`, unless it lies behind the last one.
fn numbered(last: Option<&str>, number: u64) -> Option<String> {
    let last = last?;
    let from = last.find("?page=").or_else(|| last.find("&page="))? + "?page=".len();
    let (before, rest) = last.split_at_checked(from)?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (count, after) = rest.split_at_checked(digits)?;
    (number <= count.parse().ok()?).then(|| format!("{before}{number}{after}"))
}
