//! A multi: all of its operations in one txn, or none.
//!
//! Owns the undoing of what its first operations have done where a later one fails, and the bounds of what one multi may hold. It must never
//! leave a trace of a failed one. `engine/tests/edges.rs::a_failed_multi_leaves_no_trace` would catch a mistake.
//!
//! A create2 in it is written as a create, as ZooKeeper 3.8.0 does; 3.9.5 writes create2. ZooKeeper 3.8.0 and 3.8.1 cannot apply that, and go on with a part of the multi in
//! their trees (ZOOKEEPER-4026). Nobody tells a learner's version, and one may join later, when the txn is long in the log. Nothing but the result depends
//! on it: whoever answers knows the request ([`crate::apply::Create2s`]). `engine/tests/multis.rs` would catch a mistake.

use super::{Origin, Prep};
use crate::auth;
use crate::excess::Excess;
use crate::quota;
use crate::tree::Tree;
use proto::jute::{Reader, Writer};
use proto::request::{MultiOp, MultiRequest};
use proto::txn::Txn;
use proto::{ErrorCode, OpCode};

impl Prep {
    /// All operations or none. A failed one leaves its code, 0 before it and RuntimeInconsistency after it; the txn's type stays multi.
    pub(super) fn multi(
        &mut self,
        tree: &Tree,
        origin: &Origin<'_>,
        multi: &MultiRequest<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), ErrorCode> {
        assert!(self.undo.is_empty(), "no multi is under way");
        let (digest, order_len) = (self.digest, self.order.len());
        // Each operation's record is encoded at once: the next one may reuse the scratch space.
        let mut records: Vec<(OpCode, Vec<u8>)> = Vec::with_capacity(multi.ops.len());
        let mut failed = None;
        let (mut acl_bytes, mut quotas_begun) = (0, 0);
        for op in &multi.ops {
            let mut scratch = Vec::new();
            let txn = match op {
                MultiOp::Create(op, create) => self.create(tree, origin, *op, create, &mut scratch),
                MultiOp::Delete(delete) => self.delete(tree, origin, delete),
                MultiOp::SetData(set) => self.set_data(tree, origin, set),
                MultiOp::Check(check) => self.check(tree, origin, check),
                // Java trips over reads in a multi and calls the whole request malformed.
                MultiOp::GetData(_) | MultiOp::GetChildren(_) => {
                    self.roll_back(digest, order_len);
                    return self.finish(origin, Err(ErrorCode::MarshallingError), out);
                }
            };
            if let Ok(Txn::Create(create)) = &txn {
                acl_bytes += create.acl.raw().len();
                quotas_begun += usize::from(quota::subject_of(create.path, quota::STATS).is_some());
            }
            match txn {
                // Each is bounded, but there may be thousands, all with the caller's identities put in.
                Ok(_) if acl_bytes > auth::ACL_BYTES_MAX => {
                    self.excesses.note(Excess::Acl, origin.session, origin.ids);
                    failed = Some(ErrorCode::InvalidAcl);
                    break;
                }
                // Each counts a subtree while everybody waits.
                Ok(_) if quotas_begun > QUOTAS_BEGUN_MAX => {
                    self.excesses.note(Excess::QuotasBegun, origin.session, origin.ids);
                    failed = Some(ErrorCode::BadArguments);
                    break;
                }
                Ok(txn) => {
                    let mut bytes = Vec::new();
                    txn.write(&mut Writer::new(&mut bytes));
                    records.push((op_in_txn(txn.op()), bytes));
                }
                // What Java trips over while it prepares one operation (an ACL's null id) spoils the whole request.
                Err(code @ ErrorCode::MarshallingError) => {
                    self.roll_back(digest, order_len);
                    return self.finish(origin, Err(code), out);
                }
                Err(code) => {
                    failed = Some(code);
                    break;
                }
            }
        }
        if let Some(code) = failed {
            self.roll_back(digest, order_len);
            self.emit(origin, Txn::Multi(error_vector(records.len(), multi.ops.len(), code)), out);
            return Ok(());
        }
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes);
        writer.length(records.len());
        for (op, record) in &records {
            writer.int(op.to_wire());
            writer.buffer(Some(record));
        }
        let txn = Txn::read(OpCode::Multi, &mut Reader::new(&bytes)).expect("written just above");
        self.emit(origin, txn, out);
        Ok(())
    }
}

/// The type by which an operation's record stands in the txn.
const fn op_in_txn(op: OpCode) -> OpCode {
    match op {
        // The records are alike.
        OpCode::Create2 => OpCode::Create,
        op => op,
    }
}

fn error_vector(before: usize, total: usize, code: ErrorCode) -> Vec<Txn<'static>> {
    let ok = std::iter::repeat_n(ErrorCode::Ok, before);
    let after = std::iter::repeat_n(ErrorCode::RuntimeInconsistency, total.saturating_sub(before + 1));
    ok.chain([code]).chain(after).map(|code| Txn::Error(code.to_wire())).collect()
}

/// Quotas that may begin in one multi.
const QUOTAS_BEGUN_MAX: usize = 4;
