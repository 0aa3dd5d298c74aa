//! Quotas: nodes below `/zookeeper/quota` that clients write as ordinary ones, and that the server acts upon.

use super::operations::path_field;
use super::values;
use crate::random::Random;
use crate::sequence::{Field, Op};
use proto::OpCode;

/// Limits as `zkCli.sh setquota` writes them, of old and of new versions, and some that are none.
const LIMITS: &[&str] = &[
    "count=3,bytes=20",
    "count=8,bytes=-1",
    "count=-1,bytes=-1",
    "count=-1,bytes=-1;byteHardLimit=60;countHardLimit=-1",
    "count=2,bytes=100;byteHardLimit=50;countHardLimit=6",
    "count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=4",
    "count=0,bytes=0",
];

const TOPS: &[&str] = &["~", "~/a", "~/b", "~/a/b"];

/// Quotas to begin with, made as `setquota` makes them.
pub(super) fn some_quotas(r: &mut Random) -> Vec<Op> {
    let mut ops = vec![create("/zookeeper/quota~".to_owned(), "")];
    for top in ["~/a", "~/b", "~/a/b"] {
        ops.push(create(format!("/zookeeper/quota{top}"), ""));
    }
    for _ in 0..=r.below(2) {
        let top = r.pick(TOPS);
        ops.push(create(format!("/zookeeper/quota{top}/zookeeper_limits"), r.pick(LIMITS)));
        ops.push(create(format!("/zookeeper/quota{top}/zookeeper_stats"), "count=0,bytes=0"));
    }
    ops
}

/// Looks at quotas, and changes of them.
pub(super) fn operations(r: &mut Random) -> Vec<Op> {
    (0..=r.below(4)).map(|_| operation(r)).collect()
}

fn operation(r: &mut Random) -> Op {
    let top = r.pick(TOPS);
    let limits = format!("/zookeeper/quota{top}/zookeeper_limits");
    let stats = format!("/zookeeper/quota{top}/zookeeper_stats");
    match r.below(12) {
        0..=4 => Op::new(OpCode::GetData, vec![path_field(Some(stats)), Field::Bool(r.chance(30))]),
        5 => Op::new(OpCode::GetData, vec![path_field(Some(limits)), Field::Bool(r.chance(30))]),
        6 => set(limits, r.pick(LIMITS)),
        7 => set(stats, r.pick(LIMITS)),
        8 => create(limits, r.pick(LIMITS)),
        9 => create(stats, "count=0,bytes=0"),
        10 => {
            Op::new(OpCode::Delete, vec![path_field(Some(if r.chance(60) { limits } else { stats })), Field::Int(-1)])
        }
        _ => Op::new(OpCode::GetChildren, vec![path_field(Some(format!("/zookeeper/quota{top}"))), Field::Bool(false)]),
    }
}

fn create(path: String, data: &str) -> Op {
    let data = Field::Data(Some(data.to_owned()));
    Op::new(OpCode::Create, vec![path_field(Some(path)), data, Field::Acl(values::open_acl()), Field::Int(0)])
}

fn set(path: String, data: &str) -> Op {
    Op::new(OpCode::SetData, vec![path_field(Some(path)), Field::Data(Some(data.to_owned())), Field::Int(-1)])
}
