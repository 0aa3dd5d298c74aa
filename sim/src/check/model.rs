//! A small ZooKeeper: a sorted map of znodes on which one operation is executed after the other.
//!
//! Owns the rules of the operations that histories may have, as `PrepRequestProcessor` and `DataTree` of 3.9.5 have them: versions, ephemerals,
//! sequential names, multi. It has no ACLs, quotas, TTLs or containers. It shares nothing with the engine, not even the words; clarity goes before speed.
//! `sim/tests/model_rules.rs` would catch a mistake, and any simulated run, since there the engine's answers are compared with these.

use crate::history::{Answer, At, Code, FinalNode, Op, PartAnswer, SessionId, Stat, Told, Zxid};
use std::collections::{BTreeMap, BTreeSet};

/// A znode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Znode {
    /// Its data.
    pub data: String,
    /// The session that it goes with; 0: none.
    pub owner: SessionId,
    czxid: Zxid,
    mzxid: Zxid,
    pzxid: Zxid,
    version: i32,
    /// Children that were ever created: the number of the next sequential one.
    creates: i32,
    children: BTreeSet<String>,
    /// The line that last changed it.
    pub changed_at: Option<At>,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    nodes: BTreeMap<String, Znode>,
    /// Changes since they were last taken, in order.
    changes: Vec<Change>,
}

/// A change that watches may tell of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its txn.
    pub zxid: Zxid,
    /// What happened to the znode. Never [`Told::Children`]: that is the parent's side of a creation or deletion.
    pub told: Told,
    /// The znode.
    pub path: String,
    /// The line from which it is known.
    pub at: Option<At>,
}

/// In whose name, and as which txn, an operation is executed.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// The session.
    pub session: SessionId,
    /// The txn.
    pub zxid: Zxid,
    /// The line that asked for it.
    pub at: Option<At>,
}

/// What an operation came to.
pub type Outcome = Result<Answer, Failure>;

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The header's error; a multi's is that of the operation that failed.
    pub code: Code,
    /// A multi's results.
    pub results: Option<Vec<PartAnswer>>,
}

impl From<Code> for Failure {
    fn from(code: Code) -> Failure {
        Failure { code, results: None }
    }
}

impl Default for Model {
    fn default() -> Model {
        Model::new()
    }
}

impl Model {
    /// The root alone.
    #[must_use]
    pub fn new() -> Model {
        let root = Znode {
            data: String::new(),
            owner: SessionId(0),
            czxid: Zxid(0),
            mzxid: Zxid(0),
            pzxid: Zxid(0),
            version: 0,
            creates: 0,
            children: BTreeSet::new(),
            changed_at: None,
        };
        Model { nodes: BTreeMap::from([("/".to_owned(), root)]), changes: Vec::new() }
    }

    /// Executes a write. A failed one changes nothing.
    ///
    /// # Errors
    /// Why it failed.
    pub fn write(&mut self, op: &Op, origin: Origin) -> Outcome {
        match op {
            Op::Create { path, data, ephemeral, sequential } => {
                self.create(path, data, *ephemeral, *sequential, origin).map_err(Failure::from)
            }
            Op::Set { path, data, version } => self.set(path, data, *version, origin).map_err(Failure::from),
            Op::Delete { path, version } => self.delete(path, *version, origin).map_err(Failure::from),
            Op::Check { path, version } => self.check(path, *version).map_err(Failure::from),
            Op::Multi { ops } => self.multi(ops, origin),
            Op::Close => {
                self.end_session(origin);
                Ok(Answer::default())
            }
            Op::Get { .. } | Op::Exists { .. } | Op::Children { .. } | Op::Sync { .. } | Op::SetWatches { .. } => {
                self.read(op).map_err(Failure::from)
            }
        }
    }

    /// Executes a read.
    ///
    /// # Errors
    /// Why it failed.
    pub fn read(&self, op: &Op) -> Result<Answer, Code> {
        match op {
            Op::Get { path, .. } => {
                let node = self.node(path)?;
                Ok(Answer { data: Some(node.data.clone()), stat: Some(node.stat()), ..Answer::default() })
            }
            Op::Exists { path, .. } => Ok(Answer { stat: Some(self.node(path)?.stat()), ..Answer::default() }),
            Op::Children { path, .. } => {
                let node = self.node(path)?;
                let names = node.children.iter().cloned().collect();
                Ok(Answer { names: Some(names), stat: Some(node.stat()), ..Answer::default() })
            }
            _ => Ok(Answer::default()),
        }
    }

    /// Removes the session's ephemerals: its end.
    pub fn end_session(&mut self, origin: Origin) {
        for path in self.ephemerals_of(origin.session) {
            self.remove(&path, origin);
        }
    }

    /// The session's ephemerals.
    #[must_use]
    pub fn ephemerals_of(&self, session: SessionId) -> Vec<String> {
        let is_its = |node: &Znode| node.owner == session && session.0 != 0;
        self.nodes.iter().filter(|(_, node)| is_its(node)).map(|(path, _)| path.clone()).collect()
    }

