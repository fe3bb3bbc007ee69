//! `source check`: asks the provider for the first page of everything that the settings name, and lands nothing.

use std::collections::HashMap;

use domain::job::Lane;
use domain::policy;

use super::{Checked, Finding, SyncService, connector, refused};
use crate::account::Account;
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
        let token = self.store.secret(row.id, &self.vault).await?;
        let gate = self.gate(row.id, connector.spec(), &row.settings.base_url).await?;
        let http = self.pool.http.clone();
        let account = Account::new(connector, &row.settings, token, gate, http, self.clock.clone())
            .map_err(|fault| Error::Internal(fault.to_string()))?;
        let reins = Reins::default();
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
                // A person waits for the answer: no attempt after this one.
                attempt: policy::ATTEMPTS_MAX,
            };
            let finding = match fetcher.fetch(&Place::default(), &HashMap::new()).await {
                Ok(first) => Finding::Readable {
                    records: first.page.records.len(),
                    found: first.page.partitions.iter().map(title).collect(),
                },
                Err(missed) => match missed.why {
                    Why::Fault { fault, .. } => refused(&fault),
                    Why::Changed | Why::Stopped => {
                        return Err(Error::Internal("the check was stopped".to_owned()));
                    }
                },
            };
            checked.push(Checked { partition: root.key, finding });
        }
        self.store.save_budgets(row.id, self.gate_budgets(row.id)).await?;
        Ok(checked)
    }
}

fn title(partition: &domain::page::Partition) -> String {
    let title = ["title", "full_name"].iter().find_map(|it| partition.args[it].as_str());
    title.unwrap_or(&partition.key).to_owned()
}
