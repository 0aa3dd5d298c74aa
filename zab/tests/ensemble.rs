//! An ensemble's text and quorums: as Java has them, and what must hold for any.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use proto::{ConfigVersion, ServerId};
use ringkeeper_zab::ensemble::{
    Draft, Ensemble, EnsembleError, GroupId, LineError, Member, MemberError, SERVERS_MAX, TEXT_BYTES_MAX,
};

/// One question to the real classes and their answer; see `tests/reference/EnsembleTexts.java`.
#[derive(Debug, Default)]
struct Case {
    text: String,
    /// None where Java refuses it.
    printed: Option<String>,
    /// A digit for four sets of voters.
    quorums: Option<String>,
}

fn cases(file: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    for block in file.split("\n\n").filter(|block| block.starts_with("case")) {
        let with = |mark: &str| -> Vec<&str> { block.lines().filter_map(|line| line.strip_prefix(mark)).collect() };
        let printed = with("! ").is_empty().then(|| with("< ").join("\n"));
        let quorums = with("quorums ").first().and_then(|line| Some(line.split_once(' ')?.1.to_owned()));
        cases.push(Case { text: with("> ").join("\n"), printed, quorums });
    }
    cases
}

fn vectors() -> Vec<Case> {
    cases(include_str!("vectors/ensemble-3.9.5.txt"))
}

/// All sets of these servers; the lowest bit of a set's place is the first server.
fn subsets(servers: &[ServerId]) -> impl Iterator<Item = Vec<ServerId>> + '_ {
    (0_usize..1 << servers.len()).map(|set| {
        let is_in = |(bit, id): (usize, &ServerId)| (set >> bit & 1 == 1).then_some(*id);
        servers.iter().enumerate().filter_map(is_in).collect()
    })
}

fn table(ensemble: &Ensemble) -> String {
    let voters: Vec<_> = ensemble.voters().collect();
    let sets: Vec<bool> = subsets(&voters).map(|set| ensemble.is_quorum(set.into_iter())).collect();
    let digit = |four: &[bool]| four.iter().rev().fold(0, |digit, is| digit * 2 + u32::from(*is));
    sets.chunks(4).map(|four| char::from_digit(digit(four), 16).unwrap()).collect()
}

#[test]
fn texts_and_quorums_are_javas() {
    let cases = vectors();
    let (mut tables, mut refused) = (0, 0);
    for Case { text, printed, quorums } in &cases {
        match (Ensemble::parse(text), printed) {
            (Ok(ensemble), Some(printed)) => {
                assert_eq!(ensemble.to_text(), *printed, "of {text}");
                assert_eq!(Ensemble::parse(printed).unwrap(), ensemble);
                if let Some(quorums) = quorums {
                    assert_eq!(table(&ensemble), *quorums, "of {text}");
                    tables += 1;
                }
            }
            (Err(_), None) => refused += 1,
            (ours, javas) => panic!("{text}: Java says {javas:?}, we say {ours:?}"),
        }
    }
    assert!(
        tables > 25 && refused > 15 && cases.len() > 60,
        "{tables} tables, {refused} refused, {} in all",
        cases.len()
    );
}

/// What stands in NEWLEADER and in notifications of real ensembles, as recorded.
#[test]
fn recorded_texts_print_as_they_came() {
    let files =
        [include_str!("../../proto/vectors/quorum-3.9.5.txt"), include_str!("../../proto/vectors/quorum-3.8.0.txt")];
    let texts = files.iter().flat_map(|file| file.lines()).filter_map(|line| {
        let (_, text) = line.strip_prefix("# = ")?.split_once("\"config\": \"")?;
        Some(text.split_once('"')?.0.replace("\\n", "\n"))
    });
    let mut count = 0;
    for text in texts {
        assert_eq!(Ensemble::parse(&text).unwrap().to_text(), text);
        count += 1;
    }
    assert!(count > 20, "{count}");
}

