//! RFC 2831's example, exchanges with ZooKeeper 3.9.5, and what must be refused.

use super::*;
use proptest::prelude::*;

/// One exchange of `tests/reference/auth_script.py` with ZooKeeper 3.9.5 on OpenJDK 17.
struct Captured {
    name: &'static str,
    nonce: &'static str,
    response: &'static str,
    user: &'static str,
    answer: &'static str,
}

const CAPTURED: &[Captured] = &[
    Captured {
        name: "right password",
        nonce: "qP5uL32KhhVnOrUg+YjJ6jzi85NK6ES46nUZYOPX",
        response: r#"username="bob",realm="zk-sasl-md5",nonce="qP5uL32KhhVnOrUg+YjJ6jzi85NK6ES46nUZYOPX",cnonce="b2E2TUh4aDZWcVRyUms=",nc=00000001,qop=auth,digest-uri="zookeeper/zk-sasl-md5",charset=utf-8,maxbuf=65536,response=d09ce636789ac50c8f0e14bcca3f30ed"#,
        user: "bob",
        answer: "rspauth=62eded8d8cdc9d7f59e9e5428b98458f",
    },
    Captured {
        name: "the super user",
        nonce: "ahfJdqjgmBPn9zQoBWWNonnvjpNcBBuJQ86DLTqx",
        response: r#"username="super",realm="zk-sasl-md5",nonce="ahfJdqjgmBPn9zQoBWWNonnvjpNcBBuJQ86DLTqx",cnonce="b2E2TUh4aDZWcVRyUms=",nc=00000001,qop=auth,digest-uri="zookeeper/zk-sasl-md5",charset=utf-8,maxbuf=65536,response=6b5146325cf8ed6a10b32f98b49ebdd6"#,
        user: "super",
        answer: "rspauth=3e54042ae7a63b0889fc3eb1375590eb",
    },
    Captured {
        name: "umlauts within latin-1",
        nonce: "C72dGO8VAdXFQIX4Au0mOJoRtiLqwbpxBtBkvLVo",
        response: r#"username="jörg",realm="zk-sasl-md5",nonce="C72dGO8VAdXFQIX4Au0mOJoRtiLqwbpxBtBkvLVo",cnonce="b2E2TUh4aDZWcVRyUms=",nc=00000001,qop=auth,digest-uri="zookeeper/zk-sasl-md5",charset=utf-8,maxbuf=65536,response=0ef5ec9a8317dcc55ea857fe70a6a62f"#,
        user: "jörg",
        answer: "rspauth=c77d21e8cc2f15a897659d83c1039e4f",
    },
    Captured {
        name: "beyond latin-1",
        nonce: "ttdpSviFV61GpFNB/S5sP7xoBptXp9eYEpvDGVLK",
        response: r#"username="юля",realm="zk-sasl-md5",nonce="ttdpSviFV61GpFNB/S5sP7xoBptXp9eYEpvDGVLK",cnonce="b2E2TUh4aDZWcVRyUms=",nc=00000001,qop=auth,digest-uri="zookeeper/zk-sasl-md5",charset=utf-8,maxbuf=65536,response=22c243608bab00fd95007c727b94e470"#,
        user: "юля",
        answer: "rspauth=7a5961e732917b8f1de8b8ebf0c6ba2d",
    },
    Captured {
        name: "authzid",
        nonce: "Waa2XYzCkZjp9l038XT/rRSORHgOKGJ1mBagGTNM",
        response: r#"username="bob",realm="zk-sasl-md5",nonce="Waa2XYzCkZjp9l038XT/rRSORHgOKGJ1mBagGTNM",cnonce="b2E2TUh4aDZWcVRyUms=",nc=00000001,qop=auth,digest-uri="zookeeper/zk-sasl-md5",charset=utf-8,maxbuf=65536,authzid="somebody",response=e88bc975297af954c3f8d45e11756356"#,
        user: "bob",
        answer: "rspauth=6b16e62c3460e034eeb8491693d14bc3",
    },
    Captured {
        name: "uri in capitals",
        nonce: "wJCVoVNAASgAG3zf5n4FPyve7qV9xQRXDj2pkjnV",
        response: r#"username="bob",realm="zk-sasl-md5",nonce="wJCVoVNAASgAG3zf5n4FPyve7qV9xQRXDj2pkjnV",cnonce="b2E2TUh4aDZWcVRyUms=",nc=00000001,qop=auth,digest-uri="ZooKeeper/ZK-SASL-MD5",charset=utf-8,maxbuf=65536,response=60bb940f4b12385c030a2d5586a819a9"#,
        user: "bob",
        answer: "rspauth=6ce6d959c9e3121223dd1a28fac0e658",
    },
    Captured {
        name: "no qop",
        nonce: "LHnCOdyGp/c+ImrihElMTc0FjBo4wuD89JXXdUms",
        response: r#"username="bob",realm="zk-sasl-md5",nonce="LHnCOdyGp/c+ImrihElMTc0FjBo4wuD89JXXdUms",cnonce="b2E2TUh4aDZWcVRyUms=",nc=00000001,digest-uri="zookeeper/zk-sasl-md5",charset=utf-8,maxbuf=65536,response=30b1ae8d615e8c3e928da703a218224e"#,
        user: "bob",
        answer: "rspauth=5c3840d59195fd9b2a829df5121a2f3d",
    },
    Captured {
        name: "no charset",
        nonce: "snVIXKBWG14bK5/6XlJcwUwFuuLLb1LI7YJesHgg",
        response: r#"username="bob",realm="zk-sasl-md5",nonce="snVIXKBWG14bK5/6XlJcwUwFuuLLb1LI7YJesHgg",cnonce="b2E2TUh4aDZWcVRyUms=",nc=00000001,qop=auth,digest-uri="zookeeper/zk-sasl-md5",maxbuf=65536,response=6864994d4421f69677b89f2b2803786e"#,
        user: "bob",
        answer: "rspauth=1aa2d7ee362ff174d4dea3bc1decbc96",
    },
    Captured {
        name: "an unknown directive",
        nonce: "N4Acmvh74FhlS2O9IfEVYyznUfskD7HtMDShAOAu",
        response: r#"username="bob",realm="zk-sasl-md5",nonce="N4Acmvh74FhlS2O9IfEVYyznUfskD7HtMDShAOAu",cnonce="b2E2TUh4aDZWcVRyUms=",nc=00000001,qop=auth,digest-uri="zookeeper/zk-sasl-md5",charset=utf-8,maxbuf=65536,response=c9b5bf92bb40b177116e12d2e9ba7f87, , other=1 ,"#,
        user: "bob",
        answer: "rspauth=b0ce276fe5d4da3960220e7432579e19",
    },
];

