//! Operations: each opcode with its record, good or bad.

use super::values;
use crate::random::Random;
use crate::sequence::{Field, Op, ZxidRef};
use proto::OpCode;

/// A few nodes to begin with.
pub(super) fn some_nodes() -> Vec<Op> {
    let create = |path: &str| create_of(OpCode::Create, Some(path.to_owned()), values::open_acl(), 0);
    ["~/a", "~/b", "~/a/a", "~/a/b", "~/b/c"].map(create).into()
}

/// An operation that is answered in its turn and leaves the connection open.
pub(super) fn operation(r: &mut Random) -> Op {
    let mut op = match r.below(100) {
        0..=17 => create(r),
        18..=24 => delete(r),
        25..=33 => set_data(r),
        34..=58 => read(r),
        59..=63 => acl(r),
        64..=72 => multi(r),
        73..=75 => multi_read(r),
        76..=86 => watch(r),
        87..=92 => question(r),
        93..=96 => malformed(r),
        97 | 98 => set_watches(r),
        _ => reconfig(r),
    };
    if op.xid.is_none() && r.chance(1) {
        op.xid = Some(r.weighted(&[(1, 0), (1, -7), (1, i32::MAX), (1, 5)]));
    }
    op
}

pub(super) fn path_field(path: Option<String>) -> Field {
    Field::Path(path)
}

fn create_of(code: OpCode, path: Option<String>, acl: Option<Vec<crate::sequence::AclEntry>>, flags: i32) -> Op {
    Op::new(code, vec![path_field(path), Field::Data(Some("new".to_owned())), Field::Acl(acl), Field::Int(flags)])
}

fn create(r: &mut Random) -> Op {
    let code =
        r.weighted(&[(4, OpCode::Create), (5, OpCode::Create2), (2, OpCode::CreateContainer), (2, OpCode::CreateTtl)]);
    Op::new(code, create_body(r, code))
}

/// The record of a create; a mode without a TTL never has a negative one.
fn create_body(r: &mut Random, code: OpCode) -> Vec<Field> {
    let odd = r.weighted(&[(1, 7), (1, -1), (1, 1000), (1, i32::MIN), (1, 0), (1, 1)]);
    let flags = match code {
        OpCode::CreateContainer => r.weighted(&[(10, 4), (1, odd), (1, 5)]),
        OpCode::CreateTtl => r.weighted(&[(6, 5), (4, 6), (1, odd), (1, 4)]),
        _ => r.weighted(&[(10, 0), (6, 1), (5, 2), (4, 3), (1, 4), (1, 5), (1, 6), (1, odd)]),
    };
    let path = values::create_path(r, matches!(flags, 2 | 3 | 6));
    // Two faults in one request come up, but not a null path and a bad mode.
    let may_be_null = code != OpCode::CreateTtl && matches!(flags, 0 | 4);
    let path = path.or_else(|| (!may_be_null).then(|| "~/a".to_owned()));
    let data = if r.chance(1) { Field::Fill(20_000) } else { Field::Data(values::data(r)) };
    let acl = values::create_acl(r);
    let acl = if code == OpCode::CreateTtl { acl.or_else(values::open_acl) } else { acl };
    let mut body = vec![path_field(path), data, Field::Acl(acl), Field::Int(flags)];
    if code == OpCode::CreateTtl {
        let ttl =
            r.weighted(&[(10, 3_600_000), (1, 0), (1, -5), (1, -1), (1, 1 << 40), (1, (1 << 40) - 1), (1, i64::MAX)]);
        body.push(Field::Long(if ttl < 0 && !matches!(flags, 5 | 6) { 5 } else { ttl }));
    }
    body
}

/// Does it make a container with an ephemeral's mode?
pub(super) fn is_ephemeral_container(op: &Op) -> bool {
    let is_one = |code: i32, body: &[Field]| {
        code == OpCode::CreateContainer.to_wire() && body.iter().any(|field| matches!(field, Field::Int(1 | 3)))
    };
    is_one(op.op, &op.body)
        || op.body.iter().any(|field| matches!(field, Field::Sub(code, body) if is_one(*code, body)))
}

