//! Searches: by offset over an order that moves, as Data Center does, and by tokens over an index that lags, as Cloud does.
//! Must never end a walk by tokens early: a page without a token, and only that, is the last.

use serde::Deserialize;
use serde_json::{Value, json};

use super::Desk;
use super::answer::Answer;
use super::fields::Selection;
use super::jql::Jql;
use super::parameter::{Span, body};
use super::token::Token;
use crate::hash::Digest;
use crate::world::site::{Facts, Issue};

/// What searches give by themselves.
const PAGE: usize = 50;
/// Data Center gives so many at most, as instances come.
const OFFSET_PAGE_MAX: usize = 1_000;
/// Cloud gives so many at most where only numbers and keys are asked for, and silently fewer with fields.
const TOKEN_PAGE_MAX: usize = 5_000;
const TOKEN_PAGE_FIELDS_MAX: usize = 100;
/// Issues that search is told to look at themselves, because it may lag behind on them.
const RECONCILE_MAX: usize = 50;
/// One page in so many is shorter than it could be, and one odd page in so many is empty, though more follow.
const SHORT_EVERY: u64 = 6;
const EMPTY_EVERY: u64 = 5;
const MOVED: &str = "The requested API has been removed. Please migrate to the /rest/api/3/search/jql API. A full \
                     migration guideline is available at https://developer.atlassian.com/changelog/#CHANGE-2046";
const UNBOUNDED: &str =
    "Unbounded JQL queries are not allowed here. Please add a search restriction to your query.";

/// What a walk by tokens asks for.
pub(super) struct TokenRequest {
    /// The query's text, which its tokens are bound to.
    jql: String,
    token: Option<String>,
    max: Option<usize>,
    selection: Selection,
    reconcile: Vec<u64>,
}

/// The body of a search by tokens; anything else in it is refused.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TokenBody {
    #[serde(default)]
    jql: String,
    next_page_token: Option<String>,
    max_results: Option<i64>,
    fields: Option<Vec<String>>,
    expand: Option<String>,
    #[serde(default)]
    reconcile_issues: Vec<u64>,
    #[serde(default, rename = "properties")]
    _properties: Vec<String>,
    #[serde(default, rename = "fieldsByKeys")]
    _by_keys: bool,
}

/// The body of a search by offset.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OffsetBody {
    #[serde(default)]
    jql: String,
    start_at: Option<usize>,
    max_results: Option<usize>,
    fields: Option<Vec<String>>,
    #[serde(default)]
    expand: Vec<String>,
    #[serde(default, rename = "validateQuery")]
    _validate: Value,
}

fn parts(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned).collect()
}