    /// The znode.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Znode> {
        self.nodes.get(path)
    }

    /// What has changed since the last call, in order.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// All znodes but the root, in order of their paths.
    pub fn final_nodes(&self) -> impl Iterator<Item = FinalNode> + '_ {
        self.nodes.iter().filter(|(path, _)| *path != "/").map(|(path, node)| FinalNode {
            path: path.clone(),
            data: node.data.clone(),
            stat: node.stat(),
        })
    }

    fn node(&self, path: &str) -> Result<&Znode, Code> {
        self.nodes.get(path).ok_or(Code::NO_NODE)
    }

    fn create(
        &mut self,
        path: &str,
        data: &str,
        ephemeral: bool,
        sequential: bool,
        origin: Origin,
    ) -> Result<Answer, Code> {
        let (parent_path, _) = split(path).ok_or(if path == "/" { Code::NODE_EXISTS } else { Code::BAD_ARGUMENTS })?;
        let parent = self.node(parent_path)?;
        let path = if sequential { format!("{path}{:010}", parent.creates) } else { path.to_owned() };
        if self.nodes.contains_key(&path) {
            return Err(Code::NODE_EXISTS);
        }
        if parent.owner.0 != 0 {
            return Err(Code::NO_CHILDREN_FOR_EPHEMERALS);
        }
        let (_, name) = split(&path).ok_or(Code::BAD_ARGUMENTS)?;
        if let Some(parent) = self.nodes.get_mut(parent_path) {
            parent.creates += 1;
            parent.pzxid = origin.zxid;
            parent.changed_at = origin.at;
            parent.children.insert(name.to_owned());
        }
        let owner = if ephemeral { origin.session } else { SessionId(0) };
        let node = Znode {
            data: data.to_owned(),
            owner,
            czxid: origin.zxid,
            mzxid: origin.zxid,
            pzxid: origin.zxid,
            version: 0,
            creates: 0,
            children: BTreeSet::new(),
            changed_at: origin.at,
        };
        let stat = node.stat();
        self.nodes.insert(path.clone(), node);
        self.changes.push(Change { zxid: origin.zxid, told: Told::Created, path: path.clone(), at: origin.at });
        Ok(Answer { path: Some(path), stat: Some(stat), ..Answer::default() })
    }

    fn set(&mut self, path: &str, data: &str, version: i32, origin: Origin) -> Result<Answer, Code> {
        let node = self.nodes.get_mut(path).ok_or(Code::NO_NODE)?;
        if version != -1 && version != node.version {
            return Err(Code::BAD_VERSION);
        }
        node.data = data.to_owned();
        node.version += 1;
        node.mzxid = origin.zxid;
        node.changed_at = origin.at;
        let stat = node.stat();
        self.changes.push(Change { zxid: origin.zxid, told: Told::Changed, path: path.to_owned(), at: origin.at });
        Ok(Answer { stat: Some(stat), ..Answer::default() })
    }

    fn delete(&mut self, path: &str, version: i32, origin: Origin) -> Result<Answer, Code> {
        if path == "/" {
            return Err(Code::BAD_ARGUMENTS);
        }
        let node = self.node(path)?;
        if version != -1 && version != node.version {
            return Err(Code::BAD_VERSION);
        }
        if !node.children.is_empty() {
            return Err(Code::NOT_EMPTY);
        }
        self.remove(path, origin);
        Ok(Answer::default())
    }

    fn check(&self, path: &str, version: i32) -> Result<Answer, Code> {
        let node = self.node(path)?;
        if version == -1 || version == node.version { Ok(Answer::default()) } else { Err(Code::BAD_VERSION) }
    }

    fn multi(&mut self, ops: &[Op], origin: Origin) -> Outcome {
        let before = self.clone();
        let mut results = Vec::new();
        for op in ops {
            match self.write(op, origin) {
                Ok(answer) => results.push(PartAnswer { err: Code::OK, path: answer.path, stat: answer.stat }),
                Err(failure) => {
                    *self = before;
                    let part = |err| PartAnswer { err, path: None, stat: None };
                    let done = results.len();
                    let mut results = vec![part(Code::OK); done];
                    results.push(part(failure.code));
                    results.resize(ops.len(), part(Code::RUNTIME_INCONSISTENCY));
                    return Err(Failure { code: failure.code, results: Some(results) });
                }
            }
        }
        Ok(Answer { results: Some(results), ..Answer::default() })
    }

    fn remove(&mut self, path: &str, origin: Origin) {
        self.nodes.remove(path);
        if let Some((parent, name)) = split(path)
            && let Some(parent) = self.nodes.get_mut(parent)
        {
            parent.children.remove(name);
            parent.pzxid = origin.zxid;
            parent.changed_at = origin.at;
        }
        self.changes.push(Change { zxid: origin.zxid, told: Told::Deleted, path: path.to_owned(), at: origin.at });
    }
}

impl Znode {
    /// Its Stat.
    #[must_use]
    pub fn stat(&self) -> Stat {
        let children = i32::try_from(self.children.len()).unwrap_or(i32::MAX);
        Stat {
            czxid: self.czxid,
            mzxid: self.mzxid,
            pzxid: self.pzxid,
            version: self.version,
            cversion: self.creates.wrapping_mul(2).wrapping_sub(children),
            owner: self.owner,
            children,
        }
    }
}

/// The parent's path and the name. None for the root, and for what is no path.
#[must_use]
pub fn split(path: &str) -> Option<(&str, &str)> {
    let (parent, name) = path.rsplit_once('/')?;
    if !path.starts_with('/') || path == "/" {
        return None;
    }
    Some((if parent.is_empty() { "/" } else { parent }, name))
}