fn delete(r: &mut Random) -> Op {
    Op::new(OpCode::Delete, vec![path_field(values::write_path(r)), Field::Int(values::version(r))])
}

fn set_data(r: &mut Random) -> Op {
    let body = vec![path_field(values::write_path(r)), Field::Data(values::data(r)), Field::Int(values::version(r))];
    Op::new(OpCode::SetData, body)
}

fn read(r: &mut Random) -> Op {
    let code = r.pick(&[OpCode::Exists, OpCode::GetData, OpCode::GetChildren, OpCode::GetChildren2]);
    let watch = if r.chance(2) { Field::Raw(vec![2]) } else { Field::Bool(r.chance(50)) };
    Op::new(code, vec![path_field(values::path(r)), watch])
}

fn acl(r: &mut Random) -> Op {
    if r.chance(50) {
        return Op::new(OpCode::GetAcl, vec![path_field(values::path(r))]);
    }
    // The root stays open: else most of what follows would only be NoAuth.
    let path = values::write_path(r).map(|path| if path == "~" { "~/a".to_owned() } else { path });
    Op::new(OpCode::SetAcl, vec![path_field(path), Field::Acl(values::acl(r)), Field::Int(values::version(r))])
}

fn multi(r: &mut Random) -> Op {
    if r.chance(1) {
        let alone = Field::Sub(OpCode::Delete.to_wire(), vec![path_field(None), Field::Int(-1)]);
        return Op::new(OpCode::Multi, vec![alone, Field::End]);
    }
    let count = r.weighted(&[(1, 0), (4, 1), (6, 2), (6, 3), (3, 5), (1, 9)]);
    // Of operations as they come most fail, so that few multis would get past their second.
    let good = if r.chance(40) { r.below(count + 1) } else { 0 };
    let mut body: Vec<Field> = (0..good).map(|_| good_sub_operation(r)).collect();
    body.extend((good..count).map(|_| sub_operation(r)));
    body.iter_mut().skip(1).for_each(without_null_identities);
    body.push(Field::End);
    Op::new(OpCode::Multi, body)
}

/// ZooKeeper trips over a null in an ACL while it prepares the multi and forgets to take back the operations before it: whether requests
/// behind it meet what those would have done is a matter of timing.
fn without_null_identities(operation: &mut Field) {
    let Field::Sub(_, body) = operation else { return };
    for field in body {
        match field {
            Field::Acl(Some(entries)) if entries.iter().any(|entry| entry.1.is_none() || entry.2.is_none()) => {
                *field = Field::Acl(values::open_acl());
            }
            _ => {}
        }
    }
}

/// One that succeeds: the root is there, and open.
fn good_sub_operation(r: &mut Random) -> Field {
    let root = || path_field(Some("~".to_owned()));
    let op = match r.below(4) {
        0 => Op::new(OpCode::Check, vec![root(), Field::Int(-1)]),
        1 => Op::new(OpCode::SetData, vec![root(), Field::Data(values::data(r)), Field::Int(-1)]),
        2 => create_of(OpCode::Create, Some("~/m".to_owned()), values::open_acl(), 3),
        _ => create_of(OpCode::Create2, Some("~/m".to_owned()), values::open_acl(), 2),
    };
    Field::Sub(op.op, op.body)
}

/// Without null paths: with one among others it is the order of ZooKeeper's own accidents that decides.
fn sub_operation(r: &mut Random) -> Field {
    let op = match r.below(100) {
        0..=39 => create(r),
        40..=54 => delete(r),
        55..=79 => set_data(r),
        80..=96 => Op::new(OpCode::Check, vec![path_field(values::write_path(r)), Field::Int(values::version(r))]),
        97 => acl(r),
        98 => read(r),
        _ => Op { op: 77, ..delete(r) },
    };
    Field::Sub(op.op, without_null_paths(op.body))
}

fn without_null_paths(mut body: Vec<Field>) -> Vec<Field> {
    for field in &mut body {
        if *field == Field::Path(None) {
            *field = Field::Path(Some("~/b".to_owned()));
        }
    }
    body
}