fn users() -> SaslUsers {
    let pairs = [("super", "adminsecret"), ("bob", "bobsecret"), ("jörg", "pässword"), ("юля", "пароль")];
    SaslUsers::new(pairs)
}

fn challenged(nonce: &str) -> Exchange {
    let mut exchange = Exchange::default();
    let challenge = exchange.step(&users(), b"", || nonce.to_owned()).unwrap();
    let expected = format!("realm=\"zk-sasl-md5\",nonce=\"{nonce}\",charset=utf-8,algorithm=md5-sess");
    assert_eq!(challenge, Answer::Challenge(expected.into_bytes()));
    exchange
}

fn no_nonce() -> String {
    panic!("a nonce is made in the first step only")
}

/// The answer to a captured response with one piece of it replaced.
fn answer_to_changed(from: &str, to: &str) -> Result<Answer, SaslError> {
    let Captured { nonce, response, .. } = CAPTURED[0];
    let changed = response.replacen(from, to, 1);
    assert_ne!(changed, response, "{from}");
    challenged(nonce).step(&users(), changed.as_bytes(), no_nonce)
}

#[test]
fn the_examples_of_rfc_2831() {
    for (nonce, cnonce, uri, client, server) in [
        (
            "OA6MG9tEQGm2hh",
            "OA6MHXh6VqTrRk",
            "imap/elwood.innosoft.com",
            "d388dad90d4bbd760a152321f2143af7",
            "ea40f60335c427b5527b84dbabcdfffd",
        ),
        (
            "OA9BSXrbuRhWay",
            "OA9BSuZWMSpW8m",
            "acap/elwood.innosoft.com",
            "6084c6db3fede7352c551284490fd0fc",
            "2f0b3d7c3c2e486600ef710726aa2eae",
        ),
    ] {
        let proof = Proof {
            user: "chris",
            realm: "elwood.innosoft.com",
            password: "secret",
            nonce: nonce.as_bytes(),
            cnonce: cnonce.as_bytes(),
            uri: uri.as_bytes(),
            authzid: None,
        };
        assert_eq!(proof.value("AUTHENTICATE"), client);
        assert_eq!(proof.value(""), server);
    }
}

#[test]
fn exchanges_with_the_real_server_come_out_the_same() {
    for Captured { name, nonce, response, user, answer } in CAPTURED {
        let mut exchange = challenged(nonce);
        let proved = exchange.step(&users(), response.as_bytes(), no_nonce);
        let expected = Answer::Proved { user: (*user).into(), token: answer.as_bytes().to_vec() };
        assert_eq!(proved, Ok(expected), "{name}");
        assert_eq!(exchange.step(&users(), b"", no_nonce), Err(SaslError::Over), "{name}");
    }
}

