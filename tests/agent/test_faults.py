"""Whose fault a failure is, as a table."""

import errno
import os

import pytest

from runyard.agent.faults import fault_of, git_blames_host, uv_blames_host
from runyard.domain.errors import (
    HostFault,
    Invalid,
    Rejected,
    StaleLease,
    TooMuch,
    Unavailable,
    Violation,
)


def raised(error: Exception, cause: BaseException | None = None) -> Exception:
    try:
        raise error from cause
    except Exception as caught:
        return caught


def os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number), "/var/lib/agent/file")


def test_the_table_knows_each_number() -> None:
    hosts = {
        n for n in errno.errorcode if fault_of(raised(os_error(n))).is_hosts
    }  # fmt: skip
    assert {errno.errorcode[n] for n in hosts} == {
        "ENOSPC", "EDQUOT", "EROFS", "EIO", "ENOMEM", "EMFILE", "ENFILE", "ESTALE",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("error", "is_hosts"),
    [
        (HostFault("git is not installed"), True),
        (raised(Rejected("cannot be unpacked"), os_error(errno.ENOSPC)), True),
        (raised(RuntimeError("odd"), raised(Rejected("x"), HostFault("y"))), True),
        (ExceptionGroup("two", [ValueError("a"), os_error(errno.EIO)]), True),
        (Rejected("no such image"), False),
        (Invalid("bad config"), False),
        (TooMuch("too large"), False),
        (StaleLease("gone"), False),
        (Unavailable("index cannot be reached"), False),
        (raised(Rejected("cannot be written"), os_error(errno.ENAMETOOLONG)), False),
        (raised(Rejected("working_dir"), os_error(errno.ENOENT)), False),
        (raised(Rejected("x: no space left on device")), False),  # a job may say what it likes
        (PermissionError(errno.EACCES, "denied"), False),
        (ConnectionResetError(errno.EIO, "reset"), False),
        (KeyError("internal"), False),
    ],
)
def test_whose_fault_it_is(error: Exception, is_hosts: bool) -> None:
    assert fault_of(error).is_hosts is is_hosts


def test_a_full_disk_is_named_with_its_place() -> None:
    fault = fault_of(raised(os_error(errno.ENOSPC)))
    assert fault.message == (
        "the agent's host cannot go on: no space left on device: /var/lib/agent/file"
    )
    assert "Traceback" in (fault.detail or "")


def test_an_internal_error_keeps_its_traceback_out_of_the_message() -> None:
    fault = fault_of(raised(KeyError("spec")))
    assert fault.message == "internal error of the agent; see the detail"
    assert "KeyError" in (fault.detail or "")


def test_words_have_the_message_each_violation_and_the_hint() -> None:
    error = Invalid("config", violations=[Violation("a.b", "is none")], hint="mend it")
    fault = fault_of(error)
    assert fault.message == "config\na.b: is none\nmend it"
    assert fault.detail is None  # what was heard of fetching serves better


def test_a_chain_that_bites_its_tail_ends() -> None:
    one, two = ValueError("a"), ValueError("b")
    one.__cause__, two.__cause__ = two, one
    assert not fault_of(one).is_hosts


VENV = """\
Creating virtual environment at: v
error: Failed to create virtual environment
  cause: failed to write to file `v/bin/activate`: No space left on device (os error 28)"""
INSTALL = """\
error: Failed to install: torch-2.9.0.whl (torch==2.9.0)
  Caused by: failed to copy file from /a to /b: Disk quota exceeded (os error 122)"""
OLDER = (
    "  × Failed to download `torch`\n  ╰─▶ failed to write: No space left on device (os error 28)"
)


@pytest.mark.parametrize("said", [VENV, INSTALL, OLDER])
def test_uv_that_cannot_write_blames_the_host(said: str) -> None:
    assert uv_blames_host(said)


@pytest.mark.parametrize(
    "said",
    [
        "error: Failed to read `x.txt`\n  cause: No such file or directory (os error 2)",
        "error: No solution found when resolving dependencies: torch==99",
        "error: Build failed\n[stderr]\nerror: forged: No space left on device (os error 28)",
        "No space left on device (os error 28)",  # somebody's output, without uv's own marks
        "error: connection refused (os error 111)",
    ],
)
def test_what_a_package_does_or_says_blames_nobody(said: str) -> None:
    assert not uv_blames_host(said)


@pytest.mark.parametrize(
    "said",
    [
        "fatal: unable to write loose object file: No space left on device\nfatal: unpack failed",
        "error: unable to write file f2\nerror: unable to write file f3",
        "fatal: sha1 file '/w/.git/index.lock' write error. Out of diskspace",
        "error: unable to create file a/b: Read-only file system",
    ],
)
def test_git_that_cannot_write_blames_the_host(said: str) -> None:
    assert git_blames_host(said)


@pytest.mark.parametrize(
    "said",
    [
        "fatal: remote error: no space left on device",
        "remote: fatal: no space left on device",
        "fatal: couldn't find remote ref main",
        "error: unable to create file a/b: File name too long",
    ],
)
def test_what_a_remote_does_or_says_blames_nobody(said: str) -> None:
    assert not git_blames_host(said)