fn multi_read(r: &mut Random) -> Op {
    let count = r.weighted(&[(1, 0), (4, 1), (6, 3), (2, 6)]);
    let mut body: Vec<Field> = (0..count)
        .map(|_| {
            let code = r.weighted(&[
                (10, OpCode::GetData),
                (10, OpCode::GetChildren),
                (1, OpCode::Exists),
                (1, OpCode::Check),
            ]);
            let body = vec![path_field(values::path(r)), Field::Bool(r.chance(20))];
            Field::Sub(code.to_wire(), without_null_paths(body))
        })
        .collect();
    body.push(Field::End);
    Op::new(OpCode::MultiRead, body)
}

fn watch(r: &mut Random) -> Op {
    let path = path_field(values::path(r).or_else(|| Some("~".to_owned())));
    match r.below(10) {
        0..=4 => {
            let mode = r.weighted(&[(10, 0), (10, 1), (1, 2), (1, -1), (1, i32::MAX)]);
            Op::new(OpCode::AddWatch, vec![path, Field::Int(mode)])
        }
        number => {
            let code = if number < 8 { OpCode::RemoveWatches } else { OpCode::CheckWatches };
            let ty = r.weighted(&[(10, 1), (10, 2), (10, 3), (10, 4), (10, 5), (1, 0), (1, 6), (1, -1)]);
            Op::new(code, vec![path, Field::Int(ty)])
        }
    }
}

/// A watch of some kind, and its removal, mostly by its own type.
pub(super) fn watch_and_removal(r: &mut Random) -> [Op; 2] {
    let path = path_field(Some(values::good_path(r)));
    let flag = Field::Bool(true);
    let (watch, ty) = match r.below(5) {
        0 => (Op::new(OpCode::GetChildren, vec![path.clone(), flag]), 1),
        1 => (Op::new(OpCode::GetData, vec![path.clone(), flag]), 2),
        2 => (Op::new(OpCode::Exists, vec![path.clone(), flag]), 2),
        3 => (Op::new(OpCode::AddWatch, vec![path.clone(), Field::Int(0)]), 4),
        _ => (Op::new(OpCode::AddWatch, vec![path.clone(), Field::Int(1)]), 5),
    };
    let ty = r.weighted(&[(6, ty), (2, 3), (1, 1), (1, 2), (1, 4), (1, 5)]);
    let code = r.weighted(&[(3, OpCode::RemoveWatches), (1, OpCode::CheckWatches)]);
    [watch, Op::new(code, vec![path, Field::Int(ty)])]
}

/// What a connection says of itself before all else.
pub(super) fn identities(r: &mut Random) -> Vec<Op> {
    (0..r.below(4)).map(|_| auth(r.pick(values::USERS).0, "digest")).collect()
}

fn question(r: &mut Random) -> Op {
    match r.below(6) {
        0 => Op::new(OpCode::Sync, without_null_paths(vec![path_field(values::path(r))])),
        1 => Op { xid: r.chance(10).then_some(9), ..Op::new(OpCode::Ping, Vec::new()) },
        2 | 3 => Op::new(OpCode::GetEphemerals, vec![path_field(values::path(r))]),
        4 => Op::new(OpCode::GetAllChildrenNumber, vec![path_field(values::path(r).filter(|path| path != "/"))]),
        _ => Op::new(OpCode::WhoAmI, Vec::new()),
    }
}

/// Watches of a reconnected client.
pub(super) fn set_watches(r: &mut Random) -> Op {
    let second = r.chance(50);
    let relative = match r.below(8) {
        0 => ZxidRef::Zero,
        1 => ZxidRef::Ahead,
        2 => ZxidRef::Minus,
        _ => ZxidRef::Back(r.below(20)),
    };
    let mut body = vec![Field::Zxid(relative)];
    for _ in 0..if second { 5 } else { 3 } {
        let paths = (0..r.below(4)).map(|_| Some(values::path(r).unwrap_or_default())).collect();
        // A null list behind others is like a null path in one.
        body.push(Field::Paths(if body.len() == 1 && r.chance(4) { None } else { Some(paths) }));
    }
    let op = Op::new(if second { OpCode::SetWatches2 } else { OpCode::SetWatches }, body);
    Op { xid: r.chance(10).then_some(3), ..op }
}

