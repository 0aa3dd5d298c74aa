//! The naive model's operations, in the order of checks of `PrepRequestProcessor.pRequest2Txn`.

use crate::support::naive::{Kind, Naive, Znode, parent_of};
use proto::{Acl, ErrorCode, OpCode, Perms, Stat, Writer};
use ringkeeper_engine::auth::AuthId;
use ringkeeper_engine::stream::ChangeKind;

/// An ACL's entry as a client may send it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawAcl {
    pub(crate) perms: i32,
    pub(crate) scheme: Option<&'static str>,
    pub(crate) id: Option<&'static str>,
}

#[derive(Clone, Debug)]
pub(crate) struct CreateOp {
    pub(crate) code: OpCode,
    pub(crate) flags: i32,
    pub(crate) path: String,
    pub(crate) data: Option<Vec<u8>>,
    pub(crate) acl: Option<Vec<RawAcl>>,
    pub(crate) ttl_ms: i64,
}

/// A request, owned, with nothing left to choose.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Create(CreateOp),
    Delete {
        path: String,
        version: i32,
    },
    SetData {
        path: String,
        data: Option<Vec<u8>>,
        version: i32,
    },
    SetAcl {
        path: String,
        acl: Option<Vec<RawAcl>>,
        version: i32,
    },
    Check {
        path: String,
        version: i32,
    },
    Multi(Vec<Op>),
    Sync {
        path: String,
    },
    Close,
    Reconfig,
    DeleteContainer {
        path: String,
    },
    /// A record that is cut short.
    Garbled(OpCode),
}

/// What a reply says, or one result of a multi.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Body {
    Nothing,
    Path(String),
    PathStat(String, Stat),
    Stat(Stat),
    Checked,
    Error(i32),
    Multi(Vec<Body>),
}

/// A change that watches hear of; ACLs as the guards say them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Changed {
    pub(crate) zxid: u64,
    pub(crate) kind: ChangeKind,
    pub(crate) path: String,
    pub(crate) guard: Option<Vec<Acl>>,
    pub(crate) parent_guard: Option<Vec<Acl>>,
}

/// Who asks and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller<'a> {
    pub(crate) session: i64,
    pub(crate) ids: &'a [AuthId],
    pub(crate) time_ms: i64,
}

impl Op {
    pub(crate) fn code(&self) -> OpCode {
        match self {
            Op::Create(create) => create.code,
            Op::Delete { .. } => OpCode::Delete,
            Op::SetData { .. } => OpCode::SetData,
            Op::SetAcl { .. } => OpCode::SetAcl,
            Op::Check { .. } => OpCode::Check,
            Op::Multi(_) => OpCode::Multi,
            Op::Sync { .. } => OpCode::Sync,
            Op::Close => OpCode::CloseSession,
            Op::Reconfig => OpCode::Reconfig,
            Op::DeleteContainer { .. } => OpCode::DeleteContainer,
            Op::Garbled(code) => *code,
        }
    }

    pub(crate) fn write(&self, w: &mut Writer<'_>) {
        match self {
            Op::Create(create) => {
                w.string(&create.path);
                w.buffer(create.data.as_deref());
                write_acl(create.acl.as_deref(), w);
                w.int(create.flags);
                if create.code == OpCode::CreateTtl {
                    w.long(create.ttl_ms);
                }
            }
            Op::Delete { path, version } | Op::Check { path, version } => {
                w.string(path);
                w.int(*version);
            }
            Op::SetData { path, data, version } => {
                w.string(path);
                w.buffer(data.as_deref());
                w.int(*version);
            }
            Op::SetAcl { path, acl, version } => {
                w.string(path);
                write_acl(acl.as_deref(), w);
                w.int(*version);
            }
            Op::Multi(ops) => {
                for op in ops {
                    w.int(op.code().to_wire());
                    w.bool(false);
                    w.int(-1);
                    op.write(w);
                }
                w.int(-1);
                w.bool(true);
                w.int(-1);
            }
            Op::Sync { path } | Op::DeleteContainer { path } => w.string(path),
            Op::Reconfig => {
                w.int(-1);
                w.int(-1);
                w.int(-1);
                w.long(-1);
            }
            Op::Close => {}
            Op::Garbled(_) => w.raw(&[0, 0]),
        }
    }
}

fn write_acl(acl: Option<&[RawAcl]>, w: &mut Writer<'_>) {
    let Some(acl) = acl else { return w.int(-1) };
    w.length(acl.len());
    for entry in acl {
        w.int(entry.perms);
        w.string_or_null(entry.scheme);
        w.string_or_null(entry.id);
    }
}

