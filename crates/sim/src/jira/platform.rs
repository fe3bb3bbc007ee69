//! Who the server is, who asks, and the projects.
//! Must never ask for a credential where Jira does not.

use serde_json::{Value, json};

use super::answer::Answer;
use super::jql::SPRINT_FIELD;
use super::listing::page;
use super::parameter::Span;
use super::{Deployment, Desk};
use crate::world::site::{Access, ME, Project};

/// What Jira says where a credential is needed and there is no good one.
const LOG_IN: &str = "Client must be authenticated to access this resource.";
/// Projects come fifty a page, and no more.
const PROJECTS_MAX: usize = 50;

impl Desk<'_> {
    /// Tells which kind of Jira this is; everybody may know.
    pub(super) fn server_info(&self) -> Answer {
        let (version, numbers, build) = match self.ask.deployment {
            Deployment::Cloud => ("1001.0.0-SNAPSHOT", json!([1001, 0, 0]), 100_291),
            Deployment::DataCenter => ("9.12.15", json!([9, 12, 15]), 9_120_015),
        };
        let mut shown = json!({
            "baseUrl": self.site(),
            "version": version,
            "versionNumbers": numbers,
            "deploymentType": if self.is_cloud() { "Cloud" } else { "Server" },
            "buildNumber": build,
            "buildDate": self.zone.stamp(1_730_246_400_000),
            "serverTime": self.zone.stamp(self.now_ms),
            "scmInfo": "0f1d2c3b4a59687766554433221100ffeeddccbb",
            "serverTitle": "Acme Jira",
        });
        if self.is_cloud() {
            shown["displayUrl"] = json!(self.site());
            shown["defaultLocale"] = json!({ "locale": "en_US" });
            shown["serverTimeZone"] = json!("Etc/UTC");
        }
        Answer { objects: 0, ..Answer::value(&shown) }
    }

    /// Tells who asks.
    pub(super) fn myself(&self) -> Result<Answer, Answer> {
        if !self.known() {
            return Err(Answer::message(401, LOG_IN));
        }
        let mut shown = self.show_person(ME);
        shown["locale"] = json!("en_US");
        shown["groups"] = json!({ "size": 3, "items": [] });
        shown["applicationRoles"] = json!({ "size": 1, "items": [] });
        shown["expand"] = json!("groups,applicationRoles");
        if self.is_cloud() {
            shown["emailAddress"] = json!("sync.bot@acme.example");
            shown["accountType"] = json!("atlassian");
            shown["accountId"] = json!(format!("712020:{:012}", self.ask.person));
        } else {
            shown["deleted"] = json!(false);
            shown["key"] = json!(format!("JIRAUSER{}", self.ask.person));
        }
        // A person counts twice in the points quota.
        Ok(Answer::objects(&shown, 2))
    }

    /// Lists the fields of issues.
    pub(super) fn field_list() -> Answer {
        let system = [
            "summary", "status", "assignee", "reporter", "created", "updated", "parent", "labels", "duedate",
        ];
        let mut listed: Vec<Value> = system
            .iter()
            .map(|id| {
                json!({
                    "id": id, "key": id, "name": id, "custom": false, "orderable": true, "navigable": true,
                    "searchable": true, "clauseNames": [id], "schema": { "type": "string", "system": id },
                })
            })
            .collect();
        for (number, name, kind) in [
            (SPRINT_FIELD, "Sprint", "com.pyxis.greenhopper.jira:gh-sprint"),
            (10_016, "Story Points", "com.atlassian.jira.plugin.system.customfieldtypes:float"),
        ] {
            let id = format!("customfield_{number}");
            listed.push(json!({
                "id": id, "key": id, "name": name, "custom": true, "orderable": true, "navigable": true,
                "searchable": true, "clauseNames": [format!("cf[{number}]"), name],
                "schema": { "type": "array", "custom": kind, "customId": number },
            }));
        }
        Answer::value(&Value::Array(listed))
    }

    fn shown_projects(&self) -> Vec<&Project> {
        let shown = |it: &&Project| self.known() && it.access == Access::Ok;
        self.state.projects.iter().filter(shown).collect()
    }

    /// Lists the projects, all at once.
    pub(super) fn projects(&self) -> Answer {
        let shown: Vec<Value> = self.shown_projects().iter().map(|it| self.show_project(it)).collect();
        let count = shown.len();
        Answer::objects(&Value::Array(shown), count)
    }

    /// Lists the projects by pages.
    pub(super) fn project_search(&self) -> Result<Answer, Answer> {
        let span = Span::read(self.query(), PROJECTS_MAX, PROJECTS_MAX)?;
        let shown = self.shown_projects();
        let values: Vec<Value> = span.of(&shown).iter().map(|it| self.show_project(it)).collect();
        Ok(page(span, shown.len(), true, values))
    }

    /// Shows one project, by key or number.
    pub(super) fn project(&self, named: &str) -> Result<Answer, Answer> {
        let wanted = |it: &&&Project| it.key == named || it.id.to_string() == named;
        let shown = self.shown_projects();
        let refuse = || Answer::refusal(404, &format!("No project could be found with key '{named}'."));
        shown.iter().find(wanted).map(|it| Answer::value(&self.show_project(it))).ok_or_else(refuse)
    }

    /// Shows the filter behind a board; it has the board's number.
    pub(super) fn filter(&self, id: u64) -> Result<Answer, Answer> {
        let board = self.board(id).map_err(|_| {
            Answer::refusal(404, "The selected filter is not available to you, perhaps it has been deleted or had its permissions changed.")
        })?;
        Ok(Answer::value(&json!({
            "self": self.link(&format!("filter/{id}")),
            "id": id.to_string(),
            "name": format!("Filter for {}", board.name),
            "jql": self.board_jql(board),
            "owner": self.show_person(1),
        })))
    }
}
