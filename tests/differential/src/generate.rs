//! Makes a sequence from a seed.
//!
//! The names are few, so that operations meet; most arguments are good ones, and each kind of bad one comes up every few dozen operations.
//! It must never make what [`crate::deliberate`] names, nor what ZooKeeper itself answers in no fixed order: `auth`, `sasl` and unknown
//! opcodes are answered past the requests before them, so they stand alone or first; and what others would see of `/` is left alone.

mod operations;
mod quotas;
mod values;

use crate::deliberate;
use crate::random::Random;
use crate::sequence::{Field, Op, Sequence, Step, ZxidRef};
use operations::operation;
use proto::OpCode;

/// Connections of a sequence.
pub const CONNECTIONS: usize = 4;
/// Steps of a sequence, without those that open its connections.
pub const STEPS: usize = 80;
/// Operations of a burst at most, mostly.
pub const BURST_MAX: usize = 12;
/// Operations of the longest bursts.
pub const LONG_BURST_MAX: usize = 100;

/// What else comes up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Quota nodes, and what they do to writes below them.
    pub quotas: bool,
    /// For a server of an ensemble: nothing of its configuration, which one that is alone does not have, and no records that cannot be read: a Java server that hands
    /// one on to its leader loses the link, and the connection has no answer.
    pub ensemble: bool,
}

/// The sequence of a seed.
#[must_use]
pub fn sequence(seed: u64, options: Options) -> Sequence {
    let mut random = Random::new(seed);
    let r = &mut random;
    let mut steps: Vec<Step> = (0..CONNECTIONS).map(|conn| open(r, conn)).collect();
    for conn in 0..CONNECTIONS {
        steps.extend(operations::identities(r).into_iter().map(|op| Step::Burst { conn, ops: vec![op] }));
    }
    steps.push(Step::Burst { conn: 0, ops: operations::some_nodes() });
    if options.quotas {
        steps.push(Step::Burst { conn: 0, ops: quotas::some_quotas(r) });
    }
    for _ in 0..STEPS {
        let conn = r.below(CONNECTIONS);
        if options.quotas && r.chance(15) {
            steps.push(Step::Burst { conn, ops: quotas::operations(r) });
        }
        match r.weighted(&[(86, 0), (4, 1), (2, 2), (3, 3), (1, 4), (1, 5), (1, 6), (3, 7)]) {
            0 => steps.push(burst(r, conn)),
            1 => steps.extend([
                Step::Drop { conn },
                burst(r, (conn + 1) % CONNECTIONS),
                reopen(r, conn),
                catch_up(r, conn),
            ]),
            2 => steps.extend([reopen(r, conn), catch_up(r, conn)]),
            3 => steps.extend([last_burst(r, conn), reopen_or_open(r, conn)]),
            4 => steps.extend([Step::WrongPassword { conn }, reopen(r, conn)]),
            5 => {
                steps.extend([Step::Bytes { conn, bytes: values::broken_frame(r) }, reopen(r, conn), catch_up(r, conn)])
            }
            6 => steps.push(Step::Probe { bytes: values::odd_handshake(r) }),
            _ => steps.extend([alone(r, conn), reopen_or_open(r, conn), catch_up(r, conn)]),
        }
    }
    if options.quotas {
        // A limit is compared with the totals of what is applied, so what passes in a burst is a matter of timing, there as here.
        steps = steps.into_iter().flat_map(one_by_one).collect();
    }
    if options.ensemble {
        steps.iter_mut().for_each(without_what_is_an_ensembles);
    }
    for step in &steps {
        if let Step::Burst { ops, .. } = step {
            assert!(ops.iter().all(|op| deliberate::refused(op).is_none()), "{step}");
        }
    }
    Sequence { steps }
}

fn without_what_is_an_ensembles(step: &mut Step) {
    if let Step::Burst { ops, .. } = step {
        let is_left_out = |field: &Field| matches!(field, Field::Raw(_)) || format!("{field:?}").contains(CONFIG);
        ops.retain(|op| op.cut == 0 && op.code() != Some(OpCode::Reconfig) && !op.body.iter().any(is_left_out));
    }
}

const CONFIG: &str = "/zookeeper/config";

fn one_by_one(step: Step) -> Vec<Step> {
    match step {
        Step::Burst { conn, ops } => ops.into_iter().map(|op| Step::Burst { conn, ops: vec![op] }).collect(),
        step => vec![step],
    }
}

fn open(r: &mut Random, conn: usize) -> Step {
    let timeout_ms = r.weighted(&[(8, 30_000), (1, i32::MAX), (1, 40_001)]);
    Step::Open { conn, timeout_ms, read_only: r.weighted(&[(8, Some(false)), (1, Some(true)), (1, None)]) }
}

