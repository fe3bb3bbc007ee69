//! Small things as Jira shows them: people, projects, sprints, boards.
//! Must never show a login name where Cloud shows an account id.

use serde_json::{Value, json};

use super::time::utc;
use super::{Deployment, Desk};
use crate::hash::Digest;
use crate::world::site::{Board, BoardKind, ME, PEOPLE, Project, Sprint, SprintState};

/// The sites' own addresses, which bodies name wherever the simulator listens: a page is then the same everywhere.
const CLOUD_SITE: &str = "https://acme.atlassian.example";
const DATA_CENTER_SITE: &str = "https://jira.acme.example";

impl Desk<'_> {
    /// Returns the site's own address.
    pub(super) fn site(&self) -> &'static str {
        match self.ask.deployment {
            Deployment::Cloud => CLOUD_SITE,
            Deployment::DataCenter => DATA_CENTER_SITE,
        }
    }

    /// Writes the address of something in the platform's API.
    pub(super) fn link(&self, path: &str) -> String {
        format!("{}/rest/api/{}/{path}", self.site(), self.version)
    }

    /// Writes the address of something on a board.
    fn agile_link(&self, path: &str) -> String {
        format!("{}/rest/agile/1.0/{path}", self.site())
    }

    /// Shows a person.
    pub(super) fn show_person(&self, at: usize) -> Value {
        let person = &PEOPLE[at];
        let picture = format!("{}/secure/useravatar?ownerId={}", self.site(), 10_100 + at);
        let pictures = json!({
            "48x48": picture,
            "24x24": format!("{picture}&size=small"),
            "16x16": format!("{picture}&size=xsmall"),
            "32x32": format!("{picture}&size=medium"),
        });
        if self.is_cloud() {
            let id = person.account_id();
            // Most people hide their address on Cloud.
            let mut shown = json!({
                "self": self.link(&format!("user?accountId={}", id.replace(':', "%3A"))),
                "accountId": id,
                "avatarUrls": pictures,
                "displayName": person.display,
                "active": person.active,
                "timeZone": self.person_zone(at),
                "accountType": if at == ME { "app" } else { "atlassian" },
            });
            if at % 3 == 1 {
                shown["emailAddress"] = json!(format!("{}@acme.example", person.name));
            }
            return shown;
        }
        json!({
            "self": self.link(&format!("user?username={}", person.name)),
            "name": person.name,
            "key": format!("JIRAUSER{}", 10_100 + at),
            "emailAddress": format!("{}@acme.example", person.name),
            "avatarUrls": pictures,
            "displayName": person.display,
            "active": person.active,
            "timeZone": self.person_zone(at),
        })
    }

    /// Returns the zone of a profile; that of whoever asks can be set.
    pub(super) fn person_zone(&self, at: usize) -> String {
        if at == ME { self.state.zone.clone() } else { PEOPLE[at].zone.to_owned() }
    }

    /// Shows a project as issues name it.
    pub(super) fn show_project(&self, project: &Project) -> Value {
        let mut shown = json!({
            "self": self.link(&format!("project/{}", project.id)),
            "id": project.id.to_string(),
            "key": project.key,
            "name": project.name,
            "projectTypeKey": "software",
            "avatarUrls": { "48x48": format!("{}/secure/projectavatar?pid={}", self.site(), project.id) },
        });
        if self.is_cloud() {
            shown["simplified"] = json!(false);
            shown["style"] = json!("classic");
            shown["isPrivate"] = json!(false);
        }
        shown
    }

    /// Shows a board.
    pub(super) fn show_board(&self, board: &Board) -> Value {
        let mut shown = json!({
            "id": board.id,
            "self": self.agile_link(&format!("board/{}", board.id)),
            "name": board.name,
            "type": match board.kind { BoardKind::Scrum => "scrum", BoardKind::Kanban => "kanban" },
        });
        // A board over several projects belongs to a person, not to one of them.
        if let ([at], true) = (board.projects.as_slice(), self.is_cloud()) {
            let project = &self.state.projects[*at];
            shown["location"] = json!({
                "projectId": project.id,
                "displayName": format!("{} ({})", project.name, project.key),
                "projectName": project.name,
                "projectKey": project.key,
                "projectTypeKey": "software",
                "avatarURI": format!("{}/secure/projectavatar?pid={}&size=small", self.site(), project.id),
                "name": format!("{} ({})", project.name, project.key),
            });
            shown["isPrivate"] = json!(false);
        }
        shown
    }

    fn sprint_moment(&self, at_ms: i64) -> String {
        if self.is_cloud() { utc(at_ms) } else { self.zone.stamp_with_colon(at_ms) }
    }

    /// Shows a sprint as the boards' API does; what a future sprint lacks is absent, not null.
    pub(super) fn show_sprint(&self, sprint: &Sprint) -> Value {
        let mut shown = json!({
            "id": sprint.id,
            "self": self.agile_link(&format!("sprint/{}", sprint.id)),
            "state": state_word(sprint.state),
            "name": sprint.name,
            "originBoardId": sprint.board,
        });
        let dates = [
            ("startDate", sprint.start_ms),
            ("endDate", sprint.end_ms),
            ("completeDate", sprint.complete_ms),
        ];
        for (name, at_ms) in dates {
            if let Some(at_ms) = at_ms {
                shown[name] = json!(self.sprint_moment(at_ms));
            }
        }
        if let Some(goal) = &sprint.goal {
            shown["goal"] = json!(goal);
        }
        if self.is_cloud() {
            shown["createdDate"] = json!(utc(sprint.created_ms));
        } else {
            shown["synced"] = json!(false);
            shown["autoStartStop"] = json!(false);
        }
        shown
    }

    /// Shows a sprint as an issue's custom field does: an object on Cloud, a printed Java object on Data Center.
    pub(super) fn show_sprint_value(&self, sprint: &Sprint) -> Value {
        if self.is_cloud() {
            let mut shown = json!({
                "id": sprint.id,
                "name": sprint.name,
                "state": state_word(sprint.state),
                "boardId": sprint.board,
                "goal": sprint.goal.clone().unwrap_or_default(),
            });
            let dates = [
                ("startDate", sprint.start_ms),
                ("endDate", sprint.end_ms),
                ("completeDate", sprint.complete_ms),
            ];
            for (name, at_ms) in dates {
                if let Some(at_ms) = at_ms {
                    shown[name] = json!(utc(at_ms));
                }
            }
            return shown;
        }
        let moment = |at_ms: Option<i64>| at_ms.map_or("<null>".to_owned(), |it| self.sprint_moment(it));
        let hash = Digest::new(32).word(sprint.id).short() & 0xffff_ffff;
        json!(format!(
            "com.atlassian.greenhopper.service.sprint.Sprint@{hash:x}[id={},rapidViewId={},state={},name={},startDate={},\
             endDate={},completeDate={},activatedDate={},sequence={},goal={},autoStartStop=false]",
            sprint.id,
            sprint.board,
            state_word(sprint.state).to_uppercase(),
            sprint.name,
            moment(sprint.start_ms),
            moment(sprint.end_ms),
            moment(sprint.complete_ms),
            moment(sprint.start_ms),
            sprint.id,
            sprint.goal.as_deref().unwrap_or_default(),
        ))
    }
}

/// Returns Jira's word for where a sprint stands.
pub(super) fn state_word(state: SprintState) -> &'static str {
    match state {
        SprintState::Future => "future",
        SprintState::Active => "active",
        SprintState::Closed => "closed",
    }
}
