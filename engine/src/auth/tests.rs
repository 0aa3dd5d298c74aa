//! Which identities a connection gets, what ACLs allow them, and which ACLs are stored.

use super::fix::without_duplicates;
use super::*;
use proto::{AclRef, AclVec, Reader, Writer};

fn ids(list: &[(&str, &str)]) -> Vec<AuthId> {
    list.iter().map(|(scheme, id)| AuthId { scheme: (*scheme).into(), id: (*id).into() }).collect()
}

fn acl(perms: Perms, scheme: &str, id: &str) -> Acl {
    Acl { perms, scheme: scheme.into(), id: id.into() }
}

fn fix_by(rules: &AuthRules, acl: &[Acl], ids: &[AuthId]) -> Result<Vec<Acl>, ErrorCode> {
    let mut bytes = Vec::new();
    Acl::write_vec(acl, &mut Writer::new(&mut bytes));
    let sent = AclVec::read(&mut Reader::new(&bytes)).unwrap();
    let fixed = fix_acl(rules, &sent, ids).map_err(|refused| match refused {
        AclRefused::Code(code) => code,
        AclRefused::TooLarge => ErrorCode::InvalidAcl,
    })?;
    if let Some(rewritten) = fixed.rewritten {
        assert_eq!(AclVec::read(&mut Reader::new(&rewritten)).unwrap().to_vec().unwrap(), fixed.acl);
    } else {
        assert_eq!(sent.to_vec().unwrap(), fixed.acl);
    }
    Ok(fixed.acl)
}

fn fix(acl: &[Acl], ids: &[AuthId]) -> Result<Vec<Acl>, ErrorCode> {
    fix_by(&AuthRules::default(), acl, ids)
}

fn check_acl(acl: &[Acl], perms: Perms, ids: &[AuthId]) -> Result<(), ErrorCode> {
    AuthRules::default().check_acl(acl, perms, ids)
}

/// Java's way: each entry beside each one before it.
fn pair_by_pair<'a>(sent: &AclVec<'a>) -> Result<Vec<AclRef<'a>>, ErrorCode> {
    let mut entries: Vec<AclRef<'a>> = Vec::new();
    'entries: for entry in sent.iter() {
        for before in entries.iter().filter(|before| before.perms == entry.perms) {
            let scheme = entry.scheme.as_ref().ok_or(ErrorCode::MarshallingError)?;
            if before.scheme.as_ref() == Some(scheme) {
                let id = entry.id.as_ref().ok_or(ErrorCode::MarshallingError)?;
                if before.id.as_ref() == Some(id) {
                    continue 'entries;
                }
            }
        }
        entries.push(entry);
    }
    Ok(entries)
}

#[test]
fn duplicates_and_nulls_are_what_they_are_pair_by_pair() {
    const TEXTS: [Option<&str>; 4] = [None, Some("a"), Some("b"), Some("")];
    let mut outcomes = [0; 3];
    // Every list of up to three entries of 2 permissions, 4 schemes and 4 ids.
    for number in 0..32_u32.pow(3) {
        for len in 1..=3 {
            let mut bytes = Vec::new();
            let mut w = Writer::new(&mut bytes);
            w.length(len);
            let mut code = usize::try_from(number).unwrap();
            for _ in 0..len {
                w.int(if code % 2 == 0 { 1 } else { 31 });
                w.string_or_null(TEXTS[code / 2 % 4]);
                w.string_or_null(TEXTS[code / 8 % 4]);
                code /= 32;
            }
            let sent = AclVec::read(&mut Reader::new(&bytes)).unwrap();
            let expected = pair_by_pair(&sent);
            assert_eq!(without_duplicates(&sent), expected, "{:?}", sent.iter().collect::<Vec<_>>());
            outcomes[match expected {
                Err(_) => 0,
                Ok(entries) if entries.len() == len => 1,
                Ok(_) => 2,
            }] += 1;
        }
    }
    assert!(outcomes.iter().all(|count| *count > 1_000), "each outcome comes up: {outcomes:?}");
}

#[test]
fn the_documented_digest_of_super_test() {
    // From ZooKeeper's administrator guide.
    assert_eq!(digest_id(HashName::Sha1, "super:test"), "super:D/InIHSb7yEEbrWz8b9l71RjZJU=");
    let peer = SocketAddr::from(([127, 0, 0, 1], 1));
    let super_digest = Some("super:D/InIHSb7yEEbrWz8b9l71RjZJU=".to_owned());
    let rules = AuthRules { super_digest, ..AuthRules::default() };
    let ids = rules.authenticate(Some("digest"), Some(b"super:test"), peer).unwrap();
    assert_eq!(check_acl(&[acl(Perms::READ, "digest", "a:b")], Perms::WRITE, &ids), Ok(()));
    assert_eq!(rules.authenticate(Some("nope"), None, peer), Err(Refused::AuthFailed));
    assert_eq!(rules.authenticate(Some("digest"), Some(b"super:test2"), peer).map(|ids| ids.len()), Ok(1));
    assert_eq!(rules.authenticate(Some("digest"), None, peer), Err(Refused::AuthFailed));
    assert!(rules.authenticate(Some("ip"), None, peer).is_ok());
}

