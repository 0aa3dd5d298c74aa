//! Rules that hold for the configuration as a whole.

use std::time::Duration;

use proptest::prelude::*;

use super::keys::{self, Effect, KeySpec};
use super::value::Kind;
use super::*;

/// Loads lines as if they stood on the command line, over a data directory that does not exist.
fn try_load(lines: &[&str]) -> Result<Loaded, ConfigErrors> {
    let mut properties = vec!["dataDir=/nonexistent/ringkeeper".to_owned()];
    properties.extend(lines.iter().map(|line| (*line).to_owned()));
    let file = tempfile::NamedTempFile::new().expect("an empty file");
    load(&Sources { file: Some(file.path().to_owned()), properties, ..Sources::default() })
}

fn config(lines: &[&str]) -> ResolvedConfig {
    try_load(lines).unwrap_or_else(|errors| panic!("{lines:?}: {errors}")).config
}

fn errors(lines: &[&str]) -> String {
    try_load(lines).expect_err("a wrong configuration").to_string()
}

#[test]
fn defaults_are_zookeepers() {
    let c = config(&["clientPort=2181"]);
    assert_eq!(c.clients.listen, Some(Listen::Any { port: 2181 }));
    assert_eq!(c.clients.secure_listen, None);
    assert_eq!(c.clients.per_address_max.map(u32::from), Some(60));
    assert_eq!((c.clients.connections_max, c.clients.backlog), (None, None));
    assert_eq!((c.clients.frame_bytes_max, c.clients.outstanding_max), (0xf_ffff, 1_000));
    assert_eq!(c.clients.sessionless_timeout, Duration::from_secs(10));
    assert_eq!((c.sessions.tick_ms, c.sessions.timeout_ms_min, c.sessions.timeout_ms_max), (3_000, 6_000, 60_000));
    assert_eq!(c.storage.data_log_dir, c.storage.data_dir);
    assert_eq!((c.storage.snap_count, c.storage.log_segment_bytes), (None, 64 << 20));
    assert!(!c.clients.tcp_keep_alive && c.storage.log_record_bytes_max == 8 << 20);
    assert_eq!(c.storage.snap_log_bytes, SnapLogBytes::ByImage);
    assert_eq!(c.storage.fsync_warning, Duration::from_secs(1));
    assert!(!c.tree.extended_types && *c.auth == engine::auth::AuthRules::default());
    assert_eq!(c.tree.containers.check_interval, Duration::from_secs(60));
    assert_eq!((c.tree.containers.per_minute_max, c.tree.containers.never_used_max), (10_000, None));
    assert_eq!(c.four_letter_words.iter().collect::<Vec<_>>(), ["srvr"]);
    assert!(c.ensemble().is_none());
    assert_eq!(c.server_id(), proto::ServerId(0));
}

const SASL_PROVIDER: &str = "authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider";

/// A JAAS file with this text, and the line that names it.
fn jaas(text: &str) -> (tempfile::NamedTempFile, String) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("it can be written");
    let line = format!("java.security.auth.login.config={}", file.path().display());
    (file, line)
}

#[test]
fn sasl_users_come_from_the_section_of_the_jaas_file() {
    let module = "org.apache.zookeeper.server.auth.DigestLoginModule required";
    let text = format!(
        "Server {{ {module} user_super=\"a\" user_bob=\"b\" username=\"x\"; }};\nOther {{ {module} user_eve=c; }};\nEmpty {{}};"
    );
    let (_file, line) = jaas(&text);
    let users = |lines: &[&str]| {
        let users = config(lines).auth.sasl_users.clone()?;
        let mut names: Vec<String> = users.names().map(str::to_owned).collect();
        names.sort_unstable();
        Some((names.join(" "), users))
    };
    let (names, plain) = users(&[&line]).expect("users");
    assert_eq!(names, "bob super");
    assert_eq!(users(&[&line, "zookeeper.sasl.serverconfig=Other"]).expect("users").0, "eve");
    let (names, changed) = users(&[&line, "zookeeper.SASLAuthenticationProvider.superPassword=z"]).expect("users");
    assert!(names == "bob super" && changed != plain, "{names}");
    for missing in ["Nowhere", "Empty"] {
        let loaded = try_load(&[&line, &format!("sasl.serverconfig={missing}")]).expect("no error, as in Java");
        assert!(loaded.config.auth.sasl_users.is_none());
        let warning =
            loaded.warnings.iter().map(ToString::to_string).find(|text| text.contains("no client can log in"));
        assert!(warning.is_some_and(|text| text.contains("Empty, Other, Server")));
    }
    let url = line.replacen('=', "==file://", 1);
    assert_eq!(users(&[&url]).expect("users").0, "bob super");
}

