//! What the binary says before it serves: its options, the configuration, and what the machine or the directory lacks.
//!
//! The words themselves are held by the server crate's tests; here, that they reach the user with the right exit code and that
//! nothing panics: 0 usable, 2 a mistake in the configuration, 1 the machine.

use client::{ConnectOptions, Connection, Operations, four_letter_word};
use proto::request::CreateMode;
use ringkeeper_tests::{Builder, Server, binary, refuse_calls, top};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// How long a server that should not start may take to say so.
const PATIENCE_S: &str = "60";
/// `nobody`, on every Linux.
const NOBODY: u32 = 65_534;

/// Runs a command to its end (`timeout` ends one that serves instead) and gives back exit code, stdout and stderr.
fn run(command: &Command) -> (Option<i32>, String, String) {
    let mut bounded = Command::new("timeout");
    bounded.arg(PATIENCE_S).arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    bounded.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let Output { status, stdout, stderr } = bounded.output().expect("it can be started");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    let (out, err) = (text(stdout), text(stderr));
    assert!(!err.contains("panicked"), "{err}");
    (status.code(), out, err)
}

fn ringkeeper(words: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(binary("ringkeeper"));
    command.args(words);
    run(&command)
}

/// Runs a server that must refuse to start, with exit code 1, and gives back what it says.
fn refused(builder: &Builder) -> String {
    let (code, out, err) = run(&builder.command());
    assert_eq!(code, Some(1), "stdout: {out}\nstderr: {err}");
    assert!(!out.contains("serving on"), "{out}");
    err
}

fn assert_says(text: &str, needles: &[&str]) {
    for needle in needles {
        assert!(text.contains(needle), "`{needle}` is missing in:\n{text}");
    }
}

#[test]
fn help_and_version_end_with_0() {
    let (code, out, _) = ringkeeper(&["--help"]);
    assert_eq!(code, Some(0));
    assert_says(&out, &["Usage: ", "--check-config", "--data-dir", "zoo.cfg"]);
    let (code, out, _) = ringkeeper(&["--version"]);
    assert_eq!((code, out.trim()), (Some(0), concat!("ringkeeper ", env!("CARGO_PKG_VERSION"))));
    let (code, _, err) = ringkeeper(&["--no-such-option"]);
    assert_eq!(code, Some(2));
    assert_says(&err, &["--no-such-option", "--help"]);
}

