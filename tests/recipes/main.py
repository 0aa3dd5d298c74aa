#!/usr/bin/env python3
"""Runs the programs of docs/recipes.md against a server and compares what they print with what the page says."""

import argparse
import concurrent.futures
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import uuid

from kazoo.client import KazooClient

import page
import terminal

TOP = pathlib.Path(__file__).resolve().parents[2]
# Small and quick to start; the programs do not depend on it.
JAVA_OPTIONS = "-Xmx64m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto"


def arguments():
    parser = argparse.ArgumentParser(
        prog="recipes/run.sh", description=__doc__,
        epilog="Prints `ok` or `FAIL` for each program and round; the last line sums up. Example: recipes/run.sh --rounds 5 127.0.0.1:2181")
    parser.add_argument("server", help="host:port of a server; each program gets a chroot of its own there, removed at the end")
    parser.add_argument("--page", type=pathlib.Path, default=TOP / "docs/recipes.md", help="another page than docs/recipes.md")
    parser.add_argument("--only", default="", metavar="TEXT", help="only programs whose file name contains TEXT")
    parser.add_argument("--rounds", type=int, default=1, help="how often to run each, one after the other on the same data")
    parser.add_argument("--lanes", type=int, default=4, help="how many programs' transcripts run side by side (default 4)")
    return parser.parse_args()


def extract(found, directory):
    """Writes each program into `directory` as it stands in the page, and compiles what is Java. Returns the environment for them."""
    for example in found.examples:
        (directory / example.file).write_text(example.source)
    own = pathlib.Path(sys.executable).parent
    environment = os.environ | {"CLASSPATH": found.class_path, "JDK_JAVA_OPTIONS": JAVA_OPTIONS, "PATH": f"{own}:{os.environ['PATH']}"}
    java = [example.file for example in found.examples if example.file.endswith(".java")]
    # Without -Xlint:-path Debian's manifests, which name jars that it does not install, bring warnings.
    subprocess.run(["javac", "-proc:none", "-Xlint:-path", *java], cwd=directory, env=environment, check=True)
    return environment


def run(example, directory, environment, server, rounds):
    """Runs one program's transcript `rounds` times; returns the lines to report."""
    chroot = f"/recipes-{uuid.uuid4().hex}"
    client = KazooClient(server)
    client.start()
    client.create(chroot)
    report = []
    for _ in range(rounds):
        begun = time.monotonic()
        with tempfile.TemporaryDirectory() as own:
            for file in directory.iterdir():
                (pathlib.Path(own) / file.name).symlink_to(file)
            screen = terminal.Terminal(own, environment | {"ZK": server + chroot})
            failure, errors = None, ""
            try:
                screen.run(example.steps)
            except terminal.Failure as caught:
                failure = caught
            finally:
                errors = screen.close()
        took = f"{time.monotonic() - begun:.1f} s"
        report.append(f"FAIL {example.file}: {failure} ({took})\n{errors}".rstrip() if failure else f"ok {example.file} ({took})")
    client.retry(client.delete, chroot, recursive=True)
    client.stop()
    client.close()
    return report


def main():
    options = arguments()
    try:
        found = page.read(options.page.read_text())
    except page.PageError as error:
        print(f"FAIL {options.page}: {error}\n0 passed, 1 failed")
        return 1
    wanted = [example for example in found.examples if options.only in example.file]
    passed = failed = 0
    with tempfile.TemporaryDirectory() as directory, concurrent.futures.ThreadPoolExecutor(options.lanes) as lanes:
        directory = pathlib.Path(directory)
        environment = extract(found, directory)
        runs = [lanes.submit(run, example, directory, environment, options.server, options.rounds) for example in wanted]
        for done in concurrent.futures.as_completed(runs):
            for line in done.result():
                print(line, flush=True)
                failed += line.startswith("FAIL ")
                passed += not line.startswith("FAIL ")
    print(f"{passed} passed, {failed} failed")
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