#[test]
fn a_jaas_file_that_cannot_serve_is_refused_with_its_line() {
    let of = |text: &str| {
        let (_file, line) = jaas(text);
        errors(&[&line])
    };
    assert!(of("Server {\n x required\n};").contains(":3: expected an option, or `;` after the last one, found `}`"));
    let kerberos = of("Server {\n com.sun.security.auth.module.Krb5LoginModule required;\n};");
    assert!(kerberos.contains(":2: com.sun") && kerberos.contains("Kerberos (GSSAPI) is not supported"), "{kerberos}");
    let principal = of("Server { org.apache.zookeeper.server.auth.DigestLoginModule required \"user_a@b\"=x; };");
    assert!(principal.contains("an @ in it"), "{principal}");
    let missing = errors(&["java.security.auth.login.config=/nonexistent/jaas.conf"]);
    assert!(missing.contains("/nonexistent/jaas.conf: cannot read the JAAS file"), "{missing}");
}

#[test]
fn whoever_must_authenticate_must_be_able_to() {
    let without = errors(&["sessionRequireClientSASLAuth=true"]);
    assert!(without.contains("`sasl`: add a line authProvider.1="), "{without}");
    assert_eq!(config(&["sessionRequireClientSASLAuth=true", SASL_PROVIDER]).auth.required, ["sasl"]);
    assert!(errors(&["enforce.auth.enabled=true"]).contains("needs enforce.auth.schemes"));
    let unknown = errors(&["enforce.auth.enabled=true", "enforce.auth.schemes=digest, x509"]);
    assert!(unknown.contains("`x509`: there is no such scheme"), "{unknown}");
    assert_eq!(
        config(&["enforce.auth.enabled=true", "enforce.auth.schemes=digest, ip"]).auth.required,
        ["digest", "ip"]
    );
    assert!(config(&["enforce.auth.schemes=digest"]).auth.required.is_empty());
    let off = errors(&[
        "enforce.auth.enabled=true",
        "enforce.auth.schemes=digest",
        "DigestAuthenticationProvider.enabled=false",
    ]);
    assert!(off.contains("`digest`: there is no such scheme"), "{off}");
}

#[test]
fn schemes_of_authentication() {
    assert!(errors(&["DigestAuthenticationProvider.digestAlg=MD2"]).contains("`MD2` is no hash"));
    let sha256 = config(&["DigestAuthenticationProvider.digestAlg=SHA-256"]).auth.digest;
    assert_eq!(sha256, Some(engine::auth::HashName::Sha256));
    assert!(config(&["skipACL=yes"]).auth.skip_acl);
    let super_users = config(&["superUser=a", "zookeeper.superUser.2=b"]).auth.sasl_super_users.clone();
    assert_eq!(super_users, ["a", "b"]);
    let ensemble = "authProvider.7=org.apache.zookeeper.server.auth.EnsembleAuthenticationProvider";
    let names = config(&[ensemble, "ensembleAuthName=a, b"]).auth.ensemble_names.clone();
    assert_eq!(names, Some(vec!["a".to_owned(), "b".to_owned()]));
    let warned = |lines: &[&str], text: &str| {
        let loaded = try_load(lines).expect("a usable configuration");
        assert!(loaded.warnings.iter().any(|warning| warning.to_string().contains(text)), "{:?}", loaded.warnings);
    };
    warned(&["ensembleAuthName=a"], "has no effect without a line authProvider.1=");
    warned(&["authProvider.1=com.example.Own"], "authProvider.1: com.example.Own is not loaded");
}

