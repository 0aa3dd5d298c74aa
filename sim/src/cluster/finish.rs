//! The end of a run: when all is well again, what every server has, and the report.

use super::{Cluster, Report};
use crate::check::{self, Violation};
use crate::clients::Client;
use crate::history::{Event, FinalNode, SessionId, Zxid};
use engine::tree::Tree;

impl Cluster {
    /// Have all servers and clients what they are to have, and is nothing on its way?
    pub(super) fn is_settled(&self) -> bool {
        self.clients.iter().all(Client::is_content) && self.unsettled().is_none()
    }

    /// What of the servers is not as it is to be in the end.
    pub(super) fn unsettled(&self) -> Option<String> {
        let (mut leaders, mut first) = (0, None);
        for (number, machine) in self.machines.iter().enumerate() {
            let Some(process) = &machine.process else { return Some(format!("server {number} is down")) };
            if machine.member.is_some() && !process.is_serving() {
                return Some(format!("server {number} does not serve"));
            }
            if !process.is_idle() {
                return Some(format!("server {number} has things on their way: {}", process.on_their_way()));
            }
            leaders += usize::from(process.leads());
            let state = process.with_tree(|tree| (tree.last_zxid(), tree.digest()));
            let (other, state_of) = *first.get_or_insert((number, state));
            if state != state_of {
                return Some(format!("server {number} is at {}, and {other} at {}", state.0, state_of.0));
            }
        }
        (leaders != 1).then(|| format!("{leaders} servers lead"))
    }

    pub(super) fn tell_final(&mut self) {
        for number in 0..self.machines.len() {
            let machine = self.at(number);
            let server = machine.id;
            let Some(process) = &machine.process else {
                self.wrong(format!("server {number} is down at the end"));
                continue;
            };
            let (zxid, nodes, sessions) = process.with_tree(final_state);
            self.tell(Event::Final { server, zxid, nodes, sessions: Some(sessions) });
        }
    }

    pub(super) fn report(self) -> Report {
        let replies = self.replies();
        let mut violations: Vec<Violation> =
            self.wrong.into_iter().map(|wrong| Violation::new("cluster", wrong, &[])).collect();
        violations.extend(check::check(&self.history));
        Report {
            violations,
            trace_hash: self.trace.hash(),
            steps: self.trace.count(),
            trace: self.trace.lines().to_vec(),
            time: self.now,
            replies,
            starts: self.machines.iter().map(|machine| machine.life).sum(),
            leaders: u64::try_from(self.leaders.len()).unwrap_or(0),
            history: self.history,
        }
    }
}

/// A tree in a history's words, without `/zookeeper`.
pub(super) fn final_state(tree: &Tree) -> (Zxid, Vec<FinalNode>, Vec<SessionId>) {
    let is_ours = |path: &str| path != "/" && path != "/zookeeper" && !path.starts_with("/zookeeper/");
    let mut nodes: Vec<FinalNode> = tree
        .subtree("/")
        .filter(|node| is_ours(node.path()))
        .map(|node| FinalNode {
            path: node.path().to_owned(),
            data: String::from_utf8_lossy(&node.data().unwrap_or_default()).into_owned(),
            stat: (&node.stat()).into(),
        })
        .collect();
    nodes.sort_by(|one, other| one.path.cmp(&other.path));
    let mut sessions: Vec<SessionId> = tree.sessions().map(|(session, _)| SessionId(session.0)).collect();
    sessions.sort_unstable();
    (Zxid(tree.last_zxid().0), nodes, sessions)
}
