"""Reads docs/recipes.md: its programs, its transcripts, and the class path that it tells the reader to set.

A program is a fenced block of `python` or `java` whose first line is a comment that begins with its file's name. A transcript is the next
block of `console`: lines that begin with `$ ` are typed, the others are printed. A program without a transcript, a transcript without a
program and a block that nobody would run are errors, so that nothing on the page goes untested.
"""

import dataclasses
import re

FILE_NAME = re.compile(r"^(?:#|//) ([A-Za-z]+\.(?:py|java))\b")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CLASS_PATH = re.compile(r"^export CLASSPATH=(\S+)$", re.MULTILINE)


class PageError(Exception):
    """The page has not the form that its reader, and this one, can follow."""


@dataclasses.dataclass
class Example:
    """A program with its transcript: the typed lines, each with the lines that are printed before the next is typed."""

    file: str
    source: str
    steps: list = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Page:
    """All of it. `class_path` is what the page exports as CLASSPATH."""

    examples: list
    class_path: str


def read(text):
    """The page whose Markdown is `text`."""
    examples = []
    for language, body in FENCE.findall(text):
        if language in ("python", "java"):
            name = FILE_NAME.match(body)
            if not name:
                raise PageError(f"a block of {language} does not begin with its file's name: {body.splitlines()[0]!r}")
            if any(example.file == name[1] for example in examples):
                raise PageError(f"{name[1]} stands twice")
            examples.append(Example(name[1], body))
        elif language == "console":
            if not examples or examples[-1].steps:
                raise PageError(f"a transcript without a program before it: {body.splitlines()[0]!r}")
            examples[-1].steps = steps_of(body)
    for example in examples:
        if not example.steps:
            raise PageError(f"{example.file} has no transcript")
    class_path = CLASS_PATH.search(text)
    if not examples or not class_path:
        raise PageError("no program, or no line `export CLASSPATH=...`")
    return Page(examples, class_path[1])


def steps_of(transcript):
    """The typed lines in their order, as pairs of the line and what is printed until the next."""
    steps = []
    for line in transcript.splitlines():
        if line.startswith("$ "):
            steps.append((line[2:], []))
        elif steps:
            steps[-1][1].append(line)
        else:
            raise PageError(f"printed before anything was typed: {line!r}")
    return steps