#[test]
fn options_for_java_in_the_environment_count_where_the_key_is_known() {
    let file = tempfile::NamedTempFile::new().expect("an empty file");
    let sources = Sources {
        file: Some(file.path().to_owned()),
        jvm_flags: vec![
            "-Xmx1g -Dzookeeper.superUser=env  -Dsome.other=1 -Dzookeeper.snapCount=7".into(),
            "-DsuperUser".into(),
        ],
        properties: vec!["dataDir=/nonexistent/ringkeeper".into(), "snapCount=9".into()],
        ..Sources::default()
    };
    let loaded = load(&sources).expect("a usable configuration");
    assert_eq!(loaded.config.auth.sasl_super_users, ["env"]);
    assert_eq!(loaded.config.storage.snap_count, Some(9));
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert!(
        warnings.iter().any(|text| text.starts_with("environment JVMFLAGS: zookeeper.snapCount: has no effect")),
        "{warnings:?}"
    );
    assert!(!warnings.iter().any(|text| text.contains("some.other")), "{warnings:?}");
}

#[test]
fn autopurge_is_on_by_default_and_zero_switches_it_off() {
    let purge = |lines: &[&str]| config(lines).storage.autopurge.map(|p| (p.retain, p.interval.as_secs()));
    assert_eq!(purge(&[]), Some((3, 3_600)));
    assert_eq!(purge(&["autopurge.purgeInterval=0"]), None);
    assert_eq!(purge(&["autopurge.purgeInterval=24", "autopurge.snapRetainCount=1"]), Some((3, 86_400)));
}

#[test]
fn without_a_file_the_server_is_for_this_machine_only() {
    let config = load(&Sources::default()).expect("the built-in settings").config;
    let local = "127.0.0.1:2181".parse().expect("an address");
    assert_eq!(config.clients.listen, Some(Listen::At(local)));
    assert_eq!(config.storage.data_dir, Path::new("./ringkeeper-data"));
    assert_eq!(config.sessions.tick_ms, 2_000);
}

#[test]
fn options_win_over_the_built_in_settings_and_say_nothing_about_it() {
    let sources = Sources { data_dir: Some("/d".into()), client_port: Some(0), ..Sources::default() };
    let loaded = load(&sources).expect("usable");
    assert_eq!(loaded.config.storage.data_dir, Path::new("/d"));
    assert_eq!(loaded.config.clients.listen.map(Listen::port), Some(0));
    assert_eq!(loaded.warnings, []);
}

#[test]
fn both_spellings_are_one_key_and_the_later_one_holds() {
    let loaded = try_load(&["zookeeper.snapCount=7", "snapCount=9", "clientPort=1"]).expect("usable");
    assert_eq!(loaded.config.storage.snap_count, Some(9));
    assert!(
        matches!(loaded.warnings.as_slice(), [ConfigWarning::Overridden { key, .. }] if key == "zookeeper.snapCount")
    );
}

#[test]
fn addresses_follow_zookeepers_rules() {
    let listen = |lines: &[&str]| config(lines).clients.listen;
    assert_eq!(listen(&[]), None);
    assert_eq!(listen(&["clientPort=0"]), Some(Listen::Any { port: 0 }));
    for (written, bound) in [("::1", "[::1]:5"), ("[::1]", "[::1]:5"), ("10.1.2.3", "10.1.2.3:5")] {
        let at = bound.parse().expect("an address");
        assert_eq!(listen(&["clientPort=5", &format!("clientPortAddress={written}")]), Some(Listen::At(at)));
    }
    for any in ["0.0.0.0", "::", "[::]"] {
        assert_eq!(
            listen(&["clientPort=5", &format!("clientPortAddress={any}")]),
            Some(Listen::Any { port: 5 }),
            "{any}"
        );
        let ipv4 = listen(&["clientPort=5", &format!("clientPortAddress={any}"), "java.net.preferIPv4Stack=true"]);
        assert_eq!(ipv4, Some(Listen::At("0.0.0.0:5".parse().expect("an address"))));
    }
    // A label of 64 letters is refused before anybody is asked.
    let name = "x".repeat(64);
    let unknown = errors(&["clientPort=5", &format!("clientPortAddress={name}")]);
    assert!(unknown.contains(&format!("clientPortAddress: `{name}` is no address, and looking it up")), "{unknown}");
    assert!(errors(&["clientPortAddress=::1"]).contains("clientPortAddress: needs clientPort"));
    assert!(errors(&["secureClientPortAddress=::1"]).contains("needs secureClientPort"));
    let candidates: Vec<String> = Listen::Any { port: 7 }.candidates().iter().map(ToString::to_string).collect();
    assert_eq!(candidates, ["[::]:7", "0.0.0.0:7"]);
}