/// What changes nothing, and takes no zxid, whether it is executed or not.
pub(super) fn harmless(r: &mut Random) -> Op {
    let op = if r.chance(70) { read(r) } else { question(r) };
    Op { xid: None, ..op }
}

fn reconfig(r: &mut Random) -> Op {
    let text = |r: &mut Random, text: &str| Field::Data(r.chance(50).then(|| text.to_owned()));
    let body = vec![
        text(r, "server.5=127.0.0.1:1:2;3"),
        text(r, "3"),
        text(r, "server.1=127.0.0.1:1:2;3"),
        Field::Long(r.weighted(&[(1, -1), (1, 0), (1, i64::MAX)])),
    ];
    Op::new(OpCode::Reconfig, body)
}

/// A record that is cut short, goes on too long, or has a length that cannot be.
fn malformed(r: &mut Random) -> Op {
    let mut op = match r.below(7) {
        0 => Op::new(OpCode::Create2, create_body(r, OpCode::Create2)),
        1 => delete(r),
        2 => set_data(r),
        3 => read(r),
        4 => acl(r),
        5 => multi(r),
        _ => watch(r),
    };
    let lengths: [&[u8]; 4] = [&[255, 255, 255, 254], &[127, 255, 255, 255], &[0, 0, 1, 0], &[128, 0, 0, 0]];
    match r.below(5) {
        0 | 1 => op.cut = 1 + r.below(12),
        2 => op.body.push(Field::Raw(vec![0, 1, 2])),
        3 => op.body = vec![Field::Raw(r.pick(&lengths).to_vec())],
        _ => {
            let place = r.below(op.body.len());
            if op.code() == Some(OpCode::Create2) && place == 3 {
                // A bad mode, so no null path: see `create_body`.
                op.body = without_null_paths(op.body);
            }
            op.body[place] = Field::Raw(r.pick(&lengths).to_vec());
        }
    }
    op
}

/// What a server answers at once, past what is under way, or by closing the connection.
pub(super) fn answered_at_once(r: &mut Random) -> Op {
    match r.below(20) {
        0..=11 => {
            let user = r.pick(values::USERS).0;
            auth(if r.chance(10) { "super:test" } else { user }, "digest")
        }
        12 => auth("no colon", "digest"),
        13 => auth("", r.pick(&["ip", "world", "nothing", ""])),
        14 => Op::new(OpCode::Auth, vec![Field::Int(7), Field::Data(None), Field::Data(None)]),
        15 => Op::new(OpCode::Sasl, vec![Field::Data(Some("token".to_owned()))]),
        16 => Op { op: r.weighted(&[(1, 999), (1, 10), (1, 23), (1, i32::MIN)]), ..Op::new(OpCode::Ping, Vec::new()) },
        17 => Op::new(r.pick(&[OpCode::Notification, OpCode::Error]), Vec::new()),
        18 => Op::new(OpCode::Auth, vec![Field::Int(0), Field::Data(Some("digest".to_owned())), Field::Data(None)]),
        _ => Op::new(OpCode::Check, vec![path_field(values::path(r)), Field::Int(-1)]),
    }
}

/// Whether it is an `auth` that every server takes.
pub(super) fn is_taken_auth(op: &Op) -> bool {
    let is_digest = |scheme: &Field| *scheme == Field::Data(Some("digest".to_owned()));
    op.code() == Some(OpCode::Auth) && matches!(&op.body[..], [_, scheme, Field::Data(Some(_))] if is_digest(scheme))
}

fn auth(token: &str, scheme: &str) -> Op {
    let body = vec![Field::Int(0), Field::Data(Some(scheme.to_owned())), Field::Data(Some(token.to_owned()))];
    Op::new(OpCode::Auth, body)
}
