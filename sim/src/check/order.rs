//! Law 4: replies of one connection leave in request order.

use super::{Checked, Violation};
use crate::history::{At, ClientId, Event, History, Xid};
use std::collections::{BTreeMap, VecDeque};

/// The name of [`replies_come_in_order`].
pub const REPLIES: &str = "order::replies_come_in_order";

/// A connection's replies come in the order of its requests, one to each, and to none on another connection.
///
/// # Errors
/// The reply, and the request that should have been answered before.
pub fn replies_come_in_order(history: &History) -> Checked {
    let mut waiting: BTreeMap<ClientId, VecDeque<(At, Xid)>> = BTreeMap::new();
    for (at, event) in history.events() {
        match event {
            Event::Ask { client, xid, .. } => waiting.entry(*client).or_default().push_back((at, *xid)),
            Event::Connected { client, .. } | Event::Lost { client } | Event::Expired { client, .. } => {
                waiting.remove(client);
            }
            Event::Reply { client, xid, .. } => match waiting.get_mut(client).and_then(VecDeque::pop_front) {
                Some((_, first)) if first == *xid => {}
                Some((asked, first)) => {
                    let message = format!(
                        "client {} has the reply to {} while the one to {}, asked before, is due",
                        client.0, xid.0, first.0
                    );
                    return Err(Violation::new(REPLIES, message, &[asked, at]));
                }
                None => {
                    let message =
                        format!("client {} has a reply to {}, and waits for none on this connection", client.0, xid.0);
                    return Err(Violation::new(REPLIES, message, &[at]));
                }
            },
            _ => {}
        }
    }
    Ok(())
}