#[test]
fn a_port_for_tls_alone_is_refused_and_never_served_without() {
    let alone = errors(&["secureClientPort=2182"]);
    assert!(alone.contains("secureClientPort: TLS comes later, and there is no clientPort"), "{alone}");
    let both = try_load(&["clientPort=2181", "secureClientPort=2182", "secureClientPortAddress=::1"]).expect("usable");
    assert_eq!(both.config.clients.listen, Some(Listen::Any { port: 2181 }));
    assert_eq!(both.config.clients.secure_listen, Some(Listen::At("[::1]:2182".parse().expect("an address"))));
    let warnings: Vec<String> = both.warnings.iter().map(ToString::to_string).collect();
    assert!(warnings.iter().any(|text| text.contains("does not listen for TLS clients")), "{warnings:?}");
}

#[test]
fn the_log_has_room_for_the_largest_request() {
    let sizes = |lines: &[&str]| {
        let storage = config(lines).storage;
        (storage.log_segment_bytes >> 20, storage.log_record_bytes_max >> 20)
    };
    for (lines, expected) in [
        (&["preAllocSize=1024"][..], (32, 8)),
        (&["preAllocSize=16777216"], (1_024, 8)),
        (&["txnLogSizeLimitInKb=40960"], (40, 8)),
        (&["txnLogSizeLimitInKb=1000000"], (64, 8)),
        (&["txnLogSizeLimitInKb=0"], (64, 8)),
        (&["jute.maxbuffer=0x1000000"], (64, 32)),
        (&["jute.maxbuffer=104857600"], (202, 200)),
        (&["jute.maxbuffer=104857600", "jute.maxbuffer.extrasize=125829120"], (222, 220)),
        (&["jute.maxbuffer=104857600", "jute.maxbuffer.extrasize=0"], (202, 200)),
        (&["jute.maxbuffer=2147483647"], (258, 256)),
    ] {
        assert_eq!(sizes(lines), expected, "{lines:?}");
    }
    let loaded = try_load(&["jute.maxbuffer=2147483647", "clientPort=1"]).expect("usable");
    assert_eq!(loaded.config.clients.frame_bytes_max, 134_217_728);
    let text = loaded.warnings.first().map(ToString::to_string).unwrap_or_default();
    assert!(text.contains("jute.maxbuffer: 2147483647 counts as 134217728"), "{text}");
}

#[test]
fn session_timeouts_follow_the_tick() {
    let times = |lines: &[&str]| {
        let s = config(lines).sessions;
        (s.tick_ms, s.timeout_ms_min, s.timeout_ms_max)
    };
    assert_eq!(times(&["tickTime=100"]), (100, 200, 2_000));
    assert_eq!(times(&["minSessionTimeout=-1", "maxSessionTimeout=7000"]), (3_000, 6_000, 7_000));
    assert_eq!(times(&["minSessionTimeout=0"]), (3_000, 0, 60_000));
    assert!(errors(&["maxSessionTimeout=5999"]).contains("6000 ms) is above the longest (5999 ms)"));
}

#[test]
fn zero_and_minus_one_mean_without_limit() {
    let c = config(&["maxClientCnxns=0", "maxCnxns=-1", "snapSizeLimitInKb=0", "snapCount=0"]);
    assert_eq!((c.clients.per_address_max, c.clients.connections_max), (None, None));
    assert_eq!((c.storage.snap_log_bytes, c.storage.snap_count), (SnapLogBytes::Off, Some(2)));
    let c =
        config(&["snapSizeLimitInKb=-1", "ringkeeper.watchdogTimeoutMs=0", "znode.container.maxNeverUsedIntervalMs=5"]);
    assert_eq!((c.storage.snap_log_bytes, c.ring.watchdog), (SnapLogBytes::Off, None));
    assert_eq!(c.tree.containers.never_used_max, Some(Duration::from_millis(5)));
}