#[test]
fn check_config_checks_and_touches_nothing() {
    let builder = Server::builder().set("zookeeper.snapCount", "5000").set("frobnicate", "1").set("maxClientCnxn", "7");
    let file = builder.write_config();
    let (code, out, err) = ringkeeper(&["--check-config", file.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{err}");
    assert_says(&out, &["the configuration is usable"]);
    assert_says(&err, &["unknown key `frobnicate` is ignored", "did you mean `maxClientCnxns`?", "zoo.cfg:"]);
    assert!(!err.contains("snapCount"), "{err}");
    assert!(!builder.data_dir().exists(), "checking made the data directory");
}

#[test]
fn what_an_ensemble_does_not_have_yet_is_refused_by_the_check_as_by_the_start() {
    let mut builder = Server::builder().set("initLimit", "10").set("syncLimit", "5");
    for id in 1..=3 {
        builder = builder.set(&format!("server.{id}"), "127.0.0.1:1:2");
    }
    let keys = [("sslQuorum", "true"), ("quorum.auth.enableSasl", "true"), ("observerMasterPort", "2191")]
        .into_iter()
        .chain([("oraclePath", "/x"), ("readonlymode.enabled", "true"), ("leaderServes", "no")]);
    for (key, value) in keys.clone() {
        builder = builder.set(key, value);
    }
    let file = builder.write_config();
    std::fs::create_dir(builder.data_dir()).unwrap();
    std::fs::write(builder.data_dir().join("myid"), "1").unwrap();
    for words in [&["--check-config"][..], &[]] {
        let mut words = words.to_vec();
        words.push(file.to_str().unwrap());
        let (code, out, err) = ringkeeper(&words);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
        keys.clone().for_each(|(key, _)| assert_says(&err, &[&format!(" {key}: comes later for ensembles")]));
    }
    assert_eq!(std::fs::read_dir(builder.data_dir()).unwrap().count(), 1, "a refused start has written");
}

#[test]
fn a_wrong_value_is_named_with_file_line_and_what_is_allowed() {
    for words in [&["--check-config"][..], &[]] {
        // Its keys stand in the order of these calls, one a line, behind the harness's own.
        let builder = Server::builder().set("initLimit", "5").set("clientPort", "70000").set("syncEnabled", "yes");
        let file = builder.write_config();
        let text = std::fs::read_to_string(&file).unwrap();
        let line_of = |key: &str| 1 + text.lines().position(|line| line.starts_with(key)).unwrap();
        let mut words = words.to_vec();
        words.push(file.to_str().unwrap());
        let (code, out, err) = ringkeeper(&words);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
        let port = format!("zoo.cfg:{}: clientPort: `70000`", line_of("clientPort="));
        let sync = format!("zoo.cfg:{}: syncEnabled: `yes`", line_of("syncEnabled="));
        assert_says(&err, &[&port, "from 0 to 65535", &sync, "true or false"]);
        assert!(!builder.data_dir().exists(), "a wrong configuration made the data directory");
    }
    let (code, _, err) = ringkeeper(&["/no/such/zoo.cfg"]);
    assert_eq!(code, Some(2));
    assert_says(&err, &["/no/such/zoo.cfg"]);
}

#[test]
fn an_unknown_key_is_a_warning_in_the_log_and_the_server_serves() {
    let server = Server::builder().set("frobnicate", "1").start();
    assert_says(&server.log(), &["WARN", "unknown key `frobnicate` is ignored"]);
    let answer = four_letter_word(server.address(), "ruok", Duration::from_secs(10)).unwrap();
    assert_eq!(answer, "imok");
}

#[test]
fn a_directory_in_use_is_refused_and_its_server_named() {
    let builder = Server::builder();
    let mut server = builder.clone().start();
    let said = refused(&builder);
    let process = format!("(process {})", server.pid());
    assert_says(&said, &["dataDir", "already in use by another server", &process, "directory of its own"]);
    // A lock file that a killed server left is no lock.
    server.kill9();
    drop(builder.start());
}

#[test]
fn the_directory_of_the_log_is_locked_too_whatever_the_other_server_uses_it_for() {
    let log_dir = tempfile::tempdir().unwrap();
    let log_dir = log_dir.path().to_str().expect("a temporary path is text");
    let server = Server::builder().set("dataLogDir", log_dir).start();
    let process = format!("(process {})", server.pid());
    for key in ["dataLogDir", "dataDir"] {
        let said = refused(&Server::builder().set(key, log_dir));
        assert_says(&said, &[&format!("{key}: {log_dir} is already in use by another server {process}")]);
    }
    drop(server);
    // One directory under two names is no other server.
    let builder = Server::builder();
    std::fs::create_dir_all(builder.data_dir()).unwrap();
    let link = format!("{log_dir}/link");
    std::os::unix::fs::symlink(builder.data_dir(), &link).unwrap();
    drop(builder.set("dataLogDir", &link).start());
}

#[test]
fn a_port_in_use_is_refused_and_named() {
    for shards in [1, 2] {
        let server = Server::builder().shards(shards).start();
        let port = server.address().port().to_string();
        let said = refused(&Server::builder().shards(shards).set("clientPort", &port));
        assert_says(&said, &["address already in use", &port, "clientPort"]);
        let answer = four_letter_word(server.address(), "ruok", Duration::from_secs(10)).unwrap();
        assert_eq!(answer, "imok", "the first server is not disturbed");
    }
}

#[test]
fn a_directory_of_zookeeper_that_does_not_read_is_refused_and_left_as_it_is() {
    let builder = Server::builder();
    let version_2 = builder.data_dir().join("version-2");
    std::fs::create_dir_all(&version_2).unwrap();
    std::fs::write(version_2.join("snapshot.0"), b"ZKSN").unwrap();
    let said = refused(&builder);
    assert_says(&said, &["version-2/snapshot.0", "in the middle of a record", "none could be read"]);
    assert_eq!(std::fs::read(version_2.join("snapshot.0")).unwrap(), b"ZKSN");
}

/// An ordinary user with 64 KiB of lockable memory: with our limits where the tests run as root, else as the user that runs them.
#[test]
fn an_ordinary_user_with_little_lockable_memory_is_told_the_remedy() {
    let builder = Server::builder().shards(2);
    let file = builder.write_config();
    let home = file.parent().unwrap();
    std::fs::create_dir(builder.data_dir()).unwrap();
    // Where the tests are built may be closed to others.
    let copy = home.join("ringkeeper");
    std::fs::copy(binary("ringkeeper"), &copy).unwrap();
    let mut words = vec!["--memlock=65536:65536".to_owned()];
    if rustix::process::getuid().is_root() {
        for path in [home, &builder.data_dir(), &file, &copy] {
            std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        words.extend([
            "setpriv".into(),
            format!("--reuid={NOBODY}"),
            format!("--regid={NOBODY}"),
            "--clear-groups".into(),
        ]);
    }
    let mut command = Command::new("prlimit");
    command.args(words).arg(&copy).arg(&file);
    let (code, out, err) = run(&command);
    assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
    assert_says(&err, &["RLIMIT_MEMLOCK", "64 KiB", "2 shard(s)", "ulimit -l 1024", "LimitMEMLOCK"]);
}

#[test]
fn a_profile_that_blocks_io_uring_is_named_with_its_remedy() {
    let calls = [libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];
    let calls = calls.map(|call| (call, None));
    for (errno, needles) in [
        (libc::EPERM, &["io_uring_setup: not permitted", "seccomp", "--security-opt seccomp=unconfined"][..]),
        (libc::ENOSYS, &["io_uring_setup", "ENOSYS", "seccomp profile that allows io_uring"]),
    ] {
        let builder = Server::builder();
        // The filter holds for one thread and for what it starts.
        let said = std::thread::scope(|scope| {
            let filtered = scope.spawn(|| {
                refuse_calls(&calls, errno);
                refused(&builder)
            });
            filtered.join().unwrap()
        });
        assert_says(&said, needles);
        assert!(!Path::new(&builder.data_dir()).join("control.sock").exists());
    }
}

#[test]
fn a_container_goes_by_its_environment_and_then_by_its_file() {
    let variables = [("ZOO_TICK_TIME", "700"), ("ZOO_MY_ID", "9"), ("ZOO_4LW_COMMANDS_WHITELIST", "ruok")];
    let settings =
        |builder: Builder| builder.set("clientPortAddress", "127.0.0.1").set("4lw.commands.whitelist", "conf");
    let builder = settings(Server::builder()).container(&variables);
    let mut server = builder.clone().start();
    let conf = four_letter_word(server.address(), "conf", Duration::from_secs(10)).unwrap();
    assert_says(&conf, &["tickTime=500", "serverId=0", "dataLogDir="]);
    let client = Connection::connect(server.address(), &ConnectOptions::default()).unwrap();
    assert_eq!(client.session_id().0 >> 56, 1, "a lone server's, whatever its myid");
    let file = builder.conf_dir().join("zoo.cfg");
    let written = std::fs::read_to_string(&file).unwrap();
    assert_says(&written, &["\ntickTime=700\n", "\nserver.1=localhost:2888:3888\n4lw.commands.whitelist=ruok\n"]);
    assert_eq!(std::fs::read_to_string(builder.data_dir().join("myid")).unwrap(), "9\n");
    assert_says(
        &server.log(),
        &["environment ZOO_TICK_TIME: tickTime: has no effect, because environment ZOO_CFG_EXTRA"],
    );
    server.kill9();
    std::fs::write(&file, written.replace("tickTime=500", "tickTime=900")).unwrap();
    let again = builder.container(&[("ZOO_TICK_TIME", "800"), ("ZOO_TICKTIME", "1")]).start();
    let conf = four_letter_word(again.address(), "conf", Duration::from_secs(10)).unwrap();
    assert_says(&conf, &["tickTime=900"]);
    let names =
        "environment: ZOO_CFG_EXTRA, ZOO_DATA_DIR, ZOO_DATA_LOG_DIR, ZOO_SERVERS, ZOO_TICK_TIME: no effect, because";
    assert_says(&again.log(), &[names, "zoo.cfg exists and holds", "unknown variable `ZOO_TICKTIME` is ignored"]);
}

#[test]
fn a_containers_bad_value_is_named_by_its_variable_and_nothing_is_written() {
    let builder = Server::builder().container(&[("ZOO_INIT_LIMIT", "soon"), ("ZOO_MY_ID", "first")]);
    let (code, out, err) = run(&builder.command());
    assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
    assert_says(&err, &["environment ZOO_INIT_LIMIT: initLimit: `soon`", "environment ZOO_MY_ID: myid: `first`"]);
    let servers = "server.1=zoo1:2888:3888;2181 server.2=zoo2:2888:3888;2181";
    let builder = Server::builder().container(&[("ZOO_SERVERS", servers), ("ZOO_CFG_EXTRA", "sslQuorum=true")]);
    let (code, _, err) = run(&builder.command());
    assert_eq!(code, Some(2), "{err}");
    assert_says(&err, &["sslQuorum"]);
    let is_empty = |dir: &Path| std::fs::read_dir(dir).unwrap().next().is_none();
    assert!(is_empty(&builder.conf_dir()), "an ensemble's file was left");
    // What is refused only once all keys were found good: a wrong `myid` left behind would hold against the right variable.
    let server = "server.2=localhost:2888:3888;2181";
    let builder = Server::builder().container(&[("ZOO_MY_ID", "1"), ("ZOO_SERVERS", server), ("ZOO_CFG_EXTRA", "")]);
    let (code, _, err) = run(&builder.command());
    assert_eq!(code, Some(2), "{err}");
    assert_says(&err, &["names no clientPort"]);
    assert!(is_empty(&builder.conf_dir()) && !builder.data_dir().join("myid").exists(), "a refused start has written");
    let builder = Server::builder().container(&[]);
    let (code, _, err) = run(builder.command().arg("--check-config"));
    assert_eq!(code, Some(0), "{err}");
    assert!(is_empty(&builder.conf_dir()) && !builder.data_dir().exists(), "checking has written");
}

/// What the image begins with, without an engine: as root it goes on as the user 1000, else as whoever runs it.
#[test]
fn the_containers_entry_script_serves_as_an_ordinary_user_and_runs_other_commands_as_they_stand() {
    let builder = Server::builder().container(&[]);
    let home = builder.conf_dir().parent().unwrap().to_owned();
    std::fs::copy(binary("ringkeeper"), home.join("ringkeeper")).unwrap();
    std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", home.display(), std::env::var("PATH").unwrap());
    let entry = |words: &[&str]| {
        let mut command = Command::new(top().join("tools/docker/entrypoint.sh"));
        command.args(words).env("PATH", &path);
        command.envs(builder.command().get_envs().filter_map(|(name, value)| Some((name, value?))));
        run(&command)
    };
    for words in [&["zkServer.sh", "start-foreground", "--check-config"][..], &["--check-config"]] {
        let (code, out, err) = entry(words);
        assert_eq!((code, out.as_str()), (Some(0), "ringkeeper: the configuration is usable\n"), "{words:?}: {err}");
    }
    if rustix::process::getuid().is_root() {
        assert_eq!(std::fs::metadata(builder.data_dir()).unwrap().uid(), 1_000);
        // The user 1000 cannot look into a directory of root.
        std::fs::set_permissions(builder.conf_dir(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let (code, _, err) = entry(&["--check-config"]);
        assert_eq!(code, Some(2), "it runs as root: {err}");
        assert_says(&err, &["conf/zoo.cfg: cannot read the configuration file: Permission denied"]);
    }
    let (code, _, err) = entry(&["zkServer.sh", "status"]);
    assert!(code == Some(1) && err.contains("only start-foreground"), "{err}");
    let (code, out, _) = entry(&["echo", "as", "it", "stands"]);
    assert_eq!((code, out.as_str()), (Some(0), "as it stands\n"));
}

/// `jute.maxbuffer` is raised for large znodes; the log must have room for their txns, or the server would not start, or end with one.
#[test]
fn a_large_jute_maxbuffer_is_taken_at_its_word() {
    const NODE_BYTES: usize = 33 << 20;
    let mut server = Server::builder().in_memory().set("jute.maxbuffer", "50000000").start();
    let options = ConnectOptions { frame_bytes_max: 2 * NODE_BYTES, ..ConnectOptions::default() };
    let data = vec![7; NODE_BYTES];
    let mut client = Connection::connect(server.address(), &options).unwrap();
    client.create("/large", &data, CreateMode::Persistent).unwrap();
    server.restart();
    let mut client = Connection::connect(server.address(), &options).unwrap();
    assert!(client.get("/large", false).unwrap().0 == data, "another content came back");
}
