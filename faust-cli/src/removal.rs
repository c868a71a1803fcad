//! Removal of local state, groups and topics: lists them, asks for confirmation, and removes them in an order that is
//! safe to interrupt at any point.

use std::collections::BTreeMap;
use std::time::Duration;

use faust_core::local::LocalState;
use serde::Serialize;

use crate::client::Client;
use crate::consent::Consent;
use crate::failure::Failure;
use crate::output::Output;

/// The items to remove, each with the version of the app that it belongs to.
#[derive(Debug, Default)]
pub(crate) struct Removal {
    pub(crate) groups: Vec<(u32, String)>,
    pub(crate) state: Vec<LocalState>,
    pub(crate) topics: Vec<(u32, String)>,
}

#[derive(Serialize)]
struct RemovalRow {
    what: &'static str,
    name: String,
    version: u32,
    bytes: Option<u64>,
    records: Option<u64>,
}

impl Removal {
    /// Lists the items, asks for confirmation, and removes them. Groups and topics need a client.
    ///
    /// # Errors
    /// The user has declined, or an item cannot be removed.
    pub(crate) async fn carry_out(
        self,
        consent: &Consent,
        mut client: Option<Client>,
        out: &mut Output,
    ) -> Result<(), Failure> {
        let records = match &mut client {
            Some(client) => self.records(client).await?,
            None => BTreeMap::new(),
        };
        let rows = self.rows(&records);
        if rows.is_empty() && !out.json {
            out.note("there is nothing to remove");
            return Ok(());
        }
        out.list(
            "To be removed",
            &rows,
            &[
                ("what", |row| row.what.to_owned()),
                ("name", |row| row.name.clone()),
                ("version", |row| row.version.to_string()),
                ("size", |row| row.bytes.map_or(String::new(), megabytes)),
                ("records", |row| row.records.map_or(String::new(), |records| records.to_string())),
            ],
        )?;
        if rows.is_empty() {
            return Ok(());
        }
        consent.ask(out, "Remove all of this?", "nothing was removed")?;
        // IMPORTANT: groups are deleted first. The broker rejects the deletion of a group with members. If the removal
        // is interrupted after this step, a worker finds state or changelogs without their commits: it refuses to use
        // them, and its error names `reset --topics`.
        if let Some(client) = &mut client {
            for (_, group) in &self.groups {
                let admin = client.transport.admin()?;
                client.retry(|| admin.delete_group(group)).await?;
            }
        }
        for state in &self.state {
            state.remove()?;
        }
        if let Some(client) = &mut client {
            self.remove_topics(client).await?;
        }
        out.note(format!("removed {}", self.summary()));
        Ok(())
    }

    /// Returns the number of records in each topic.
    async fn records(&self, client: &mut Client) -> Result<BTreeMap<String, u64>, Failure> {
        let admin = client.transport.admin()?;
        let names: Vec<String> = self.topics.iter().map(|(_, topic)| topic.clone()).collect();
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        let topics = client.retry(|| admin.topics(Some(names.clone()))).await?;
        client.messages(&topics).await
    }

    fn rows(&self, records: &BTreeMap<String, u64>) -> Vec<RemovalRow> {
        let group = |(version, name): &(u32, String)| RemovalRow {
            what: "group",
            name: name.clone(),
            version: *version,
            bytes: None,
            records: None,
        };
        let state = |state: &LocalState| RemovalRow {
            what: "state",
            name: state.path().display().to_string(),
            version: state.version(),
            bytes: Some(state.size_bytes()),
            records: None,
        };
        let topic = |(version, name): &(u32, String)| RemovalRow {
            what: "topic",
            name: name.clone(),
            version: *version,
            bytes: None,
            records: records.get(name).copied(),
        };
        let (groups, states) = (self.groups.iter().map(group), self.state.iter().map(state));
        groups.chain(states).chain(self.topics.iter().map(topic)).collect()
    }

    /// Deletes the topics and waits until they no longer exist. A broker acknowledges a deletion before it completes,
    /// and a worker that starts in between must not find a topic that is still being deleted.
    async fn remove_topics(&self, client: &mut Client) -> Result<(), Failure> {
        let names: Vec<String> = self.topics.iter().map(|(_, topic)| topic.clone()).collect();
        if names.is_empty() {
            return Ok(());
        }
        let admin = client.transport.admin()?;
        client.retry(|| admin.delete(names.clone())).await?;
        while !client.retry(|| admin.topics(Some(names.clone()))).await?.is_empty() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// Returns the numbers of removed items as text.
    fn summary(&self) -> String {
        let count = |count: usize, one: &str, many: &str| match count {
            0 => None,
            1 => Some(format!("1 {one}")),
            count => Some(format!("{count} {many}")),
        };
        let counts = [
            count(self.groups.len(), "group", "groups"),
            count(self.state.len(), "state directory", "state directories"),
            count(self.topics.len(), "topic", "topics"),
        ];
        counts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// Checks that a group has no members.
///
/// # Errors
/// The group has members, or cannot be looked up.
pub(crate) async fn ensure_no_members(group: &str, client: &mut Client) -> Result<(), Failure> {
    let admin = client.transport.admin()?;
    let members = match client.retry(|| admin.members(group)).await? {
        0 => return Ok(()),
        1 => "a member: stop that worker".to_owned(),
        count => format!("{count} members: stop those workers"),
    };
    let timeout = client.settings.broker_session_timeout;
    Err(Failure::error(format!(
        "group `{group}` has {members} first; a killed worker remains a member until `broker_session_timeout` ({timeout:?}) has passed"
    )))
}

#[allow(clippy::cast_precision_loss, reason = "the value is shown with one decimal place")]
fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