#[test]
fn four_letter_words_are_those_listed_and_srvr() {
    let words = |list: &str| config(&[&format!("4lw.commands.whitelist={list}")]).four_letter_words;
    assert!(words("*").allows("wchp") && words("*").iter().count() == 18);
    let some = words("ruok, mntr");
    assert!(some.allows("ruok") && some.allows("mntr") && some.allows("srvr") && !some.allows("conf"));
    assert!(config(&["readonlymode.enabled=true"]).four_letter_words.allows("isro"));
}

#[test]
fn secrets_appear_in_no_message() {
    let text = errors(&["superDigest=hunter2", "ssl.keyStore.password=hunter2"]);
    assert!(text.contains("superDigest") && !text.contains("hunter2"), "{text}");
    let shown = format!("{:?}", config(&["superDigest=super:hunter2"]));
    assert!(shown.contains("Secret(hidden)") && !shown.contains("hunter2"));
}

#[test]
fn the_metrics_provider_gets_its_settings() {
    let c = config(&["metricsProvider.httpPort=7001", "metricsProvider.ssl.keyStore.location=/k"]);
    let settings: Vec<_> = c.metrics.settings.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(settings, [("httpPort", "7001"), ("ssl.keyStore.location", "/k")]);
}

#[test]
fn one_voter_is_standalone_unless_that_is_switched_off() {
    let one = "server.1=a:1:2";
    assert!(config(&[one]).ensemble().is_none());
    let text = errors(&[one, "standaloneEnabled=false"]);
    assert!(text.contains("initLimit is not set") && text.contains("myid is not set"), "{text}");
    assert!(errors(&["standaloneEnabled=false"]).contains("no `server.` line"));
    assert!(errors(&[one, "server.2=b:1:2:observer"]).contains("observers need an ensemble"));
}

#[test]
fn an_ensemble_must_list_this_server() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(dir.path().join("myid"), "7\n").expect("written");
    let data_dir = format!("dataDir={}", dir.path().display());
    let lines = [&data_dir, "initLimit=1", "syncLimit=1", "server.1=a:1:2", "server.2=b:1:2"];
    assert!(errors(&lines).contains("server.7 is not set"), "{}", errors(&lines));
    let config = config(&[&lines[..], &["server.7=c:1:2"]].concat());
    assert_eq!(config.ensemble().expect("one").ensemble.members().len(), 3);
}

#[test]
fn the_lines_of_an_ensemble_are_checked_one_by_one_and_together() {
    let servers = ["server.1=a:1:2", "server.2=b:1:2", "server.3=c:1:2:observer"];
    let errors_with = |more: &[&str]| errors(&[&servers[..], more].concat());
    let text = errors_with(&["server.x=d:1:2", "server.4=d:1", "group.1=1:", "weight.1=-1"]);
    assert!(text.contains("`server.x` does not end with a server's id; these are whole numbers from 0 to"), "{text}");
    assert!(text.contains("server.4 takes the form host:quorumPort:electionPort"), "{text}");
    assert!(
        text.contains("group.1 takes server ids") && text.contains("weight.1 takes a whole number from 0"),
        "{text}"
    );
    let text = errors_with(&["weight.1=2"]);
    assert!(text.contains("the group of server 1 is not set") && text.contains("the group of server 2"), "{text}");
    let text = errors_with(&["group.02=2", "group.1=1:2"]);
    assert!(text.contains("group.02: a server is in one group, and server 2 stands in several"), "{text}");
    assert!(errors_with(&["group.1=1:2:3"]).contains("the weight of server 3 is not set"));
    assert!(errors_with(&["server.4=d:1:2|e:1:2"]).contains("multiAddress.enabled=true"));
}

#[test]
fn a_property_without_a_value_is_refused() {
    assert!(errors(&["tickTime"]).contains("-D: `tickTime` is not of the form key=value"));
    assert!(errors(&["=5"]).contains("key=value"));
}