fn reopen(r: &mut Random, conn: usize) -> Step {
    let last_zxid = r.weighted(&[(6, ZxidRef::Back(0)), (2, ZxidRef::Zero), (1, ZxidRef::Minus), (1, ZxidRef::Ahead)]);
    Step::Reopen { conn, last_zxid }
}

fn reopen_or_open(r: &mut Random, conn: usize) -> Step {
    if r.chance(50) { reopen(r, conn) } else { open(r, conn) }
}

/// What a client does after a reconnect.
fn catch_up(r: &mut Random, conn: usize) -> Step {
    let mut ops = vec![operations::set_watches(r)];
    let count = r.below(4);
    add_operations(r, count, &mut ops);
    Step::Burst { conn, ops }
}

fn burst(r: &mut Random, conn: usize) -> Step {
    let max = if r.chance(4) { LONG_BURST_MAX } else { BURST_MAX };
    let count = 1 + r.below(max);
    let mut ops = Vec::new();
    add_operations(r, count, &mut ops);
    Step::Burst { conn, ops }
}

/// Writes behind a setACL are checked in ZooKeeper against the old ACL or the new one, by chance: so only reads follow.
fn add_operations(r: &mut Random, count: usize, ops: &mut Vec<Op>) {
    for _ in 0..count {
        if r.chance(2) {
            ops.extend(operations::watch_and_removal(r));
        }
        let after_acl = ops.iter().any(|op| op.code() == Some(OpCode::SetAcl));
        ops.push(if after_acl { operations::harmless(r) } else { operation(r) });
    }
}

/// A burst with a close of the session in it: what stands behind that is not executed. A container that was asked for with an ephemeral's mode
/// goes with the session in ZooKeeper as long as its create is on its way, and stays afterwards: so it does not come up here.
fn last_burst(r: &mut Random, conn: usize) -> Step {
    let mut ops = Vec::new();
    let count = r.below(BURST_MAX);
    add_operations(r, count, &mut ops);
    let extra = if r.chance(20) { vec![Field::Raw(vec![1, 2, 3])] } else { Vec::new() };
    ops.retain(|op| !operations::is_ephemeral_container(op));
    ops.push(Op::new(OpCode::CloseSession, extra));
    // Writes would take a zxid in ZooKeeper as long as it has not yet closed the connection.
    ops.extend((0..r.below(4)).map(|_| operations::harmless(r)));
    Step::Burst { conn, ops }
}

/// What is answered past others, or closes the connection. Behind an `auth` that is turned away ZooKeeper mostly reads nothing more; but where
/// the request before it is still being finished, that end lets the connection be read once more, and one or two are executed.
fn alone(r: &mut Random, conn: usize) -> Step {
    let mut ops = vec![operations::answered_at_once(r)];
    if operations::is_taken_auth(&ops[0]) {
        let count = r.below(BURST_MAX);
        add_operations(r, count, &mut ops);
    }
    Step::Burst { conn, ops }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn opcodes(sequences: u64) -> BTreeSet<i32> {
        let steps = (0..sequences)
            .flat_map(|seed| sequence(seed, Options { quotas: seed % 2 == 0, ensemble: seed % 3 == 0 }).steps);
        steps
            .filter_map(|step| if let Step::Burst { ops, .. } = step { Some(ops) } else { None })
            .flatten()
            .map(|op| op.op)
            .collect()
    }

    #[test]
    fn every_opcode_that_may_be_sent_is_sent() {
        let sent = opcodes(400);
        for code in OpCode::ALL {
            let refused = deliberate::refused(&Op::new(*code, Vec::new()));
            assert_eq!(sent.contains(&code.to_wire()), refused.is_none(), "{code:?}");
        }
        assert!(sent.contains(&999));
    }

    #[test]
    fn nothing_stands_behind_an_auth_that_is_turned_away() {
        let bursts = (0..400).flat_map(|seed| sequence(seed, Options::default()).steps);
        let (mut taken, mut turned_away) = (0, 0);
        for step in bursts {
            let Step::Burst { ops, .. } = &step else { continue };
            for (number, op) in ops.iter().enumerate().filter(|(_, op)| op.code() == Some(OpCode::Auth)) {
                let is_last = number + 1 == ops.len();
                let is_digest = op.body.contains(&Field::Data(Some("digest".to_owned())));
                match is_digest && !op.body.contains(&Field::Data(None)) {
                    true => taken += usize::from(!is_last),
                    false => {
                        turned_away += 1;
                        assert!(is_last, "{step}");
                    }
                }
            }
        }
        assert!(taken > 0 && turned_away > 0, "{taken} and {turned_away}");
    }

    #[test]
    fn a_seed_names_its_sequence() {
        let of = |seed| sequence(seed, Options::default());
        assert_eq!(of(5), of(5));
        assert_ne!(of(5), of(6));
        assert_ne!(of(5), sequence(5, Options { quotas: true, ensemble: false }));
        assert_eq!(Sequence::from_text(&of(5).to_text()), Ok(of(5)));
    }
}
