//! The differences, one by one: what is looked at in an operation and in its two answers.

use crate::observe::{Item, Source, Value};
use crate::sequence::{Field, Op};
use proto::OpCode;

pub(super) fn event_without_zxid(_: Option<&Op>, item: &mut Item) -> bool {
    if item.source != Source::Event {
        return false;
    }
    let zxid = item.tokens.iter_mut().find(|token| token.name == "header-zxid" && token.value != Value::Zxid(-1));
    zxid.map(|token| token.value = Value::Zxid(-1)).is_some()
}

/// Fields of a Stat.
const STAT_FIELDS: usize = 11;

pub(super) fn create2_in_a_multi_as_create(op: Option<&Op>, item: &mut Item) -> bool {
    let Some(op) = op.filter(|op| op.code() == Some(OpCode::Multi)) else { return false };
    // The mode decides what a create in a multi is: here neither a container nor a TTL, which keep their Stat.
    let is_create2 = |number: usize| {
        let Some(Field::Sub(15, body)) = op.body.get(number) else { return false };
        matches!(body.as_slice(), [_, _, _, Field::Int(0..=3), ..])
    };
    let (mut kept, mut number, mut is_changed) = (Vec::new(), 0, false);
    let mut tokens = std::mem::take(&mut item.tokens).into_iter();
    while let Some(mut token) = tokens.next() {
        let is_result = token.name == "result-type";
        let is_one = is_result && is_create2(number) && token.value == Value::Int(15);
        number += usize::from(is_result);
        if !is_one {
            kept.push(token);
            continue;
        }
        is_changed = true;
        token.value = Value::Int(1);
        kept.push(token);
        // Its error and its path; the Stat behind them is left out.
        kept.extend(tokens.by_ref().take(2));
        tokens.by_ref().take(STAT_FIELDS).for_each(drop);
    }
    item.tokens = kept;
    is_changed
}

/// The type that removeWatches or checkWatches names.
pub(super) fn watch_type(op: &Op) -> Option<i32> {
    match (op.code(), op.body.get(1)) {
        (Some(OpCode::RemoveWatches | OpCode::CheckWatches), Some(Field::Int(ty))) => Some(*ty),
        _ => None,
    }
}

pub(super) fn has_ipv6(field: &Field) -> bool {
    match field {
        Field::Acl(Some(entries)) => entries.iter().any(|entry| {
            entry.1.as_deref() == Some("ip") && entry.2.as_deref().is_some_and(|address| address.contains(':'))
        }),
        Field::Sub(_, body) => body.iter().any(has_ipv6),
        _ => false,
    }
}

pub(super) const MARSHALLING: Option<i64> = Some(-5);
pub(super) const NO_AUTH: Option<i64> = Some(-102);
pub(super) const NO_WATCHER: Option<i64> = Some(-121);

/// The errors in the headers of two replies.
pub(super) fn errors(ours: &Item, theirs: &Item) -> (Option<i64>, Option<i64>) {
    let error = |item: &Item| match item.value("err") {
        Some(Value::Int(err)) => Some(*err),
        _ => None,
    };
    (error(ours), error(theirs))
}

/// Has the multi failed, so that nothing was done?
pub(super) fn has_failed_operation(item: &Item) -> bool {
    item.tokens.iter().any(|token| token.name == "result-error" && token.value != Value::Int(0))
}

pub(super) fn is_container_of_another_mode(field: &Field) -> bool {
    let Field::Sub(op, body) = field else { return false };
    let is_container = OpCode::from_wire(*op) == Some(OpCode::CreateContainer);
    is_container && matches!(body.as_slice(), [_, _, _, Field::Int(0..=3), ..])
}

/// A create in a multi that is of no kind: a mode that there is not or that does not go with the opcode, or no ACL.
pub(super) fn is_create_of_no_kind(field: &Field) -> bool {
    let Field::Sub(op, body) = field else { return false };
    let Some(code @ (OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl)) =
        OpCode::from_wire(*op)
    else {
        return false;
    };
    match body.as_slice() {
        [_, _, Field::Acl(None), ..] => true,
        [_, _, _, Field::Int(flags), ..] if code == OpCode::CreateTtl => !matches!(flags, 5 | 6),
        [_, _, _, Field::Int(flags), ..] => !matches!(flags, 0..=4),
        _ => false,
    }
}