#[test]
fn an_absent_or_oversized_file_is_named() {
    let at = |path: &Path| load(&Sources { file: Some(path.to_owned()), ..Sources::default() });
    let text = at(Path::new("/nonexistent/zoo.cfg")).expect_err("absent").to_string();
    assert!(text.contains("/nonexistent/zoo.cfg: cannot read the configuration file"), "{text}");
    let file = tempfile::NamedTempFile::new().expect("a file");
    file.as_file().set_len(FILE_BYTES_MAX + 1).expect("grown");
    assert!(at(file.path()).expect_err("too large").to_string().contains("more than 1048576 bytes"));
}

/// A value that the key allows and that is not its default.
fn other_value(spec: &KeySpec) -> String {
    let default = spec.kind.read(spec.default);
    let candidates: Vec<String> = match spec.kind {
        Kind::Bool => ["true", "false"].map(str::to_owned).into(),
        Kind::YesNo => ["yes", "no"].map(str::to_owned).into(),
        Kind::Int { min, max } | Kind::AutoOrInt { min, max } => vec![min.to_string(), max.to_string()],
        Kind::Float { min, .. } => vec![min.to_string(), (min + 0.5).to_string()],
        Kind::Choice(words) => words.iter().map(|word| (*word).to_owned()).collect(),
        Kind::Interval => vec!["7".into()],
        Kind::BytesOrShare => vec!["7%".into()],
        Kind::List => vec!["ruok".into()],
        Kind::Path | Kind::Host | Kind::Text => vec!["127.0.0.1".into()],
        Kind::Secret => vec!["super:x".into()],
    };
    let other = candidates.iter().find(|text| spec.kind.read(text) != default);
    other.or(candidates.first()).expect("a value").clone()
}

#[test]
fn a_key_whose_function_comes_later_says_so_and_no_other_does() {
    for spec in keys::all() {
        let name = spec.name.replace('*', "1");
        for written in [name.clone(), format!("zookeeper.{name}")] {
            let (mut found, mut refused) = (Vec::new(), Vec::new());
            let mut raw = RawConfig::default();
            raw.push(&written, &other_value(spec), Origin::Option("-D"));
            let settings = Settings::from_raw(&raw, &mut refused, &mut found);
            assert!(refused.is_empty() && settings.iter().count() == 1, "{written}: {refused:?}");
            let text = found.first().map(ToString::to_string).unwrap_or_default();
            let expected = match spec.effect {
                Effect::Now | Effect::Ensemble | Effect::EnsembleLater(_) | Effect::EnsembleRefused => found.is_empty(),
                Effect::Later | Effect::LaterMind(_) => text.contains("accepted, not yet effective"),
                Effect::Never(reason) => text.contains(reason),
            };
            assert!(expected && (text.is_empty() || text.contains(&written)), "{written}: {found:?}");
        }
    }
}

/// The warnings of server 1 of three that has this line as well.
fn warnings_of_a_member(line: &str) -> Vec<String> {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("myid"), "1").expect("it can be written");
    let file = dir.path().join("zoo.cfg");
    let three = "clientPort=2181\ninitLimit=10\nsyncLimit=5\nserver.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2";
    std::fs::write(&file, format!("dataDir={}\n{three}\n{line}\n", dir.path().display())).expect("it can be written");
    let loaded =
        load(&Sources { file: Some(file), ..Sources::default() }).unwrap_or_else(|errors| panic!("{line}: {errors}"));
    loaded.warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn a_member_says_of_each_key_that_comes_later_for_ensembles_what_holds_until_then() {
    assert_eq!(warnings_of_a_member(""), Vec::<String>::new());
    let mut later = 0;
    for spec in keys::all().filter(|spec| !spec.name.starts_with("quorum.auth.")) {
        let Effect::EnsembleLater(until_then) = spec.effect else { continue };
        let warnings = warnings_of_a_member(&format!("{}={}", spec.name, other_value(spec)));
        let expected = format!("{}: accepted, not yet effective: {until_then}", spec.name);
        assert!(matches!(&warnings[..], [one] if one.ends_with(&expected)), "{}: {warnings:?}", spec.name);
        assert_eq!(warnings_of_a_member(&format!("{}={}", spec.name, spec.default)), Vec::<String>::new());
        later += 1;
    }
    assert!(later > 10, "{later} keys");
    let reconfig = warnings_of_a_member("reconfigEnabled=true");
    assert!(reconfig[0].contains("reconfigEnabled: accepted, not yet effective in an ensemble"), "{reconfig:?}");
}

