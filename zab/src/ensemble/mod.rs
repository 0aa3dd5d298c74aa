//! Who is in the ensemble, and which of its servers are a quorum. Data, so that a reconfiguration is another value.
//!
//! A stand-in until the real one is merged: it reads what the election's tests write.
#![allow(missing_docs, clippy::missing_errors_doc)]

use proto::ServerId;
use std::collections::BTreeMap;

#[derive(Clone, Debug, Default)]
pub struct Ensemble {
    voters: BTreeMap<ServerId, bool>,
    groups: BTreeMap<ServerId, i64>,
    weights: BTreeMap<ServerId, u64>,
}

impl Ensemble {
    pub fn parse(text: &str) -> Result<Ensemble, String> {
        let mut ensemble = Ensemble::default();
        for line in text.lines() {
            let (key, value) = line.split_once('=').ok_or(line)?;
            let (kind, id) = key.split_once('.').unwrap_or((key, "0"));
            let number = |text: &str| text.parse::<i64>().map_err(|e| format!("{text}: {e}"));
            match kind {
                "server" => drop(ensemble.voters.insert(ServerId(number(id)?), !value.ends_with(":observer"))),
                "weight" => drop(ensemble.weights.insert(ServerId(number(id)?), number(value)?.unsigned_abs())),
                "group" => {
                    for server in value.split(':') {
                        ensemble.groups.insert(ServerId(number(server)?), number(id)?);
                    }
                }
                _ => {}
            }
        }
        Ok(ensemble)
    }

    #[must_use]
    pub fn is_voter(&self, id: ServerId) -> bool {
        self.voters.get(&id) == Some(&true)
    }

    pub fn voters(&self) -> impl Iterator<Item = ServerId> + '_ {
        self.voters.iter().filter(|(_, votes)| **votes).map(|(&id, _)| id)
    }

    #[must_use]
    pub fn weight(&self, id: ServerId) -> u64 {
        self.weights.get(&id).copied().unwrap_or(u64::from(self.is_voter(id)))
    }

    pub fn is_quorum(&self, servers: impl Iterator<Item = ServerId>) -> bool {
        let set: std::collections::BTreeSet<ServerId> = servers.filter(|&id| self.is_voter(id)).collect();
        let mut groups: BTreeMap<i64, (u64, u64)> = BTreeMap::new();
        for id in self.voters() {
            let group = groups.entry(self.groups.get(&id).copied().unwrap_or(0)).or_default();
            group.1 += self.weight(id);
            if set.contains(&id) {
                group.0 += self.weight(id);
            }
        }
        groups.retain(|_, group| group.1 > 0);
        groups.values().filter(|(have, all)| 2 * have > *all).count() * 2 > groups.len()
    }
}
