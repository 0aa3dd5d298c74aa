"""Runs the modules of kazoo's own suite and holds each outcome to the file of expectations. Called by kazoo-suite.sh.

Owns the pytest processes (one a module, in an environment without `CI`, which would change what kazoo tests), the servers that they start,
their free ports and the comparison; when it ends, however it does, they all end. It must never change kazoo's tests, nor run one again until
it passes: an outcome other than the expected is a failure, an unexpected pass too. How it fails: a module that ends without a report, or
without any test, is a failure of its own. That it bites shows `kazoo-suite.sh test_lock` with a line for one of its tests in the expectations.
"""

import argparse
import collections
import concurrent.futures
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import xml.etree.ElementTree as ElementTree

TEST_SECONDS = 120
"""The longest that one test may take."""

MODULE_SECONDS = 900
"""The longest that one module may take."""

PORTS_EACH = 10
"""Ports that kazoo takes for one server, counted from the first."""

NOT_PASSED = ("failed", "skipped", "raced")
"""What can be expected beside a pass. What is raced passes or fails for the named reason: which of them, kazoo leaves to chance."""

NOTHING_SELECTED = 5
"""pytest's exit code where it found no test."""

NOT_CORE_MODULES = {"test_eventlet_handler", "test_gevent_handler", "test_selectors_select"}
"""Left out by --core: the client's tests again on two other event loops, and one without a server that sleeps for 10 s."""

NOT_CORE_TESTS = ["request_queuing", "TestSSLClient"]
"""Left out by --core: tests that want a restart within 5 s, which a loaded machine may not give, and TLS, which waits 15 s."""

Expectation = collections.namedtuple("Expectation", "outcome text why")
Outcome = collections.namedtuple("Outcome", "test outcome message")
PASSED = Expectation("passed", "", "")


