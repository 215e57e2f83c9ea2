"""
Install a list of requirements within an image that is being built, as far as it can be installed.

Copied into the build beside the job's files and run there by whatever Python 3.7 or newer the image
has, so it imports the standard library only. `--lenient` leaves out what cannot be installed, and
says so in lines that `packages.failed` reads. torch comes last, from PyTorch's own index if its
version names a CUDA release or the CPU.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile

MARK = "runyard: not installed: "
UNREACHABLE = 3
_TORCH = re.compile(r"(?:torch|torchvision|torchaudio)(?![\w.-])", re.IGNORECASE)
_BUILD = re.compile(r"===?\s*[^\s;,]+\+(cu\d+|cpu)\b")
_TORCH_INDEX = "https://download.pytorch.org/whl/"
_INCLUDE = re.compile(r"(?:-r|--requirement)(?:[ =]\s*|(?<=-r))(\S+)")
_BESIDE = re.compile(r"(-c|--constraint|-f|--find-links)(?:[ =]\s*|(?<=-[cf]))(\S+)")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_EDITABLE = re.compile(r"(?:-e|--editable)[ =]\s*")
_NO_INDEX = re.compile(
    r"NewConnectionError|NameResolutionError|name resolution|ConnectTimeout|ReadTimeout"
    r"|ProxyError|Connection refused|Network is unreachable|Max retries exceeded"
)


def main(argv: list[str]) -> int:
    """Return pip's exit code, 0 where the rest could be installed, 3 without a package index."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--lenient", action="store_true")
    parser.add_argument("--no-deps", action="append_const", const="--no-deps", dest="flags")
    parser.add_argument(
        "--no-cache-dir", action="append_const", const="--no-cache-dir", dest="flags"
    )
    parser.add_argument("file")
    given = parser.parse_args(argv)
    options: list[str] = []
    wanted: list[str] = []
    _read(given.file, options, wanted, set())
    left_out: list[str] = []
    for index, lines in _batches(wanted):
        flags = (given.flags or []) + (["--extra-index-url", index] if index else [])
        code = _install(lines, options, flags, left_out if given.lenient else None)
        if code:
            return code
    for line in left_out:
        print(MARK + name_of(line), flush=True)
    return 0


def _read(file: str, options: list[str], wanted: list[str], seen: set[str]) -> None:
    """Take apart a list and those that it includes: options for all of it, and requirements."""
    if os.path.realpath(file) in seen:
        return
    seen.add(os.path.realpath(file))
    directory = os.path.dirname(os.path.abspath(file))
    with open(file, encoding="utf-8-sig") as opened:
        text = re.sub(r"\\\r?\n", "", opened.read())
    for written in text.splitlines():
        line = re.sub(r"(^|\s)#.*$", "", written).strip()
        included, beside = _INCLUDE.fullmatch(line), _BESIDE.fullmatch(line)
        if included and not _URL.match(included[1]):
            _read(os.path.join(directory, included[1]), options, wanted, seen)
        elif beside and not _URL.match(beside[2]):
            options.append(beside[1] + " " + os.path.join(directory, beside[2]))
        elif line.startswith("-") and not included and not _EDITABLE.match(line):
            options.append(line)
        elif line:
            wanted.append(line)


def _batches(wanted: list[str]) -> list[tuple[str, list[str]]]:
    """Return what is installed together, in order, each with the further index that it needs."""
    torch: dict[str, list[str]] = {}
    rest = []
    for line in wanted:
        if not _TORCH.match(line):
            rest.append(line)
            continue
        build = _BUILD.search(line)
        torch.setdefault(_TORCH_INDEX + build[1] if build else "", []).append(line)
    return [("", rest), *torch.items()]


def _install(
    lines: list[str], options: list[str], flags: list[str], left_out: list[str] | None
) -> int:
    """Install all at once, else the halves apart: so few that fail are found in few attempts."""
    if not lines:
        return 0
    code, said = _pip(lines, options, flags)
    if not code or left_out is None:
        return code
    if _NO_INDEX.search(said) and not any(_URL.search(line) for line in lines):
        print("runyard: the package index cannot be reached", flush=True)
        return UNREACHABLE
    if len(lines) == 1:
        left_out.append(lines[0])
        return 0
    half = len(lines) // 2
    return _install(lines[:half], options, flags, left_out) or _install(
        lines[half:], options, flags, left_out
    )


def _pip(lines: list[str], options: list[str], flags: list[str]) -> tuple[int, str]:
    """Run pip on a list that lies where the job's own does, and show what it says."""
    handle, path = tempfile.mkstemp(".txt", ".runyard-", ".")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write("\n".join([*options, *lines, ""]))
        argv = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
        process = subprocess.Popen(
            [*argv, *flags, "-r", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        said = []
        assert process.stdout is not None
        for raw in process.stdout:
            line = raw.decode("utf-8", "replace")
            said.append(line)
            sys.stdout.write(line)
            sys.stdout.flush()
        return process.wait(), "".join(said)
    finally:
        os.unlink(path)


def name_of(line: str) -> str:
    """Return a requirement as it may be shown: without options, and no password of an address."""
    line = _EDITABLE.sub("", line)
    line = re.split(r"\s--|\s*;", line)[0]
    named = re.match(r"([A-Za-z0-9][\w.-]*)\s*(?:\[[^\]]*\])?\s*@", line)
    if named and _URL.search(line):
        return named[1]
    egg = re.search(r"#egg=([\w.-]+)", line)
    shown = egg[1] if egg else re.sub(r"://[^/@]*@", "://", line)
    return re.sub(r"[^\x21-\x7e]", "", shown)[:200]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
