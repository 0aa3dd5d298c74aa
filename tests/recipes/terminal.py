"""A terminal with a shell's job control, as far as the page uses it: commands, `&`, and `kill [-SIGNAL] %N`.

All commands of a transcript write to one pseudo-terminal, so that what they print is buffered by lines and stands in the order in which it
was written. It ends only the processes that it has started, by their ids.
"""

import os
import pty
import queue
import re
import signal
import subprocess
import termios
import threading
import time

KILL = re.compile(r"^kill (?:-(\w+) )?%(\d+)$")
# What waits below ends at the event itself; only a run that is broken comes near these.
LINE_SECONDS_MAX = 60
END_SECONDS_MAX = 30
# How often a wait for a line looks whether a job has failed meanwhile.
LOOK_SECONDS = 0.5
# What begins a command that the kernel ends with the thread that started it. (All lanes of the runner live as long as their programs.)
DIES_WITH_PARENT = ["setpriv", "--pdeathsig", "KILL"]


class Failure(Exception):
    """What was printed, or how a command ended, is not as the page says."""


class Terminal:
    """Runs the steps of one transcript in `directory`."""

    def __init__(self, directory, environment):
        self.directory, self.environment = directory, environment
        self.jobs, self.killed = [], set()
        self.lines = queue.Queue()
        self.errors = open(os.path.join(directory, "stderr"), "w+b")
        reading, self.writing = pty.openpty()
        modes = termios.tcgetattr(self.writing)
        modes[1] &= ~termios.OPOST  # a line feed stays a line feed
        termios.tcsetattr(self.writing, termios.TCSANOW, modes)
        self.reader = threading.Thread(target=self._read, args=(reading,), daemon=True)
        self.reader.start()

    def run(self, steps):
        """Types each step's line and holds what is printed against what stands in the page. Raises Failure."""
        for number, (typed, printed) in enumerate(steps, 1):
            try:
                self._type(typed)
                for expected in printed:
                    self._expect(expected)
            except Failure as failure:
                raise Failure(f"step {number}, `{typed}`: {failure}") from None
        for number, job in enumerate(self.jobs, 1):
            self._wait(job, number in self.killed, f"at the end: job %{number}")
        os.close(self.writing)
        self.writing = None
        self.reader.join(END_SECONDS_MAX)  # it ends when it has read what the last writer left
        if not self.lines.empty():
            raise Failure(f"at the end: printed {self.lines.get()!r}, which does not stand in the page")

    def close(self):
        """Ends what still runs; returns what the commands wrote to stderr."""
        for job in self.jobs:
            if job.poll() is None:
                os.killpg(job.pid, signal.SIGKILL)
                job.wait()
        if self.writing is not None:
            os.close(self.writing)
        self.errors.seek(0)
        text = self.errors.read().decode(errors="replace")
        self.errors.close()
        return text

    def _read(self, reading):
        with open(reading, errors="replace") as file:
            try:
                for line in file:
                    self.lines.put(line.rstrip("\n"))
            except OSError:
                pass  # EIO: the last writer has gone

    def _type(self, typed):
        kill = KILL.match(typed)
        if kill:
            name, number = kill[1] or "TERM", int(kill[2])
            os.killpg(self.jobs[number - 1].pid, signal.Signals[f"SIG{name}"] if not name.isdigit() else int(name))
            if name not in ("STOP", "CONT"):
                self.killed.add(number)
            return
        in_background = typed.endswith(" &")
        # A session, and so a process group, of its own: like a job of a shell. Who ends the runner by its process group does not reach it,
        # so it dies with the runner.
        process = subprocess.Popen(
            [*DIES_WITH_PARENT, "bash", "-c", "exec " + typed.removesuffix(" &")], cwd=self.directory, env=self.environment,
            stdin=subprocess.DEVNULL, stdout=self.writing, stderr=self.errors, start_new_session=True)
        if in_background:
            self.jobs.append(process)
            return
        try:
            self._wait(process, False, "it")
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _wait(self, process, was_killed, what):
        try:
            code = process.wait(LINE_SECONDS_MAX if not was_killed else END_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            raise Failure(f"{what} does not end") from None
        if code != 0 and not was_killed:
            raise Failure(f"{what} ended with {code}")

    def _expect(self, expected):
        printed = self._next_line(expected)
        pattern = ".+".join(re.escape(part) for part in expected.split("…"))
        if not re.fullmatch(pattern, printed):
            raise Failure(f"expected {expected!r}, printed {printed!r}")

    def _next_line(self, expected):
        deadline = time.monotonic() + LINE_SECONDS_MAX
        while time.monotonic() < deadline:
            # Looked at before the queue, so that a job's last line is not taken for missing.
            broken = [number for number, job in enumerate(self.jobs, 1) if number not in self.killed and job.poll() not in (None, 0)]
            all_ended = all(job.poll() is not None for job in self.jobs)
            try:
                return self.lines.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                if broken:
                    raise Failure(f"expected {expected!r}, but job %{broken[0]} has ended with {self.jobs[broken[0] - 1].returncode}") from None
                if all_ended:
                    raise Failure(f"expected {expected!r}, but every job has ended") from None
        raise Failure(f"expected {expected!r}, nothing was printed for {LINE_SECONDS_MAX} s")