impl Desk<'_> {
    fn read_jql(&self, text: &str) -> Result<Jql, Answer> {
        self.asker().read(text).map_err(|why| Answer::refusal(400, &why))
    }

    /// Searches by offset.
    pub(super) fn search(&self) -> Result<Answer, Answer> {
        if self.is_cloud() {
            return Err(Answer::refusal(410, MOVED));
        }
        let (text, span, selection) = if self.ask.post {
            let it: OffsetBody = body(self.ask.body)?;
            let span = Span::new(it.start_at, it.max_results, PAGE, OFFSET_PAGE_MAX);
            (it.jql, span, Selection::new(it.fields, "*navigable", &it.expand))
        } else {
            let query = self.query();
            let span = Span::read(query, PAGE, OFFSET_PAGE_MAX)?;
            (query.get("jql").unwrap_or_default(), span, Selection::navigable(query))
        };
        let jql = self.read_jql(&text)?;
        let mut found: Vec<(Vec<i64>, &Issue)> = self
            .state
            .issues
            .values()
            .filter(|it| self.shows(it) && jql.matches(it.id, &it.facts))
            .map(|it| (jql.sort_key(it.id, &it.facts), it))
            .collect();
        found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let shown: Vec<Value> =
            span.of(&found).iter().map(|(_, it)| self.show_issue(it, &selection)).collect();
        let objects = shown.len();
        let value = json!({
            "expand": "schema,names",
            "startAt": span.start,
            "maxResults": span.max,
            "total": found.len(),
            "issues": shown,
        });
        Ok(Answer::objects(&value, objects))
    }

    /// Reads what a walk by tokens asks for from the query.
    pub(super) fn token_request(&self) -> Result<TokenRequest, Answer> {
        let query = self.query();
        let max = query.get("maxResults").map(|it| it.parse::<i64>());
        let max =
            max.transpose().map_err(|_| Answer::refusal(400, "The value of maxResults is not a number."))?;
        let expand = query.list("expand").unwrap_or_default();
        let reconcile = query.list("reconcileIssues").unwrap_or_default();
        let numbers: Option<Vec<u64>> = reconcile.iter().map(|it| it.parse().ok()).collect();
        Ok(TokenRequest {
            jql: query.get("jql").unwrap_or_default(),
            token: query.get("nextPageToken"),
            max: page_size(max)?,
            selection: Selection::new(query.list("fields"), "id", &expand),
            reconcile: numbers.ok_or_else(|| {
                Answer::refusal(400, "reconcileIssues holds something that is no issue id.")
            })?,
        })
    }

    fn token_body(&self) -> Result<TokenRequest, Answer> {
        let it: TokenBody = body(self.ask.body)?;
        Ok(TokenRequest {
            jql: it.jql,
            token: it.next_page_token.filter(|it| !it.is_empty()),
            max: page_size(it.max_results)?,
            selection: Selection::new(it.fields, "id", &parts(&it.expand.unwrap_or_default())),
            reconcile: it.reconcile_issues,
        })
    }

    /// Searches by tokens.
    pub(super) fn search_jql(&self) -> Result<Answer, Answer> {
        let request = if self.ask.post { self.token_body()? } else { self.token_request()? };
        let jql = self.read_jql(&request.jql)?;
        if jql.filter.is_none() {
            return Err(Answer::refusal(400, UNBOUNDED));
        }
        self.tokens(&jql, &|_, _| true, request)
    }

    /// Gives one page of a walk by tokens.
    pub(super) fn tokens(
        &self,
        jql: &Jql,
        held: &dyn Fn(u64, &Facts) -> bool,
        request: TokenRequest,
    ) -> Result<Answer, Answer> {
        let TokenRequest { jql: text, token, max, selection, reconcile } = request;
        if reconcile.len() > RECONCILE_MAX {
            return Err(Answer::refusal(400, "The number of reconcileIssues must not be more than 50."));
        }
        // Below a board or a sprint the same text means something else.
        let binding = format!("{}|{text}", self.ask.path);
        let token = token.map(|it| Token::read(&it, &binding, self.now_ms)).transpose()?;
        let most = if selection.is_small() { TOKEN_PAGE_MAX } else { TOKEN_PAGE_FIELDS_MAX };
        let max = max.unwrap_or(PAGE).min(most);
        let mut found: Vec<(Vec<i64>, &Issue)> = Vec::new();
        for issue in self.state.issues.values().filter(|it| self.shows(it)) {
            let reconciled = reconcile.contains(&issue.id);
            let seen = if reconciled { Some(&issue.facts) } else { issue.indexed(self.now_ms) };
            let Some(facts) = seen.filter(|it| held(issue.id, it) && jql.matches(issue.id, it)) else {
                continue;
            };
            let key = jql.sort_key(issue.id, facts);
            if token.as_ref().is_none_or(|it| key > it.key) {
                found.push((key, issue));
            }
        }
        found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let page = token.as_ref().map_or(0, |it| it.page);
        let given = page_length(&binding, page, max).min(found.len());
        let shown: Vec<Value> =
            found[..given].iter().map(|(_, it)| self.show_issue(it, &selection)).collect();
        let mut value = json!({ "issues": shown, "isLast": given == found.len() });
        if given < found.len() {
            let last = given.checked_sub(1).map(|at| found[at].0.clone());
            // An empty page stands where the one before it ended; before the first one, everything follows.
            let key = last.or(token.map(|it| it.key)).unwrap_or_else(|| vec![i64::MIN]);
            value["nextPageToken"] = json!(Token::new(key, page + 1, self.now_ms).write(&binding));
        }
        Ok(Answer::objects(&value, given))
    }

    /// Counts what a query finds, without promising to be right.
    pub(super) fn approximate_count(&self) -> Result<Answer, Answer> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Body {
            jql: String,
        }
        let asked: Body = body(self.ask.body)?;
        let jql = self.read_jql(&asked.jql)?;
        if jql.filter.is_none() {
            return Err(Answer::refusal(400, UNBOUNDED));
        }
        let found = self
            .state
            .issues
            .values()
            .filter(|it| self.shows(it))
            .filter(|it| it.indexed(self.now_ms).is_some_and(|facts| jql.matches(it.id, facts)));
        Ok(Answer { objects: 0, ..Answer::value(&json!({ "count": found.count() })) })
    }
}

/// Checks how many are asked for.
fn page_size(max: Option<i64>) -> Result<Option<usize>, Answer> {
    let Some(max) = max else { return Ok(None) };
    let size = usize::try_from(max).ok().filter(|it| (1..=TOKEN_PAGE_MAX).contains(it));
    size.map(Some).ok_or_else(|| Answer::refusal(400, "The value of maxResults must be between 1 and 5000."))
}

/// Decides how long a page is, though more may follow: the same for the same query and page.
fn page_length(binding: &str, page: u64, max: usize) -> usize {
    let random = Digest::new(34).bytes(binding.as_bytes()).word(page).short();
    // The first page is never empty, and no two in a row are.
    if page % 2 == 1 && random.is_multiple_of(EMPTY_EVERY) {
        0
    } else if (random >> 8).is_multiple_of(SHORT_EVERY) {
        max.div_ceil(2)
    } else {
        max
    }
}