impl Naive {
    /// Executes a request that takes a zxid. Returns the error code of the reply's header and its body.
    pub(crate) fn execute(&mut self, caller: &Caller<'_>, op: &Op, changes: &mut Vec<Changed>) -> (i32, Body) {
        self.zxid += 1;
        let done = match op {
            Op::Multi(ops) => self.multi(caller, ops, changes),
            Op::Check { .. } | Op::DeleteContainer { .. } => Err(ErrorCode::Unimplemented),
            op => self.single(caller, op, changes),
        };
        match done {
            Ok(body) => (0, body),
            Err(code) => (code.to_wire(), Body::Nothing),
        }
    }

    pub(crate) fn create_session(&mut self, session: i64, timeout_ms: i32) {
        self.zxid += 1;
        self.sessions.insert(session, timeout_ms);
    }

    pub(crate) fn close_session(&mut self, session: i64, changes: &mut Vec<Changed>) {
        self.zxid += 1;
        for path in self.ephemerals_of(session) {
            self.remove(&path, changes);
        }
        self.sessions.remove(&session);
    }

    /// Empty, and of a kind that the server removes by itself?
    pub(crate) fn is_removable(&self, path: &str) -> bool {
        let of_kind = |node: &Znode| matches!(node.kind, Kind::Container | Kind::Ttl(_));
        self.nodes.get(path).is_some_and(of_kind) && self.children(path).is_empty()
    }

    pub(crate) fn delete_container(&mut self, path: &str, changes: &mut Vec<Changed>) {
        self.zxid += 1;
        self.remove(path, changes);
    }

    /// `ContainerManager.getCandidates`.
    pub(crate) fn candidates(&self, wall_ms: i64) -> Vec<String> {
        let due = |path: &String, node: &Znode| match node.kind {
            Kind::Container => self.children(path).is_empty() && node.creates > 0,
            Kind::Ttl(ttl_ms) => self.children(path).is_empty() && wall_ms - node.mtime > ttl_ms,
            _ => false,
        };
        self.nodes.iter().filter(|(path, node)| due(path, node)).map(|(path, _)| path.clone()).collect()
    }

    fn multi(&mut self, caller: &Caller<'_>, ops: &[Op], changes: &mut Vec<Changed>) -> Result<Body, ErrorCode> {
        // `MultiOperationRecord.deserialize` goes over all of them before the first is executed.
        let ops: Vec<Op> = ops.iter().map(as_in_a_multi).collect::<Result<_, _>>()?;
        let (nodes, changes_before) = (self.nodes.clone(), changes.len());
        let mut results = Vec::new();
        for op in &ops {
            match self.single(caller, op, changes) {
                Ok(result) => results.push(result),
                Err(code) => {
                    self.nodes = nodes;
                    changes.truncate(changes_before);
                    if code == ErrorCode::MarshallingError {
                        return Err(code);
                    }
                    let failed = results.len();
                    let of = |at: usize| match at.cmp(&failed) {
                        std::cmp::Ordering::Less => 0,
                        std::cmp::Ordering::Equal => code.to_wire(),
                        std::cmp::Ordering::Greater => -2,
                    };
                    return Ok(Body::Multi((0..ops.len()).map(|at| Body::Error(of(at))).collect()));
                }
            }
        }
        Ok(Body::Multi(results))
    }

    fn single(&mut self, caller: &Caller<'_>, op: &Op, changes: &mut Vec<Changed>) -> Result<Body, ErrorCode> {
        match op {
            Op::Create(create) => self.create(caller, create, changes),
            Op::Delete { path, version } => self.delete(caller, path, *version, changes),
            Op::SetData { path, data, version } => {
                let (zxid, node) = (self.zxid, self.checked(caller, path, Perms::WRITE)?);
                bump(&mut node.version, *version)?;
                node.data.clone_from(data);
                node.mtime = caller.time_ms;
                node.mzxid = zxid;
                self.note(ChangeKind::DataChanged, path, changes);
                Ok(Body::Stat(self.stat(path)))
            }
            Op::SetAcl { path, acl, version } => {
                validate(path)?;
                let acl = fixed(acl.as_deref(), caller.ids)?;
                let node = self.checked(caller, path, Perms::ADMIN)?;
                bump(&mut node.aversion, *version)?;
                node.acl = acl;
                Ok(Body::Stat(self.stat(path)))
            }
            Op::Check { path, version } => {
                let mut seen = self.checked(caller, path, Perms::READ)?.version;
                bump(&mut seen, *version)?;
                Ok(Body::Checked)
            }
            Op::Reconfig => Err(ErrorCode::ReconfigDisabled),
            Op::Garbled(_) => Err(ErrorCode::MarshallingError),
            Op::Multi(_) | Op::Sync { .. } | Op::Close | Op::DeleteContainer { .. } => {
                panic!("{op:?} is no single write")
            }
        }
    }

