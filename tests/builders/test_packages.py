"""Installing what can be installed, by a double of pip, and what the log says of the rest."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runyard.builders import bootstrap_packages
from runyard.builders.packages import MARK, failed

# Fails for what `bad` in its settings names, and notes what it was asked for.
_PIP = """
import json, os, sys
where = os.environ["DOUBLE"]
settings = json.load(open(where + "/settings.json"))
argv = sys.argv[1:]
with open(argv[argv.index("-r") + 1]) as file:
    lines = file.read().split("\\n")[:-1]
with open(where + "/asked.jsonl", "a") as file:
    file.write(json.dumps([argv[:argv.index("-r")], lines]) + "\\n")
bad = [line for line in lines if any(name in line for name in settings["bad"])]
if bad:
    print(settings["says"] + bad[0])
    sys.exit(1)
print("installed", *lines)
"""


class Pip:
    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "modules/pip").mkdir(parents=True)
        (root / "modules/pip/__main__.py").write_text(_PIP)
        (root / "modules/pip/__init__.py").touch()
        (root / "job").mkdir()

    def run(
        self, *argv: str, bad: tuple[str, ...] = (), says: str = "ERROR: none of "
    ) -> subprocess.CompletedProcess[bytes]:
        (self.root / "settings.json").write_text(json.dumps({"bad": bad, "says": says}))
        return subprocess.run(
            [sys.executable, bootstrap_packages.__file__, *argv],
            cwd=self.root / "job",
            env={"PYTHONPATH": str(self.root / "modules"), "DOUBLE": str(self.root)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )

    def list(self, name: str, *lines: str) -> None:
        file = self.root / "job" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("\n".join(lines) + "\n")

    @property
    def asked(self) -> list[tuple[list[str], list[str]]]:
        text = (self.root / "asked.jsonl").read_text()
        return [(flags, lines) for flags, lines in map(json.loads, text.splitlines())]


@pytest.fixture
def pip(tmp_path: Path) -> Pip:
    return Pip(tmp_path)


def left_out(done: subprocess.CompletedProcess[bytes]) -> list[str]:
    return [name for line in done.stdout.splitlines() if (name := failed(line))]


def test_all_is_installed_at_once_where_that_can_be_done(pip: Pip) -> None:
    pip.list("r.txt", "a==1", "", "# b", "c  # d", "--index-url https://a.example/simple")
    done = pip.run("--no-deps", "--no-cache-dir", "r.txt")
    assert done.returncode == 0
    [(flags, lines)] = pip.asked
    assert {"--no-deps", "--no-cache-dir"} < set(flags)
    assert lines == ["--index-url https://a.example/simple", "a==1", "c"]
    assert os.listdir(pip.root / "job") == ["r.txt"]


def test_what_fails_is_left_out_and_named_while_the_rest_is_installed(pip: Pip) -> None:
    pip.list("r.txt", *(f"p{n}" for n in range(9)), "no-such", "worse==9")
    done = pip.run("--lenient", "r.txt", bad=("no-such", "worse"))
    assert done.returncode == 0
    assert left_out(done) == ["no-such", "worse==9"]
    installed = {
        word
        for line in done.stdout.decode().splitlines()
        if line.startswith("installed ")
        for word in line.split()[1:]
    }
    assert installed == {f"p{n}" for n in range(9)}


def test_without_lenience_the_first_failure_is_pips_own(pip: Pip) -> None:
    pip.list("r.txt", "a", "no-such")
    done = pip.run("r.txt", bad=("no-such",))
    assert (done.returncode, left_out(done), len(pip.asked)) == (1, [], 1)


def test_an_index_that_cannot_be_reached_is_no_fault_of_the_packages(pip: Pip) -> None:
    pip.list("r.txt", "a", "b")
    done = pip.run("--lenient", "r.txt", bad=("a", "b"), says="NameResolutionError ")
    assert done.returncode == bootstrap_packages.UNREACHABLE
    assert left_out(done) == []
    assert b"the package index cannot be reached" in done.stdout


def test_an_address_that_cannot_be_reached_is_a_fault_of_its_package(pip: Pip) -> None:
    pip.list("r.txt", "a", "b @ https://user:secret@gone.example/b.whl")
    done = pip.run("--lenient", "r.txt", bad=("gone",), says="NameResolutionError ")
    assert (done.returncode, left_out(done)) == (0, ["b"])


def test_torch_comes_last_from_the_index_of_its_build(pip: Pip) -> None:
    pip.list(
        "r.txt", "torch==2.1.0+cu118", "numpy", "torchvision==0.16.0+cu118",
        "torchaudio==2.1.0+cpu", "torch-geometric==2.4.0", "torchmetrics",
    )  # fmt: skip
    assert pip.run("r.txt").returncode == 0
    indexes = [[flag for flag in flags if "://" in flag] for flags, _ in pip.asked]
    assert [lines for _, lines in pip.asked] == [
        ["numpy", "torch-geometric==2.4.0", "torchmetrics"],
        ["torch==2.1.0+cu118", "torchvision==0.16.0+cu118"],
        ["torchaudio==2.1.0+cpu"],
    ]
    assert indexes == [
        [],
        ["https://download.pytorch.org/whl/cu118"],
        ["https://download.pytorch.org/whl/cpu"],
    ]


def test_torch_without_a_build_comes_last_from_the_usual_index(pip: Pip) -> None:
    pip.list("r.txt", "torch==2.1.0", "numpy")
    assert pip.run("r.txt").returncode == 0
    assert [lines for _, lines in pip.asked] == [["numpy"], ["torch==2.1.0"]]
    assert not any("--extra-index-url" in flags for flags, _ in pip.asked)


def test_included_lists_are_part_of_the_list(pip: Pip) -> None:
    pip.list("r.txt", "-r deps/a.txt", "b \\", "  --hash=sha256:00")
    pip.list("deps/a.txt", "a", "-c limits.txt", "--find-links wheels", "-r ../r.txt")
    assert pip.run("r.txt").returncode == 0
    [(_, lines)] = pip.asked
    deps = pip.root / "job/deps"
    options = [f"-c {deps}/limits.txt", f"--find-links {deps}/wheels"]
    assert lines == [*options, "a", "b   --hash=sha256:00"]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("numpy == 1.0 ; python_version > '3'", "numpy==1.0"),
        ("a==1 --hash=sha256:00", "a==1"),
        ("a[b] @ git+https://me:secret@h.example/a.git", "a"),
        ("git+https://me:secret@h.example/a.git", "git+https://h.example/a.git"),
        ("-e git+https://me:secret@h.example/a.git#egg=named", "named"),
        ("--editable ./lib", "./lib"),
        ("x" * 300, "x" * 200),
    ],
)
def test_a_package_is_named_without_passwords(line: str, shown: str) -> None:
    assert bootstrap_packages.name_of(line) == shown


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (b"runyard: not installed: a==1", "a==1"),
        (b"runyard: not installed: a==1\r\n", "a==1"),
        (b"#10 12.345 runyard: not installed: a==1\n", "a==1"),
        (b"#10 runyard: not installed: a==1\n", "a==1"),
        (b"RUN echo runyard: not installed: a", None),
        (b"runyard: not installed: \xff\xfe", None),
        (b"runyard: not installed: a b", None),
        (b"runyard: not installed: " + b"a" * 201, None),
        (b"", None),
    ],
)
def test_a_logs_line_says_which_package_was_left_out(line: bytes, name: str | None) -> None:
    assert failed(line) == name


def test_the_program_runs_on_old_pythons_and_marks_what_the_log_is_searched_for() -> None:
    text = Path(bootstrap_packages.__file__).read_text()
    parsed = ast.parse(text, feature_version=(3, 7))
    imports = [node for node in ast.walk(parsed) if isinstance(node, ast.Import)]
    assert {name.name for node in imports for name in node.names} <= sys.stdlib_module_names
    assert bootstrap_packages.MARK == MARK