#[test]
fn an_ipv4_client_of_an_ipv6_socket_is_known_by_its_ipv4_address() {
    for (peer, id, ip_acl, expected) in [
        ("[::ffff:10.1.2.3]:5", "10.1.2.3", "10.0.0.0/8", Ok(())),
        ("10.1.2.3:5", "10.1.2.3", "10.1.2.3", Ok(())),
        ("[::1]:5", "0:0:0:0:0:0:0:1", "::1", Ok(())),
        ("[2001:db8::a:0]:5", "2001:db8:0:0:0:0:a:0", "2001:db8::/32", Ok(())),
        // Asked of ZooKeeper 3.9.5: it tells the zone by its number, and cannot read that back.
        ("[fe80::7%3]:5", "fe80:0:0:0:0:0:0:7%3", "fe80::/10", Err(ErrorCode::NoAuth)),
    ] {
        let own = [AuthId::of_address(peer.parse().unwrap())];
        assert_eq!(&*own.first().unwrap().id, id);
        assert_eq!(check_acl(&[acl(Perms::READ, "ip", ip_acl)], Perms::READ, &own), expected, "{peer}");
    }
}

#[test]
fn auth_becomes_the_callers_digests_and_needs_one() {
    let caller = ids(&[("ip", "1.2.3.4"), ("digest", "a:x"), ("digest", "b:y")]);
    let fixed = fix(&[acl(Perms::ALL, "auth", "")], &caller).unwrap();
    assert_eq!(fixed, [acl(Perms::ALL, "digest", "a:x"), acl(Perms::ALL, "digest", "b:y")]);
    assert_eq!(fix(&[acl(Perms::ALL, "auth", "")], &ids(&[("ip", "1.2.3.4")])), Err(ErrorCode::InvalidAcl));
}

#[test]
fn entries_that_are_there_twice_count_once_and_bad_ones_are_refused() {
    assert_eq!(fix(&[Acl::open(), Acl::open()], &[]).unwrap(), [Acl::open()]);
    for (scheme, id) in [("world", "other"), ("digest", "nocolon"), ("digest", "a:b:c"), ("digest", "a:"), ("foo", "x")]
    {
        assert_eq!(fix(&[acl(Perms::ALL, scheme, id)], &[]), Err(ErrorCode::InvalidAcl), "{scheme}:{id}");
    }
    assert_eq!(fix(&[], &[]), Err(ErrorCode::InvalidAcl));
}

#[test]
fn getacl_hides_digests() {
    assert_eq!(&*masked(&acl(Perms::ALL, "digest", "user:hash")).id, "user:x");
    assert_eq!(&*masked(&acl(Perms::ALL, "ip", "1.2.3.4")).id, "1.2.3.4");
}

#[test]
fn sasl_ids_in_acls_need_the_provider() {
    let bob = [acl(Perms::ALL, "sasl", "bob")];
    let caller = ids(&[("ip", "1.2.3.4"), ("sasl", "bob")]);
    assert_eq!(fix(&bob, &[]), Err(ErrorCode::InvalidAcl));
    assert_eq!(check_acl(&bob, Perms::READ, &caller), Err(ErrorCode::NoAuth));
    let rules = AuthRules { sasl_acls: true, sasl_any: Some("all".into()), ..AuthRules::default() };
    assert_eq!(fix_by(&rules, &bob, &[]).unwrap(), bob);
    assert_eq!(fix_by(&rules, &[acl(Perms::ALL, "auth", "")], &caller).unwrap(), bob);
    let eve = ids(&[("sasl", "eve"), ("digest", "bob")]);
    assert_eq!(rules.check_acl(&bob, Perms::READ, &caller), Ok(()));
    assert_eq!(rules.check_acl(&bob, Perms::READ, &eve), Err(ErrorCode::NoAuth));
    assert_eq!(rules.check_acl(&bob, Perms::READ, &ids(&[("sasl", "super")])), Ok(()));
    assert_eq!(rules.check_acl(&[acl(Perms::READ, "sasl", "all")], Perms::READ, &eve), Ok(()));
    for (id, valid) in [
        ("", true),
        ("a/b", true),
        ("a/b/c", true),
        ("a@b", true),
        ("a/b@c", true),
        ("a/b/c@d", false),
        ("a@b@c", false),
        ("a@b/c", false),
    ] {
        assert_eq!(fix_by(&rules, &[acl(Perms::ALL, "sasl", id)], &[]).is_ok(), valid, "{id}");
    }
}