#[test]
fn what_ends_a_members_start_is_what_the_table_says() {
    let names =
        |effect: fn(&Effect) -> bool| keys::all().filter(move |spec| effect(&spec.effect)).map(|spec| spec.name);
    let mut of_the_table: Vec<_> = names(|effect| *effect == Effect::EnsembleRefused).collect();
    let mut of_the_member = crate::member::REFUSED.map(|(key, ..)| key);
    of_the_table.sort_unstable();
    of_the_member.sort_unstable();
    assert_eq!(of_the_table, of_the_member);
}

#[test]
fn every_key_resolves_at_both_ends_of_its_range() {
    for spec in keys::all() {
        let (Kind::Int { min, max } | Kind::AutoOrInt { min, max }) = spec.kind else { continue };
        for number in [min, max] {
            // Rules between keys may refuse it; a panic would be a field that is too narrow for the table.
            let outcome = try_load(&[&format!("{}={number}", spec.name)]);
            drop(outcome);
        }
        for wrong in [min.checked_sub(1), max.checked_add(1)].into_iter().flatten() {
            let text = errors(&[&format!("{}={wrong}", spec.name)]);
            assert!(text.contains(&spec.kind.allowed()) && text.contains(spec.name), "{text}");
        }
    }
}

#[test]
fn the_reference_page_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    if std::env::var_os("RINGKEEPER_BLESS").is_some() {
        std::fs::write(&path, reference::page()).expect("written");
    }
    let written = std::fs::read_to_string(&path).expect("the page");
    assert!(written == reference::page(), "docs/configuration.md is out of date: see config/reference.rs");
}

/// Writes a text so that a properties reader gives it back: the model against which the parser is held.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    let mut units = [0; 2];
    for c in text.chars() {
        for unit in c.encode_utf16(&mut units) {
            out.push_str(&format!("\\u{unit:04x}"));
        }
    }
    out
}

/// Any known key whose value is not looked up as a host name.
fn any_key() -> impl Strategy<Value = &'static KeySpec> {
    let keys: Vec<_> = keys::all().filter(|spec| spec.kind != Kind::Host && !spec.is_family()).collect();
    proptest::sample::select(keys)
}

proptest! {
    #[test]
    fn parsing_any_bytes_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let (mut errors, mut warnings) = (Vec::new(), Vec::new());
        let raw = RawConfig::parse(Path::new("any.cfg"), &bytes, &mut errors);
        Settings::from_raw(&raw, &mut errors, &mut warnings);
    }

    #[test]
    fn parsing_text_full_of_syntax_never_panics(text in "[a-c=:#!\\\\ \t\r\nu0-9.é]{0,200}") {
        let (mut errors, mut warnings) = (Vec::new(), Vec::new());
        let raw = RawConfig::parse(Path::new("any.cfg"), text.as_bytes(), &mut errors);
        Settings::from_raw(&raw, &mut errors, &mut warnings);
    }

    #[test]
    fn an_escaped_entry_reads_back(key in "[!-~é😀]{1,20}", value in "[!-~é😀]{0,20}") {
        let mut errors = Vec::new();
        let line = format!("{} = {}", escaped(&key), escaped(&value));
        let raw = RawConfig::parse(Path::new("any.cfg"), line.as_bytes(), &mut errors);
        let pairs: Vec<_> = raw.entries.iter().map(|e| (e.key.as_str(), e.value.as_str())).collect();
        prop_assert_eq!(pairs, [(key.as_str(), value.as_str())]);
        prop_assert!(errors.is_empty());
    }

    #[test]
    fn any_values_of_known_keys_resolve_or_are_refused(
        pairs in proptest::collection::vec((any_key(), "-?[0-9]{1,11}|true|no|auto|[a-z:/,]{0,8}"), 1..6)
    ) {
        let lines: Vec<String> = pairs.iter().map(|(spec, value)| format!("{}={value}", spec.name)).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        if let Err(errors) = try_load(&lines) {
            prop_assert!(!errors.0.is_empty());
        }
    }
}