    fn checked(&mut self, caller: &Caller<'_>, path: &str, perms: Perms) -> Result<&mut Znode, ErrorCode> {
        validate(path)?;
        let node = self.nodes.get_mut(path).ok_or(ErrorCode::NoNode)?;
        allow(&node.acl, perms, caller.ids)?;
        Ok(node)
    }

    fn create(&mut self, caller: &Caller<'_>, op: &CreateOp, changes: &mut Vec<Changed>) -> Result<Body, ErrorCode> {
        let (ephemeral, sequential, ttl) = match op.flags {
            0 | 4 => (false, false, false),
            1 => (true, false, false),
            2 => (false, true, false),
            3 => (true, true, false),
            5 => (false, false, true),
            6 => (false, true, true),
            _ => return Err(ErrorCode::BadArguments),
        };
        if ttl && !self.extended_types {
            return Err(ErrorCode::Unimplemented);
        }
        let ttl_ms = if op.code == OpCode::CreateTtl { op.ttl_ms } else { -1 };
        if ttl && !(0 < ttl_ms && ttl_ms < 1 << 40) {
            return Err(ErrorCode::BadArguments);
        }
        // Java lets a negative TTL pass that the mode has no use for, and dies of it.
        if !ttl && op.code == OpCode::CreateTtl {
            return Err(ErrorCode::BadArguments);
        }
        let parent = raw_parent(&op.path)?.to_owned();
        let acl = fixed(op.acl.as_deref(), caller.ids)?;
        let parent_node = self.node(&parent)?;
        allow(&parent_node.acl, Perms::CREATE, caller.ids)?;
        let path = if sequential { format!("{}{:010}", op.path, parent_node.creates) } else { op.path.clone() };
        validate(&path)?;
        if self.nodes.contains_key(&path) {
            return Err(ErrorCode::NodeExists);
        }
        if matches!(parent_node.kind, Kind::Ephemeral(_)) {
            return Err(ErrorCode::NoChildrenForEphemerals);
        }
        let kind = match op.code {
            OpCode::CreateContainer => Kind::Container,
            OpCode::CreateTtl => Kind::Ttl(ttl_ms),
            _ if ephemeral => Kind::Ephemeral(caller.session),
            _ => Kind::Persistent,
        };
        let (zxid, time_ms) = (self.zxid, caller.time_ms);
        // `DataTree.createNode` ignores a counter that does not grow.
        if let Some(parent) = self.nodes.get_mut(&parent)
            && parent.creates != i32::MAX
        {
            parent.creates += 1;
            parent.pzxid = zxid;
        }
        let node = Znode {
            data: op.data.clone(),
            acl,
            kind,
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            ctime: time_ms,
            mtime: time_ms,
            version: 0,
            creates: 0,
            aversion: 0,
        };
        self.nodes.insert(path.clone(), node);
        self.note(ChangeKind::Created, &path, changes);
        let stat = self.stat(&path);
        Ok(if op.code == OpCode::Create { Body::Path(path) } else { Body::PathStat(path, stat) })
    }

    fn delete(
        &mut self,
        caller: &Caller<'_>,
        path: &str,
        version: i32,
        changes: &mut Vec<Changed>,
    ) -> Result<Body, ErrorCode> {
        let parent = raw_parent(path)?;
        if ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"].contains(&path) {
            return Err(ErrorCode::BadArguments);
        }
        allow(&self.node(parent)?.acl, Perms::DELETE, caller.ids)?;
        let mut seen = self.node(path)?.version;
        bump(&mut seen, version)?;
        if !self.children(path).is_empty() {
            return Err(ErrorCode::NotEmpty);
        }
        self.remove(path, changes);
        Ok(Body::Nothing)
    }

    fn remove(&mut self, path: &str, changes: &mut Vec<Changed>) {
        self.note(ChangeKind::Deleted, path, changes);
        self.nodes.remove(path).expect("it was seen just now");
        let zxid = self.zxid;
        if let Some(parent) = self.nodes.get_mut(parent_of(path)) {
            parent.pzxid = zxid;
        }
    }

    fn note(&self, kind: ChangeKind, path: &str, changes: &mut Vec<Changed>) {
        let guard = |path: &str| self.nodes.get(path).filter(|node| !node.is_open()).map(|node| node.acl.clone());
        let parent_guard = if kind == ChangeKind::DataChanged { None } else { guard(parent_of(path)) };
        changes.push(Changed { zxid: self.zxid, kind, path: path.to_owned(), guard: guard(path), parent_guard });
    }
}