#[test]
fn an_ensemble_tells_its_members() {
    let text = "server.3=c:1:2:observer\nserver.1=a:1:2;2181\nserver.2=b:3:4\n\n# a word\nversion=1f00000000";
    let ensemble = Ensemble::parse(text).unwrap();
    assert_eq!(ensemble.version(), ConfigVersion(0x1f_0000_0000));
    assert_eq!(ensemble.members().map(|(id, _)| id.0).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(ensemble.voters().collect::<Vec<_>>(), [ServerId(1), ServerId(2)]);
    assert!(ensemble.is_voter(ServerId(2)) && !ensemble.is_voter(ServerId(3)) && !ensemble.is_voter(ServerId(4)));
    assert_eq!(ensemble.member(ServerId(2)), Some(&Member::parse("b:3:4", false).unwrap()));
    assert_eq!(
        (ensemble.member(ServerId(4)), ensemble.group(ServerId(1)), ensemble.weight(ServerId(1))),
        (None, None, 1)
    );
    let next = ensemble.clone().with_version(ConfigVersion(0x20_0000_0000));
    assert_eq!(next.to_text(), ensemble.to_text().replace("version=1f", "version=20"));
}

#[test]
fn a_voter_without_weight_votes_and_does_not_count() {
    let text = "server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2:observer\ngroup.7=1:2\nweight.2=0";
    let ensemble = Ensemble::parse(text).unwrap();
    let weights = [1, 2, 3].map(|id| (ensemble.is_voter(ServerId(id)), ensemble.weight(ServerId(id))));
    assert_eq!(weights, [(true, 1), (true, 0), (false, 0)]);
    assert!(ensemble.is_quorum([ServerId(1)].into_iter()) && !ensemble.is_quorum([ServerId(2)].into_iter()));
}

#[test]
fn wrong_texts_say_what_is_wrong() {
    let two = "server.1=a:1:2\nserver.2=b:1:2\n";
    let line = |error: LineError| EnsembleError::Line { number: 3, error };
    let table = [
        ("", EnsembleError::NoVoter),
        ("server.1=a:1:2:observer", EnsembleError::NoVoter),
        (
            "server.1=a:1:2\nserver.1=a:1:2",
            EnsembleError::Line { number: 2, error: LineError::Twice("server.1".into()) },
        ),
        (&format!("{two}server.02=c:1:2"), line(LineError::Twice("server.02".into()))),
        (&format!("{two}tickTime=2000"), line(LineError::Key("tickTime".into()))),
        (&format!("{two}server.-1=c:1:2"), line(LineError::ServerId("server.-1".into()))),
        (&format!("{two}server.{}=c:1:2", i64::MAX), line(LineError::ServerId(format!("server.{}", i64::MAX)))),
        (&format!("{two}weight.x=1"), line(LineError::ServerId("weight.x".into()))),
        (&format!("{two}group.x=1"), line(LineError::GroupId("group.x".into()))),
        (&format!("{two}server.3"), line(LineError::Member(MemberError::Form))),
        (&format!("{two}server.3=c:1:1"), line(LineError::Member(MemberError::SamePort(1)))),
        (&format!("{two}group.1=1:2:"), line(LineError::Group)),
        (&format!("{two}weight.1=-1"), line(LineError::Weight)),
        (&format!("{two}weight.1=4294967296"), line(LineError::Weight)),
        (&format!("{two}version=-1"), line(LineError::Version)),
        (&format!("{two}version="), line(LineError::Version)),
        (&format!("{two}group.1=1"), EnsembleError::NoGroup(ServerId(2))),
        (&format!("{two}weight.1=1"), EnsembleError::NoGroup(ServerId(1))),
        (&format!("{two}group.2=2\ngroup.1=1:2"), EnsembleError::TwoGroups { server: ServerId(2), group: GroupId(2) }),
        (&format!("{two}group.1=1:2:2"), EnsembleError::TwoGroups { server: ServerId(2), group: GroupId(1) }),
        (&format!("{two}group.1=1:2:3"), EnsembleError::NoWeight(ServerId(3))),
    ];
    for (text, error) in table {
        assert_eq!(Ensemble::parse(text), Err(error), "{text}");
    }
}

#[test]
fn an_ensemble_has_its_limits() {
    let members = |count: usize| -> String { (1..=count).map(|id| format!("server.{id}=a:1:2\n")).collect() };
    assert_eq!(Ensemble::parse(&members(SERVERS_MAX)).unwrap().members().len(), SERVERS_MAX);
    assert_eq!(Ensemble::parse(&members(SERVERS_MAX + 1)), Err(EnsembleError::TooMany(SERVERS_MAX + 1)));
    let text = format!("server.1=a:1:2\n{}", "#\n".repeat(TEXT_BYTES_MAX / 2));
    assert_eq!(Ensemble::parse(&text), Err(EnsembleError::Long(text.len())));
    assert!(Ensemble::parse(&text[..TEXT_BYTES_MAX]).is_ok());
    // Short to read and long to print.
    let addresses: Vec<String> = (0..8).map(|host| format!("[::{host}%{}]:10000:20000", "z".repeat(230))).collect();
    let long: String = (1..=SERVERS_MAX).map(|id| format!("server.{id}={}\n", addresses.join("|"))).collect();
    assert!(long.len() <= TEXT_BYTES_MAX);
    assert!(matches!(Ensemble::parse(&long), Err(EnsembleError::Long(_))));
}

/// The words of `QuorumMaj` and `QuorumHierarchical`, put down without thinking of speed. `set` has voters alone.
fn naive_is_quorum(text: &str, set: &[ServerId]) -> bool {
    let lines: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let with = |stem: &str| -> Vec<(i64, &str)> {
        lines.iter().filter_map(|(key, value)| Some((key.strip_prefix(stem)?.parse().unwrap(), *value))).collect()
    };
    let (groups, weights) = (with("group."), with("weight."));
    let voters = with("server.").iter().filter(|(_, member)| member.contains(":participant")).count();
    if groups.is_empty() && weights.is_empty() {
        return set.len() > voters / 2;
    }
    let weight = |id: i64| weights.iter().find(|(server, _)| *server == id).unwrap().1.parse::<i64>().unwrap();
    let (mut counted, mut won) = (groups.len(), 0);
    for (_, line) in &groups {
        let servers: Vec<i64> = line.split(':').map(|id| id.parse().unwrap()).collect();
        let whole: i64 = servers.iter().map(|id| weight(*id)).sum();
        let part: i64 = servers.iter().filter(|id| set.contains(&ServerId(**id))).map(|id| weight(*id)).sum();
        counted -= usize::from(whole == 0);
        won += usize::from(part > whole / 2);
    }
    won > counted / 2
}

/// An ensemble of up to seven voters and some observers, half of them with groups and weights.
fn any_ensemble() -> impl Strategy<Value = Ensemble> {
    let servers = btree_map(0_i64..60, (0..4_u8, 0..4_i64, 0..4_u64), 1..8);
    (servers, any::<bool>(), 0..i64::MAX).prop_filter_map("nobody votes", |(servers, is_hierarchical, version)| {
        let mut text = format!("version={version:x}\n");
        let mut groups: BTreeMap<i64, Vec<String>> = BTreeMap::new();
        for (id, (role, group, weight)) in &servers {
            let role = if *role == 0 { "observer" } else { "participant" };
            text += &format!("server.{id}=h{id}:1:2:{role}\n");
            if is_hierarchical {
                text += &format!("weight.{id}={weight}\n");
                groups.entry(*group).or_default().push(id.to_string());
            }
        }
        for (group, servers) in groups {
            text += &format!("group.{group}={}\n", servers.join(":"));
        }
        Ensemble::parse(&text).ok()
    })
}

fn has(set: &[ServerId], other: &[ServerId]) -> bool {
    other.iter().all(|id| set.contains(id))
}

/// What might be a line of an ensemble.
fn any_line() -> impl Strategy<Value = String> {
    let host = "[a-z0-9.:_-]{1,4}|\\[[0-9a-f:]{2,6}(%[a-z0-9]{1,2})?\\]|[ -~]{1,3}";
    let address = (host, 0..4_u32, 0..4_u32, "|:observer|:participant|:[a-z]")
        .prop_map(|(host, quorum, election, role)| format!("{host}:{quorum}:{election}{role}"));
    let member = (vec(address, 1..3), "|;|;2181|;[a-z]:2|;\\[::1\\]:3")
        .prop_map(|(addresses, client)| format!("{}{client}", addresses.join("|")));
    let id = || "[0-9]|[0-9]{1,3}|-1|9223372036854775806|x";
    prop_oneof![
        8 => (id(), member).prop_map(|(id, member)| format!("server.{id}={member}")),
        1 => (id(), vec(id(), 1..4)).prop_map(|(id, servers)| format!("group.{id}={}", servers.join(":"))),
        1 => (id(), 0..5_u64).prop_map(|(id, weight)| format!("weight.{id}={weight}")),
        1 => "version=[0-9a-f]{1,16}",
        1 => "[ -~]{0,12}",
    ]
}

proptest! {
    #[test]
    fn quorums_grow_and_share_a_voter_and_are_the_naive_ones(ensemble in any_ensemble()) {
        let text = ensemble.to_text();
        let voters: Vec<_> = ensemble.voters().collect();
        let mut quorums = Vec::new();
        for set in subsets(&voters) {
            let is_quorum = ensemble.is_quorum(set.iter().copied());
            prop_assert_eq!(is_quorum, naive_is_quorum(&text, &set), "{:?} of {}", set, text);
            // Whoever does not vote changes nothing.
            let others = ensemble.members().map(|(id, _)| id).filter(|id| !ensemble.is_voter(*id));
            prop_assert_eq!(is_quorum, ensemble.is_quorum(set.iter().copied().chain(others).chain([ServerId(77)])));
            if is_quorum {
                quorums.push(set);
            }
        }
        for quorum in &quorums {
            prop_assert!(quorums.iter().all(|other| other.iter().any(|id| quorum.contains(id))), "{:?} of {}", quorum, text);
            for larger in subsets(&voters).filter(|set| has(set, quorum)) {
                prop_assert!(quorums.contains(&larger), "{:?} within {:?}, of {}", quorum, larger, text);
            }
        }
    }

    #[test]
    fn reached_is_the_newest_that_a_quorum_has(ensemble in any_ensemble(), at in vec(proptest::option::of(0..6_u32), 7)) {
        let positions: Vec<_> = ensemble.voters().zip(&at).filter_map(|(id, at)| Some((id, (*at)?))).collect();
        let has_it = |newest: u32| positions.iter().filter(move |(_, at)| *at >= newest).map(|(id, _)| *id);
        let newest = (0..6).rev().find(|newest| ensemble.is_quorum(has_it(*newest)));
        prop_assert_eq!(ensemble.reached(&positions), newest, "{:?} in {}", positions, ensemble.to_text());
    }

    #[test]
    fn what_is_read_prints_and_reads_as_itself(lines in vec(any_line(), 1..8)) {
        let mut draft = Draft::new(true);
        for (key, value) in lines.iter().filter_map(|line| line.split_once('=')) {
            let _refused = draft.line(key, value);
        }
        let Ok(ensemble) = draft.finish() else { return Ok(()) };
        let text = ensemble.to_text();
        let read = Ensemble::parse(&text);
        let has_voter = ensemble.voters().next().is_some();
        prop_assert_eq!(read, has_voter.then_some(ensemble).ok_or(EnsembleError::NoVoter), "{}", text);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..200)) {
        let _either = Ensemble::parse(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_ids_print_once_each(ids in btree_set(0_i64..i64::MAX, 1..SERVERS_MAX)) {
        let text: String = ids.iter().map(|id| format!("server.{id}=a:1:2\n")).collect();
        let printed = Ensemble::parse(&text).unwrap().to_text();
        let line = |line: &str| line.strip_prefix("server.")?.split_once('=')?.0.parse().ok();
        let shown: Vec<i64> = printed.lines().filter_map(line).collect();
        prop_assert_eq!(shown.len(), ids.len());
        prop_assert_eq!(shown.into_iter().collect::<BTreeSet<_>>(), ids);
    }
}