class Expectations:
    """What does not pass, by test, and how many tests the suite has. A line that cannot be read ends the program."""

    def __init__(self, file, server):
        self.by_test, self.total = {}, None
        for number, line in enumerate(file.read_text().splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            fields = [field.strip() for field in line.split("|")]
            if fields[0] == "tests" and len(fields) == 2:
                self.total = int(fields[1])
            elif len(fields) == 5 and fields[0] in ("both", "zookeeper", "ringkeeper") and fields[1] in NOT_PASSED:
                if fields[0] in ("both", server):
                    self.by_test[fields[2]] = Expectation(*([fields[1]] + fields[3:]))
            else:
                sys.exit(f"{file}:{number}: not `server | failed, skipped or raced | test | text | why`: {line}")

    def judge(self, seen):
        """None where the outcome is the expected one, otherwise what is wrong."""
        wanted = self.by_test.get(seen.test, PASSED)
        message = " ".join(seen.message.split())
        if wanted.outcome == "raced":
            wanted = PASSED if seen.outcome == "passed" else wanted._replace(outcome="failed")
        if seen.outcome != wanted.outcome:
            return f"{seen.outcome}, expected {wanted.outcome}: {message or wanted.why}"
        if wanted.text not in message:
            return f"{seen.outcome}, but for another reason than {wanted.text!r}: {message}"
        return None


class Ports:
    """Hands out ports on which nobody listens, for so many servers each time."""

    def __init__(self, first, servers):
        self._next, self._each, self._lock = first, servers * PORTS_EACH, threading.Lock()

    def take(self):
        """The first of the free ports that one module's servers take."""
        with self._lock:
            while True:
                first, self._next = self._next, self._next + self._each
                if all(self._free(port) for port in range(first, first + self._each)):
                    return first

    @staticmethod
    def _free(port):
        try:
            socket.create_server(("", port)).close()
        except OSError:
            return False
        return True


class Group:
    """A command in a process group of its own, which goes with all whom the command has started: the servers of kazoo's tests.

    A keeper outside of the group reads from a pipe that this program alone can write to, and kills the group at its end: when the `with` is
    left, and when this program ends, be it by SIGKILL.
    """

    KEEPER = ["sh", "-c", 'cat >/dev/null; kill -s KILL -- "-$0" 2>/dev/null']

    def __init__(self, command, **options):
        self.leader = subprocess.Popen(command, start_new_session=True, **options)
        self._keeper = subprocess.Popen([*self.KEEPER, str(self.leader.pid)], stdin=subprocess.PIPE, start_new_session=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._keeper.stdin.close()
        self._keeper.wait()
        self.leader.wait()


class Runner:
    """Runs modules, each in a pytest process of its own."""

    def __init__(self, options, logs):
        self.options, self.logs, self.ports = options, logs, Ports(options.port, options.servers)

    def run(self, module):
        """The module's outcomes."""
        log, report = self.logs / f"{module}.log", self.logs / f"{module}.xml"
        report.unlink(missing_ok=True)
        environment = {name: value for name, value in os.environ.items() if name != "CI"}
        environment["ZOOKEEPER_PORT_OFFSET"] = str(self.ports.take())
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--color=no", f"--timeout={TEST_SECONDS}",
                   f"--junitxml={report}", f"kazoo/tests/{module}.py", *self.options.pytest]
        with log.open("w") as output, Group(command, cwd=self.options.sources, env=environment, stdin=subprocess.DEVNULL,
                                            stdout=output, stderr=subprocess.STDOUT) as group:
            try:
                code = group.leader.wait(MODULE_SECONDS)
            except subprocess.TimeoutExpired:
                return [Outcome(module, "failed", f"the module took more than {MODULE_SECONDS} s")]
        if code == NOTHING_SELECTED and self.options.pytest:
            return []
        outcomes = self._read(report) if report.is_file() else []
        return outcomes or [Outcome(module, "failed", f"pytest ended with {code} and no test, see {log}")]

    @staticmethod
    def _read(report):
        outcomes = []
        for case in ElementTree.parse(report).iter("testcase"):
            said = [child for child in case if child.tag in ("failure", "error", "skipped")]
            kind = "passed" if not said else "skipped" if said[0].tag == "skipped" else "failed"
            name = f"{case.get('classname')}.{case.get('name')}".removeprefix("kazoo.tests.")
            outcomes.append(Outcome(name, kind, said[0].get("message") or "" if said else ""))
        return outcomes


def parse(arguments):
    """The command line; kazoo-suite.sh explains it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", choices=("zookeeper", "ringkeeper"), required=True)
    parser.add_argument("--sources", type=pathlib.Path, required=True)
    parser.add_argument("--expected", type=pathlib.Path, required=True)
    parser.add_argument("--servers", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--core", action="store_true")
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--logs", type=pathlib.Path)
    parser.add_argument("--port", type=int, default=20000)
    parser.add_argument("modules", nargs="*")
    ours, pytest = arguments, []
    if "--" in arguments:
        ours, pytest = arguments[: arguments.index("--")], arguments[arguments.index("--") + 1:]
    options = parser.parse_args(ours)
    options.pytest = (["-k", f"not ({' or '.join(NOT_CORE_TESTS)})"] if options.core else []) + pytest
    return options


def choose(options):
    """The modules to run, those that take longest first, so that no long one is left for the end."""
    there = {file.stem for file in (options.sources / "kazoo/tests").glob("test_*.py")}
    unknown = set(options.modules) - there
    if unknown:
        sys.exit(f"kazoo has no {', '.join(sorted(unknown))}; there are {', '.join(sorted(there))}")
    long_first = ["test_client", "test_eventlet_handler", "test_watchers", "test_partitioner", "test_lock", "test_gevent_handler"]
    rank = {module: place for place, module in enumerate(long_first)}
    chosen = options.modules or (there - NOT_CORE_MODULES if options.core else there)
    return sorted(chosen, key=lambda module: (rank.get(module, len(rank)), module))


def run_all(options, runner, expectations):
    """Runs every chosen module and prints its lines; the outcomes and how many things were wrong."""
    outcomes, wrong = [], 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        modules = choose(options)
        for module, seen in zip(modules, pool.map(runner.run, modules)):
            verdicts = [(one, expectations.judge(one)) for one in seen]
            for one, verdict in verdicts:
                wanted = expectations.by_test.get(one.test, PASSED)
                note = f" ({wanted.outcome}, as expected: {wanted.why})" if wanted.why else ""
                print(f"FAIL {one.test}: {verdict}" if verdict else f"ok {one.test}{note}", flush=True)
            outcomes += seen
            wrong += sum(verdict is not None for _, verdict in verdicts)
            if any(verdict for _, verdict in verdicts):
                print(f"# {module}: see {runner.logs / module}.log", flush=True)
    if not options.modules and not options.pytest:
        lost = [f"{name}: it did not run" for name in expectations.by_test.keys() - {one.test for one in outcomes}]
        if len(outcomes) != expectations.total:
            lost.append(f"suite: {len(outcomes)} tests ran, expected {expectations.total}")
        wrong += len(lost)
        print("".join(f"FAIL {what}\n" for what in lost), end="", flush=True)
    return outcomes, wrong


def main(arguments):
    # At once, like by SIGTERM: Python's own way would wait for the modules that run.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    options = parse(arguments)
    expectations = Expectations(options.expected, options.server)
    logs = options.logs or pathlib.Path(tempfile.mkdtemp(prefix="kazoo-suite-"))
    logs.mkdir(parents=True, exist_ok=True)
    runner = Runner(options, logs)
    outcomes, failed = run_all(options, runner, expectations)
    passed = max(0, len(outcomes) - failed)
    kinds = collections.Counter(one.outcome for one in outcomes)
    print(f"# on {options.servers} of {options.server}: " + ", ".join(f"{kinds[kind]} {kind}" for kind in ("passed", "failed", "skipped")))
    if options.out:
        options.out.write_text("".join(sorted(f"{one.test} {one.outcome}\n" for one in outcomes)))
    if not failed and not options.logs:
        shutil.rmtree(logs)
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
