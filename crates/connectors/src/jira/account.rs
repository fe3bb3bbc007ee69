//! Who answers and who asks: which of the two kinds of Jira this is, and the time zone that its queries are read in.
//!
//! Asked at the beginning of every listing of boards, because an expired credential may be answered with empty lists
//! instead of a refusal. What is learned here is never guessed.

use domain::fault::Fault;
use domain::page::{Read, Request, Response};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::{limits, time};
use crate::kit::{Object, malformed};

/// How many answers [`probes`] asks for.
pub(super) const PROBES: usize = 2;

/// Which API a site speaks.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Dialect {
    /// Version 3, searched by tokens.
    Cloud,
    /// Version 2, searched by offsets.
    DataCenter,
}

impl Dialect {
    /// Returns the root of its platform API below the base URL.
    pub(super) fn api(self) -> &'static str {
        match self {
            Self::Cloud => "rest/api/3",
            Self::DataCenter => "rest/api/2",
        }
    }
}

/// What is learned of a source's account.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct Account {
    pub(super) dialect: Dialect,
    /// The zone of the account's profile, by name.
    pub(super) time_zone: Option<String>,
    /// The address that people see the site under.
    pub(super) site: Option<String>,
}

impl Account {
    /// Finds the zone; none where its name is unknown.
    pub(super) fn zone(&self) -> Option<TimeZone> {
        self.time_zone.as_deref().and_then(time::zone)
    }

    /// Returns what is stored of it.
    pub(super) fn learned(&self) -> Option<Box<serde_json::Value>> {
        serde_json::to_value(self).ok().map(Box::new)
    }

    fn of(server: &Response, myself: &Response) -> Result<Self, Fault> {
        believe(myself)?;
        limits::check(server)?;
        let server = Object::of(&server.body, "server info")?;
        let dialect = match server.text("deploymentType").as_deref() {
            Some("Cloud") => Dialect::Cloud,
            Some("Server" | "DataCenter") => Dialect::DataCenter,
            _ => return Err(malformed("server info: no kind of Jira that is known")),
        };
        let time_zone = Object::of(&myself.body, "myself")?.text("timeZone");
        Ok(Self { dialect, time_zone, site: server.text("baseUrl") })
    }
}

/// What a step knows of the account, and the answers that are left for the step itself.
pub(super) enum Known<'a> {
    /// These have to be asked first.
    Ask(Vec<Request>),
    /// It is known; `learned` where these answers told it.
    Known { account: Account, learned: bool, rest: &'a [Response] },
}

/// Asks who answers and who asks, both from the version that each kind of Jira has.
pub(super) fn probes(read: &Read<'_>) -> Vec<Request> {
    let base = &read.source.base_url;
    vec![
        limits::request(format!("{base}/rest/api/2/serverInfo"), limits::OTHER),
        limits::request(format!("{base}/rest/api/2/myself"), limits::OTHER),
    ]
}

/// Reads the answers to [`probes`].
pub(super) fn probed(got: &[Response]) -> Result<(Account, &[Response]), Fault> {
    match got {
        [server, myself, rest @ ..] => Ok((Account::of(server, myself)?, rest)),
        _ => Err(malformed("an answer is missing")),
    }
}

/// Takes what was learned before, else asks.
pub(super) fn known<'a>(read: &Read<'_>, got: &'a [Response]) -> Result<Known<'a>, Fault> {
    if let Ok(account) = Account::deserialize(read.learned) {
        return Ok(Known::Known { account, learned: false, rest: got });
    }
    if got.len() < PROBES {
        return Ok(Known::Ask(probes(read)));
    }
    let (account, rest) = probed(got)?;
    Ok(Known::Known { account, learned: true, rest })
}

/// Asks only whether the credential is still good: what an empty list is checked with before it is believed.
pub(super) fn proof(read: &Read<'_>) -> Request {
    limits::request(format!("{}/rest/api/2/myself", read.source.base_url), limits::OTHER)
}

/// Passes an answer that names who asks. A refusal of this one request concerns all: it needs no permission.
pub(super) fn believe(myself: &Response) -> Result<(), Fault> {
    match limits::check(myself) {
        Err(Fault::Denied) => Err(Fault::Unauthorized),
        other => other,
    }
}
