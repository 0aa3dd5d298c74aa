//! An ensemble as text.
//!
//! Owns the one place where the text is taken apart and the one where it is put together. The members come first, then groups, weights and the version, each
//! in the order of a hash table of Java's ([`super::order`]).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use proto::ServerId;

use super::draft::{Draft, EnsembleError, TEXT_BYTES_MAX};
use super::{Ensemble, GroupId, order};

pub(super) fn parse(text: &str) -> Result<Ensemble, EnsembleError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(EnsembleError::Long(text.len()));
    }
    let mut draft = Draft::new(true);
    for (number, line) in text.lines().map(str::trim).enumerate() {
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        let taken = draft.line(key.trim_end(), value.trim_start());
        taken.map_err(|error| EnsembleError::Line { number: number + 1, error })?;
    }
    let ensemble = draft.finish().map_err(|errors| errors.into_iter().next().unwrap_or(EnsembleError::NoVoter))?;
    if ensemble.voters().next().is_none() {
        return Err(EnsembleError::NoVoter);
    }
    Ok(ensemble)
}

pub(super) fn print(ensemble: &Ensemble) -> String {
    let loaded = Loaded::new(ensemble);
    let mut text = String::new();
    // Writing to a string does not fail.
    for (id, member) in
        order::hash_map(&loaded.members).into_iter().filter_map(|id| Some((id, ensemble.member(ServerId(id))?)))
    {
        let _ = writeln!(text, "server.{id}={member}");
    }
    let mut groups: Vec<(i64, String)> = Vec::new();
    for server in order::hash_map(&loaded.grouped) {
        let Some(GroupId(group)) = ensemble.group(ServerId(server)) else { continue };
        match groups.iter_mut().find(|(id, _)| *id == group) {
            Some((_, line)) => drop(write!(line, ":{server}")),
            None => groups.push((group, server.to_string())),
        }
    }
    let in_groups: Vec<i64> = groups.iter().map(|(group, _)| *group).collect();
    for group in order::hash_map(&in_groups) {
        for (_, line) in groups.iter().filter(|(id, _)| *id == group) {
            let _ = writeln!(text, "group.{group}={line}");
        }
    }
    for id in order::hash_map(&loaded.weighed) {
        let _ = writeln!(text, "weight.{id}={}", ensemble.weight(ServerId(id)));
    }
    let _ = write!(text, "version={:x}", ensemble.version().0);
    text
}

/// The ids of the lines as they come out of `Properties`, into which they went by kind and ascending id.
#[derive(Default)]
struct Loaded {
    members: Vec<i64>,
    grouped: Vec<i64>,
    weighed: Vec<i64>,
}

enum Line {
    Server(ServerId),
    Group(GroupId),
    Weight(ServerId),
    Version,
}

impl Loaded {
    fn new(ensemble: &Ensemble) -> Loaded {
        let mut lines: Vec<Line> = ensemble.members.keys().map(|id| Line::Server(*id)).collect();
        let mut by_group: BTreeMap<GroupId, Vec<i64>> = BTreeMap::new();
        if let Some(hierarchy) = &ensemble.hierarchy {
            for (server, group) in &hierarchy.groups {
                by_group.entry(*group).or_default().push(server.0);
            }
            lines.extend(by_group.keys().map(|id| Line::Group(*id)));
            lines.extend(hierarchy.weights.keys().map(|id| Line::Weight(*id)));
        }
        lines.push(Line::Version);
        let keys: Vec<String> = lines.iter().map(Line::key).collect();
        let mut loaded = Loaded::default();
        for place in order::properties(&keys) {
            match lines.get(place) {
                Some(Line::Server(id)) => loaded.members.push(id.0),
                Some(Line::Group(id)) => loaded.grouped.extend(by_group.get(id).into_iter().flatten()),
                Some(Line::Weight(id)) => loaded.weighed.push(id.0),
                Some(Line::Version) | None => {}
            }
        }
        loaded
    }
}

impl Line {
    fn key(&self) -> String {
        match self {
            Line::Server(id) => format!("server.{}", id.0),
            Line::Group(id) => format!("group.{}", id.0),
            Line::Weight(id) => format!("weight.{}", id.0),
            Line::Version => "version".to_owned(),
        }
    }
}