#[test]
fn each_directive_is_held_to_what_was_offered() {
    for (from, to, expected) in [
        ("response=d", "response=e", SaslError::WrongPassword),
        ("response=d09ce", "response=D09CE", SaslError::WrongPassword),
        ("username=\"bob\"", "username=\"eve\"", SaslError::WrongPassword),
        ("cnonce=\"b2", "cnonce=\"b3", SaslError::WrongPassword),
        ("realm=\"zk-sasl-md5\"", "realm=\"elsewhere\"", SaslError::NotOffered("realm")),
        (",nonce=\"qP5", ",nonce=\"qP6", SaslError::NotOffered("nonce")),
        ("nc=00000001", "nc=00000002", SaslError::NotOffered("nc")),
        ("qop=auth", "qop=auth-int", SaslError::NotOffered("qop")),
        ("charset=utf-8", "charset=utf-7", SaslError::NotOffered("charset")),
        ("maxbuf=65536", "maxbuf=x", SaslError::NotOffered("maxbuf")),
        ("digest-uri=\"zookeeper/zk", "digest-uri=\"zookeeper/zl", SaslError::NotOffered("digest-uri")),
        ("username=\"bob\",", "", SaslError::Missing("username")),
        ("realm=\"zk-sasl-md5\",", "", SaslError::Missing("realm")),
        (",nonce=", ",other=", SaslError::Missing("nonce")),
        ("cnonce=", "other=", SaslError::Missing("cnonce")),
        ("digest-uri=", "other=", SaslError::Missing("digest-uri")),
        ("response=", "other=", SaslError::Missing("response")),
        ("nc=00000001", "nc=00000001,qop=auth", SaslError::Twice("qop")),
        ("nc=00000001", "nc=00000001,=auth", SaslError::Malformed),
        ("nc=00000001", "nc 00000001", SaslError::Malformed),
        ("nc=00000001", "nc=00000001,x=\"", SaslError::Malformed),
        ("nc=00000001", "nc=\"00000001\"x", SaslError::Malformed),
    ] {
        assert_eq!(answer_to_changed(from, to), Err(expected), "{from} -> {to}");
    }
}

#[test]
fn blanks_and_escapes_do_not_matter() {
    for (from, to) in [
        ("realm=", "realm = "),
        ("bob", "b\\ob"),
        ("username", ", ,UserName"),
        (",nc=", " nc="),
        ("nc=00000001", "nc=\"00000001\" \t,"),
    ] {
        assert!(matches!(answer_to_changed(from, to), Ok(Answer::Proved { .. })), "{from} -> {to}");
    }
}

#[test]
fn an_unknown_user_with_an_empty_password_stays_out() {
    let Captured { nonce, .. } = CAPTURED[0];
    let proof = Proof {
        user: "eve",
        realm: REALM,
        password: "",
        nonce: nonce.as_bytes(),
        cnonce: b"c",
        uri: DIGEST_URI.as_bytes(),
        authzid: None,
    };
    let token = format!(
        "username=\"eve\",realm=\"{REALM}\",nonce=\"{nonce}\",cnonce=\"c\",digest-uri=\"{DIGEST_URI}\",response={}",
        proof.value("AUTHENTICATE")
    );
    assert_eq!(challenged(nonce).step(&users(), token.as_bytes(), no_nonce), Err(SaslError::WrongPassword));
}

#[test]
fn a_token_beyond_the_limit_is_refused_and_a_failed_exchange_cannot_be_taken_up_again() {
    let mut exchange = challenged(CAPTURED[0].nonce);
    let long = vec![b' '; TOKEN_BYTES_MAX + 1];
    assert_eq!(exchange.step(&users(), &long, no_nonce), Err(SaslError::TooLong));
    assert!(exchange.step(&users(), b"", no_nonce).is_err());
    let right = CAPTURED[0].response.as_bytes();
    assert_eq!(exchange.step(&users(), right, no_nonce), Err(SaslError::Over));
}

#[test]
fn passwords_are_not_shown() {
    let shown = format!("{:?}", users());
    assert!(shown.contains("bob") && !shown.contains("secret"), "{shown}");
}

proptest! {
    #[test]
    fn no_token_panics_or_logs_in(token in prop::collection::vec(prop_oneof![Just(b'='), Just(b'"'), Just(b','), any::<u8>()], 0..200)) {
        prop_assert!(challenged("n").step(&users(), &token, no_nonce).is_err());
    }
}