#[test]
fn a_sasl_super_user_is_named_by_its_whole_name() {
    let rules = AuthRules { sasl_super_users: vec!["root".into()], ..AuthRules::default() };
    assert_eq!(rules.sasl_ids("root"), ids(&[("sasl", "root"), ("super", "")]));
    assert_eq!(rules.sasl_ids("roo"), ids(&[("sasl", "roo")]));
}

#[test]
fn the_digest_scheme_can_be_switched_off_or_hash_otherwise() {
    let peer = SocketAddr::from(([127, 0, 0, 1], 1));
    let ann = [acl(Perms::ALL, "digest", "ann:7RJfAeIvrl4zdj6sS2fXrQHDvHM=")];
    let rules = AuthRules { digest: None, ..AuthRules::default() };
    assert_eq!(rules.authenticate(Some("digest"), Some(b"ann:secret"), peer), Err(Refused::AuthFailed));
    assert_eq!(fix_by(&rules, &ann, &[]), Err(ErrorCode::InvalidAcl));
    let caller = AuthRules::default().authenticate(Some("digest"), Some(b"ann:secret"), peer).unwrap();
    assert_eq!(check_acl(&ann, Perms::READ, &caller), Ok(()));
    assert_eq!(rules.check_acl(&ann, Perms::READ, &caller), Err(ErrorCode::NoAuth));
    let rules = AuthRules { digest: Some(HashName::Sha256), ..AuthRules::default() };
    let caller = rules.authenticate(Some("digest"), Some(b"ann:secret"), peer).unwrap();
    assert_eq!(caller, ids(&[("digest", "ann:gW+b8HZum3TwTstGfpl32bPArFr4tjcyRtV13gDSyK0=")]));
}

#[test]
fn a_client_of_another_ensemble_is_sent_away_without_a_word() {
    let peer = SocketAddr::from(([127, 0, 0, 1], 1));
    let ask = |names: Option<&[&str]>, name: &[u8]| {
        let ensemble_names = names.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        AuthRules { ensemble_names, ..AuthRules::default() }.authenticate(Some("ensemble"), Some(name), peer)
    };
    assert_eq!(ask(None, b"prod"), Err(Refused::AuthFailed));
    assert_eq!(ask(Some(&[]), b"prod"), Ok(Vec::new()));
    assert_eq!(ask(Some(&["prod", "test"]), b"test"), Ok(Vec::new()));
    assert_eq!(ask(Some(&["prod"]), b""), Ok(Vec::new()));
    assert_eq!(ask(Some(&["prod"]), b"test"), Err(Refused::WrongEnsemble));
}

#[test]
fn who_must_authenticate_is_told_by_the_schemes() {
    let rules = AuthRules { required: vec!["sasl".into(), "digest".into()], ..AuthRules::default() };
    assert!(!rules.admits(&ids(&[("ip", "1.2.3.4"), ("super", "")])));
    assert!(rules.admits(&ids(&[("ip", "1.2.3.4"), ("digest", "a:b")])));
    assert!(AuthRules::default().admits(&[]));
}

#[test]
fn with_skip_acl_everybody_may_do_everything_and_acls_must_still_be_well_formed() {
    let rules = AuthRules { skip_acl: true, ..AuthRules::default() };
    assert_eq!(rules.check_acl(&[acl(Perms::READ, "digest", "a:b")], Perms::ADMIN, &[]), Ok(()));
    assert_eq!(fix_by(&rules, &[acl(Perms::READ, "nope", "a")], &[]), Err(ErrorCode::InvalidAcl));
}

#[test]
fn the_callers_identities_in_an_acl_are_bounded_in_number_and_bytes() {
    let peer = SocketAddr::from(([127, 0, 0, 1], 1));
    let rules = AuthRules::default();
    let digest = |n: u32| rules.authenticate(Some("digest"), Some(format!("user{n}:x").as_bytes()), peer).unwrap();
    let ids: Vec<AuthId> = (0..64).flat_map(digest).collect();
    let entries = |count: i32| (0..count).map(|perms| acl(Perms(perms), "auth", "")).collect::<Vec<_>>();
    let fix = |sent: &[Acl], ids: &[AuthId]| fix_by(&rules, sent, ids).map(|fixed| fixed.len());
    assert_eq!(fix(&entries(16), &ids), Ok(ACL_ENTRIES_MAX));
    assert_eq!(fix(&entries(17), &ids), Err(ErrorCode::InvalidAcl));
    let many: Vec<Acl> = (0..=1_024).map(|n| acl(Perms::READ, "digest", &format!("u{n}:x"))).collect();
    assert_eq!(fix(&many, &[]), Err(ErrorCode::InvalidAcl));
    let long = [AuthId { scheme: "digest".into(), id: format!("{}:x", "u".repeat(ACL_BYTES_MAX / 3)).into() }];
    assert_eq!((fix(&entries(2), &long), fix(&entries(3), &long)), (Ok(2), Err(ErrorCode::InvalidAcl)));
}
