//! The blocks of `docs/ensemble.md`, run as they stand there: on one machine, and on three. `mixed::migration` runs those of `docs/migration.md`.
//!
//! A machine is a network namespace, with directories that nobody else sees in place of `/tmp` and `/var/lib`; all of them end with the test. Needs root.

use ringkeeper_tests::{binary, top};
use std::path::Path;
use std::process::{Command, Stdio};

fn blocks(section: &str) -> Vec<String> {
    blocks_of("ensemble.md", section)
}

/// The bash blocks of a section of a page, in their order.
pub fn blocks_of(page: &str, section: &str) -> Vec<String> {
    let page = std::fs::read_to_string(top().join("docs").join(page)).expect("the page");
    let (_, from) = page.split_once(&format!("\n## {section}\n")).expect("the section");
    let text = from.split("\n## ").next().unwrap_or(from);
    let blocks = text.split("```bash\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap_or(block).to_owned()).collect()
}

/// Runs a script in bash, as the first process of a system of its own, which ends with it: `/tmp`, `/var/lib` and `/run` are empty, and there is no network. The page's repository is `/tmp/repository`,
/// where the script begins. What it prints comes back.
pub fn run(script: &str) -> String {
    let dir = tempfile::Builder::new().prefix("rk-page-").tempdir_in("/dev/shm").expect("a temporary directory");
    let release = dir.path().join("repository/target/release");
    std::fs::create_dir_all(&release).expect("a directory for the program");
    for program in ["ringkeeper", "rkctl"] {
        std::fs::copy(binary(program), release.join(program)).expect("the program can be copied");
    }
    let script = format!("{SYSTEM}\n{script}");
    let output = Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["timeout", "200", "bash", "-euo", "pipefail", "-c", &script, "bash"])
        .arg(dir.path())
        .stdin(Stdio::null())
        .output()
        .expect("namespaces can be made (that needs root)");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n--- it printed:\n{out}\n--- and said:\n{err}", output.status);
    out.into_owned()
}

/// The mounts, and what the scripts between the page's blocks have: waiting, and the ends of the logs where it was in vain.
const SYSTEM: &str = r#"
mount --bind "$1" /tmp
mount -t tmpfs none /var/lib
mount -t tmpfs none /run
ip link set lo up
cd /tmp/repository
trap '[ $? = 0 ] || tail -n 20 /tmp/rk/log* /tmp/zk/log* /tmp/zk*/log >&2 || true' EXIT
until_so() { for _ in $(seq 1200); do if "$@" > /dev/null 2>&1; then return 0; fi; sleep 0.05; done; echo "in vain: $*" >&2; return 1; }
modes() { who | sed 's/.*Mode: //' | sort | xargs; }
are() { [ "$(modes)" = "$1" ]; }
"#;

#[test]
fn three_servers_on_one_machine_are_what_the_page_says() {
    let blocks = blocks("Three servers on one machine");
    let [start, who, shell, again] = blocks.as_slice() else { panic!("the page has other blocks: {blocks:#?}") };
    let page = std::fs::read_to_string(top().join("docs/ensemble.md")).expect("the page");
    // What stands in the text between the blocks.
    for words in ["`grep served log*`", "`kill -9 $(cat pid3)`", "`kill $(cat pid1 pid2 pid3)`"] {
        assert!(page.contains(words), "the page does not say {words} any more");
    }
    let has_shell = Path::new("/usr/share/zookeeper/bin/zkCli.sh").exists();
    assert!(has_shell, "apt install zookeeper: the page's shell is what this test uses");
    let script = format!(
        r#"
{start}
all_serve() {{ [ "$(grep -l 'clients are served' log* | wc -l)" = 3 ]; }}
until_so all_serve
grep -q 'leading: clients are served' log* && grep -q 'following: clients are served' log*
{who}
until_so are 'follower follower leader'
PATH=$PATH:/usr/share/zookeeper/bin
{{
{shell}
}} > shell 2>&1 <<< 'create /from-the-shell'
grep -q 'Created /from-the-shell' shell
i=$(who | sed -n 's/: Mode: leader//p')
kill -9 $(cat pid$i)
two_serve() {{ who | grep -c Mode: | grep -qx 2; }}
until_so two_serve
eval "${{AGAIN/i=3/i=$i}}"
until_so are 'follower follower leader'
kill $(cat pid1 pid2 pid3)
wait $(cat pid1 pid2 pid3)
cat out1 out2 out3 | grep -c '^ringkeeper: ended$'
"#
    );
    // Whoever led is started again, which may be another than the page's.
    let script = format!("AGAIN=$(cat <<'BLOCK'\n{again}\nBLOCK\n)\n{script}");
    let printed = run(&script);
    assert!(printed.ends_with("\n3\n"), "all three end when asked to:\n{printed}");
}

#[test]
fn three_machines_are_what_the_page_says() {
    let blocks = blocks("On three machines");
    let [own, start, who] = blocks.as_slice() else { panic!("the page has other blocks: {blocks:#?}") };
    assert!(own.contains("id=1\n"), "{own}");
    let script = format!(
        r#"
for i in 1 2 3; do
  cat > /tmp/machine$i <<'MACHINE'
mount --bind /tmp/zkNUMBER /var/lib/ringkeeper
{own}
id=NUMBER
{start}
MACHINE
  sed -i "s/NUMBER/$i/" /tmp/machine$i
done
mkdir /var/lib/ringkeeper
(cat /etc/hosts; for i in 1 2 3; do echo "10.0.0.$i zk$i"; done) > /tmp/hosts
mount --bind /tmp/hosts /etc/hosts
ip link add switch type bridge
ip addr add 10.0.0.254/24 dev switch
ip link set switch up
for i in 1 2 3; do
  mkdir /tmp/zk$i
  ip netns add zk$i
  ip link add port$i type veth peer name eth0 netns zk$i
  ip link set port$i master switch up
  ip -n zk$i addr add 10.0.0.$i/24 dev eth0
  ip -n zk$i link set eth0 up
  ip -n zk$i link set lo up
  ip netns exec zk$i bash -euo pipefail /tmp/machine$i
done
{own}
{who}
until_so are 'follower follower leader'
for i in 1 2 3; do cat /tmp/zk$i/data/myid; done
cmp /tmp/zk1/zoo.cfg /tmp/zk2/zoo.cfg && cmp /tmp/zk1/zoo.cfg /tmp/zk3/zoo.cfg
grep '^server' /tmp/zk1/zoo.cfg
"#
    );
    let printed = run(&script);
    let wanted = "\n1\n2\n3\nserver.1=zk1:2888:3888\nserver.2=zk2:2888:3888\nserver.3=zk3:2888:3888\n";
    assert!(printed.ends_with(wanted), "{printed}");
}