/// `MultiOperationRecord.deserialize` and `Op.Create`: inside a multi the flags choose the operation, and what does not fit spoils it all.
fn as_in_a_multi(op: &Op) -> Result<Op, ErrorCode> {
    let Op::Create(create) = op else { return Ok(op.clone()) };
    let code = match (create.code, create.flags) {
        (OpCode::CreateTtl, 5 | 6) => return Ok(op.clone()),
        (_, 4) => OpCode::CreateContainer,
        (OpCode::CreateTtl, 0..=3) => OpCode::Create,
        // Refused when its turn comes.
        (OpCode::CreateTtl, _) => return Ok(op.clone()),
        (code, 0..=3) => code,
        _ => return Err(ErrorCode::MarshallingError),
    };
    if create.acl.is_none() {
        return Err(ErrorCode::MarshallingError);
    }
    Ok(Op::Create(CreateOp { code, ..create.clone() }))
}

fn raw_parent(path: &str) -> Result<&str, ErrorCode> {
    match path.rfind('/') {
        Some(slash) if !path.contains('\0') => Ok(if slash == 0 { "/" } else { &path[..slash] }),
        _ => Err(ErrorCode::BadArguments),
    }
}

/// `PathUtils.validatePath`, for the characters that the tests use.
fn validate(path: &str) -> Result<(), ErrorCode> {
    let names: Vec<&str> = path.split('/').collect();
    let good = path == "/"
        || (names.len() > 1
            && names[0].is_empty()
            && names[1..].iter().all(|name| !["", ".", ".."].contains(name) && !name.contains(['\0', '\u{1}'])));
    if good { Ok(()) } else { Err(ErrorCode::BadArguments) }
}

fn bump(version: &mut i32, expected: i32) -> Result<(), ErrorCode> {
    if expected != -1 && expected != *version {
        return Err(ErrorCode::BadVersion);
    }
    *version = version.wrapping_add(1);
    Ok(())
}

fn allow(acl: &[Acl], perms: Perms, ids: &[AuthId]) -> Result<(), ErrorCode> {
    let has = |scheme: &str, id: &str| ids.iter().any(|own| &*own.scheme == scheme && &*own.id == id);
    let holds = |entry: &Acl| match (&*entry.scheme, &*entry.id) {
        ("world", "anyone") => true,
        ("ip", "10.0.0.0/8") => ids.iter().any(|own| &*own.scheme == "ip" && own.id.starts_with("10.")),
        (scheme @ ("digest" | "ip"), id) => has(scheme, id),
        _ => false,
    };
    let is_super = ids.iter().any(|own| &*own.scheme == "super");
    let allowed = is_super || acl.iter().any(|entry| entry.perms.0 & perms.0 != 0 && holds(entry));
    if allowed { Ok(()) } else { Err(ErrorCode::NoAuth) }
}

/// `fixupACL`. Where Java trips over a null id the whole request counts as malformed.
fn fixed(sent: Option<&[RawAcl]>, ids: &[AuthId]) -> Result<Vec<Acl>, ErrorCode> {
    let sent = sent.unwrap_or_default();
    if sent.is_empty() {
        return Err(ErrorCode::InvalidAcl);
    }
    // `removeDuplicates` compares permissions, scheme and id, of all entries first.
    for (at, entry) in sent.iter().enumerate() {
        let same = sent[..at].iter().filter(|before| before.perms == entry.perms);
        let compared: Vec<&RawAcl> = same.collect();
        let trips = !compared.is_empty() && entry.scheme.is_none()
            || compared.iter().any(|before| before.scheme == entry.scheme) && entry.id.is_none();
        if trips {
            return Err(ErrorCode::MarshallingError);
        }
    }
    let mut acl = Vec::new();
    for (at, entry) in sent.iter().enumerate() {
        if sent[..at].contains(entry) {
            continue;
        }
        let valid = match (entry.scheme, entry.id) {
            (Some("auth"), _) => {
                let own = ids.iter().filter(|id| &*id.scheme == "digest");
                let before = acl.len();
                acl.extend(own.map(|own| Acl {
                    perms: Perms(entry.perms),
                    scheme: own.scheme.clone(),
                    id: own.id.clone(),
                }));
                if acl.len() == before {
                    return Err(ErrorCode::InvalidAcl);
                }
                continue;
            }
            (Some("world" | "digest" | "ip"), None) => return Err(ErrorCode::MarshallingError),
            (Some("world"), Some(id)) => id == "anyone",
            (Some("digest"), Some(id)) => {
                let mut parts: Vec<&str> = id.split(':').collect();
                while parts.last() == Some(&"") {
                    parts.pop();
                }
                parts.len() == 2
            }
            (Some("ip"), Some(id)) => ["10.0.0.0/8", "10.0.0.1"].contains(&id),
            _ => false,
        };
        if !valid {
            return Err(ErrorCode::InvalidAcl);
        }
        let (scheme, id) = (entry.scheme.expect("seen above").into(), entry.id.expect("seen above").into());
        acl.push(Acl { perms: Perms(entry.perms), scheme, id });
    }
    Ok(acl)
}
