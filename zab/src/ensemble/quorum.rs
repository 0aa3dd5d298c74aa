//! Which sets of voters are a quorum.
//!
//! Owns the two rules, majority and hierarchical, computed once from an ensemble's data into a form that costs no allocation to ask. It must never
//! count a server that does not vote, nor one twice. Both rules are monotone, and any two quorums share a voter: the
//! tests here and in `tests/ensemble.rs` try all subsets, beside a naive version and Java's own answers. Mirrors `QuorumMaj` and
//! `QuorumHierarchical.containsQuorum` of 3.9.5.

use std::collections::BTreeMap;

use proto::ServerId;

use super::{GroupId, Hierarchy, SERVERS_MAX};

/// The voters of an ensemble and their rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Quorums {
    /// Ascending; a voter's place here is its bit in a [`VoterSet`].
    voters: Vec<ServerId>,
    rule: Rule,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Rule {
    /// More than half of the voters.
    #[default]
    Majority,
    /// More than half of the groups, each with more than half of its weight. Groups without weight are not among them.
    Hierarchical(Vec<Group>),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Group {
    /// Of all that the group lists, voters or not.
    weight: u64,
    /// The voters' places and weights.
    voters: Vec<(usize, u64)>,
}

impl Quorums {
    /// `voters` in ascending order.
    pub(super) fn new(voters: Vec<ServerId>, hierarchy: Option<&Hierarchy>) -> Quorums {
        assert!(voters.len() <= SERVERS_MAX, "{} voters", voters.len());
        let rule = hierarchy.map_or(Rule::Majority, |hierarchy| Rule::Hierarchical(groups(&voters, hierarchy)));
        Quorums { voters, rule }
    }

    pub(super) fn voters(&self) -> impl Iterator<Item = ServerId> + '_ {
        self.voters.iter().copied()
    }

    pub(super) fn is_voter(&self, id: ServerId) -> bool {
        self.place(id).is_some()
    }

    /// Whether these servers are a quorum; those that do not vote do not count, one that comes twice counts once.
    pub(super) fn is_quorum(&self, servers: impl Iterator<Item = ServerId>) -> bool {
        self.holds(&servers.filter_map(|id| self.place(id)).collect())
    }

    /// The greatest value that a quorum has reached.
    pub(super) fn reached<T: Copy + Ord>(&self, positions: &[(ServerId, T)]) -> Option<T> {
        let mut few = [*positions.first()?; FEW];
        let mut many = Vec::new();
        let newest_first = if let Some(few) = few.get_mut(..positions.len()) {
            few.copy_from_slice(positions);
            few
        } else {
            many.extend_from_slice(positions);
            &mut many
        };
        newest_first.sort_unstable_by(|(_, a), (_, b)| b.cmp(a));
        // The servers that have reached a position are the first so many, and with each more of them a quorum stays one.
        let (mut without, mut with) = (0, newest_first.len() + 1);
        while with - without > 1 {
            let count = without.midpoint(with);
            let first = newest_first.iter().take(count).map(|(id, _)| *id);
            *(if self.is_quorum(first) { &mut with } else { &mut without }) = count;
        }
        newest_first.get(with - 1).map(|(_, position)| *position)
    }

    fn place(&self, id: ServerId) -> Option<usize> {
        self.voters.binary_search(&id).ok()
    }

    fn holds(&self, set: &VoterSet) -> bool {
        match &self.rule {
            Rule::Majority => 2 * set.len() > self.voters.len(),
            Rule::Hierarchical(groups) => {
                let won = groups.iter().filter(|group| 2 * group.weight_in(set) > group.weight).count();
                2 * won > groups.len()
            }
        }
    }
}

/// So many positions are sorted without an allocation.
const FEW: usize = 8;

impl Group {
    fn weight_in(&self, set: &VoterSet) -> u64 {
        self.voters.iter().filter(|(place, _)| set.has(*place)).map(|(_, weight)| weight).sum()
    }
}

fn groups(voters: &[ServerId], hierarchy: &Hierarchy) -> Vec<Group> {
    let mut groups: BTreeMap<GroupId, Group> = BTreeMap::new();
    for (server, id) in &hierarchy.groups {
        let group = groups.entry(*id).or_default();
        let weight = hierarchy.weight(*server);
        group.weight += weight;
        group.voters.extend(voters.binary_search(server).ok().map(|place| (place, weight)));
    }
    groups.into_values().filter(|group| group.weight > 0).collect()
}

/// A set of voters, a bit for each place.
#[derive(Debug, Default)]
struct VoterSet([u64; SERVERS_MAX.div_ceil(64)]);

impl VoterSet {
    fn has(&self, place: usize) -> bool {
        self.0.get(place / 64).is_some_and(|word| word >> (place % 64) & 1 == 1)
    }

    fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }
}

impl FromIterator<usize> for VoterSet {
    fn from_iter<I: IntoIterator<Item = usize>>(places: I) -> VoterSet {
        let mut set = VoterSet::default();
        for place in places {
            let word = set.0.get_mut(place / 64);
            *word.expect("a voter's place is less than SERVERS_MAX") |= 1 << (place % 64);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voters(count: i64) -> Vec<ServerId> {
        (1..=count).map(ServerId).collect()
    }

    #[test]
    fn a_majority_is_more_than_half() {
        for (count, least) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (255, 128)] {
            let quorums = Quorums::new(voters(count), None);
            assert!(quorums.is_quorum((1..=least).map(ServerId)), "{least} of {count}");
            assert!(!quorums.is_quorum((2..=least).map(ServerId)), "{least} of {count} less one");
        }
        assert!(!Quorums::default().is_quorum([ServerId(1)].into_iter()), "nobody votes");
    }

    #[test]
    fn who_does_not_vote_or_comes_twice_is_not_counted() {
        let quorums = Quorums::new(voters(3), None);
        assert!(!quorums.is_quorum([1, 1, 1, 4, 5].map(ServerId).into_iter()));
        assert_eq!(quorums.reached(&[(ServerId(1), 9), (ServerId(1), 8), (ServerId(7), 9), (ServerId(2), 3)]), Some(3));
    }

    #[test]
    fn reached_is_what_a_quorum_has() {
        let quorums = Quorums::new(voters(5), None);
        let at = |positions: &[u64]| {
            let of_servers: Vec<_> = voters(5).into_iter().zip(positions.iter().copied()).collect();
            quorums.reached(&of_servers)
        };
        assert_eq!(at(&[]), None);
        assert_eq!(at(&[7, 9]), None);
        assert_eq!(at(&[7, 9, 8]), Some(7));
        assert_eq!(at(&[7, 9, 8, 8, 1]), Some(8));
        let all = Quorums::new(voters(255), None);
        let many: Vec<_> = voters(255).into_iter().map(|id| (id, id.0)).collect();
        assert_eq!(all.reached(&many), Some(128), "more than fit on the stack");
    }
}
