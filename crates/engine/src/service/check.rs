//! `source check`: asks the provider for the first page of everything that the settings name, and lands nothing.

use std::collections::HashMap;

use domain::job::Lane;
use domain::policy;
use domain::policy::ledger::Class;

use super::entry::{Entrant, Entry};
use super::{Checked, Finding, SyncService, connector, refused};
use crate::error::Error;
use crate::fetch::{Fetcher, Place, Why};
use crate::pool::Reins;

impl SyncService {
    /// Checks that a source's settings and credential can read what they name.
    ///
    /// # Errors
    /// When the source is unknown or its credential cannot be opened; a provider's refusal is a finding.
    pub async fn check_source(&self, name: &str) -> Result<Vec<Checked>, Error> {
        let row = self.source(name).await?;
        let connector = connector(&row.provider)?;
        let reins = Reins::default();
        let who = Entrant {
            source: row.id,
            connector,
            settings: &row.settings,
            class: Class::Human,
            // A person waits for the answer: no attempt after this one.
            attempt: policy::ATTEMPTS_MAX,
            reins: &reins,
        };
        let Entry { account, gate, .. } = match self.enter(&who).await? {
            Ok(entry) => entry,
            Err(ended) => {
                let (code, detail) = ended.fault.ok_or_else(stopped)?;
                let roots = connector.roots(&row.settings)?.into_iter();
                let refused = || Finding::Refused { code: code.clone(), detail: detail.clone() };
                return Ok(roots.map(|it| Checked { partition: it.key, finding: refused() }).collect());
            }
        };
        let mut checked = Vec::new();
        for root in connector.roots(&row.settings)? {
            let fetcher = Fetcher {
                connector,
                account: &account,
                clock: &self.clock,
                bodies: &self.pool.bodies,
                stop: &reins.stop,
                silent: &reins.silent,
                waiting: &reins.waiting,
                settings: &row.settings,
                learned: serde_json::Value::Null,
                stream: root.stream,
                partition: &root.key,
                args: &root.args,
                lane: Lane::Forward,
                conditional: false,
                listing: false,
                attempt: who.attempt,
            };
            let finding = match fetcher.fetch(&Place::default(), &HashMap::new()).await {
                Ok(first) => Finding::Readable {
                    records: first.page.records.len(),
                    found: first.page.partitions.iter().map(title).collect(),
                },
                Err(missed) => match missed.why {
                    Why::Fault { fault, .. } => refused(&fault),
                    Why::Changed | Why::Stopped => return Err(stopped()),
                },
            };
            checked.push(Checked { partition: root.key, finding });
        }
        self.tell(&gate, true).await?;
        Ok(checked)
    }
}

fn stopped() -> Error {
    Error::Internal("the check was stopped".to_owned())
}

fn title(partition: &domain::page::Partition) -> String {
    let title = ["title", "full_name"].iter().find_map(|it| partition.args[it].as_str());
    title.unwrap_or(&partition.key).to_owned()
}
