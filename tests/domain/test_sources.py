import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.domain.errors import Invalid
from runyard.domain.notebooks import notebook_to_script
from runyard.domain.sources import (
    check_commit,
    check_entry_point,
    check_image,
    check_job_name,
    check_ref,
    check_remote,
    check_runtime,
    default_code_name,
    default_git_name,
    default_image_name,
    image_tag_alias,
    looks_like_git,
    missing_interpreter,
    without_credentials,
)

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    "remote",
    [
        "https://github.com/org/repo",
        "https://dev.azure.com/org/My%20Project/_git/repo",
        "https://[::1]:8443/repo.git",
        "ssh://git@host:2222/srv/repo.git",
        "ssh://host/~/repo",
        "git@github.com:org/repo.git",
        "git@host:~/repo",
    ],
)
def test_https_ssh_and_scp_like_remotes_are_allowed(remote: str) -> None:
    assert check_remote(remote) == remote
    assert looks_like_git(remote)


@pytest.mark.parametrize(
    "remote",
    [
        "",
        "-",
        "--upload-pack=touch /tmp/x",
        "-u@host:repo",
        "ext::sh -c touch% /tmp/x",
        "ext::sh",
        "file:///etc",
        "FILE:///etc",
        "git://host/repo",
        "http://host/repo",
        "ftp://host/repo",
        "fd::17",
        "/srv/repo",
        "./repo",
        "../repo",
        "host:repo",
        "C:\\repo",
        "ssh://-oProxyCommand=touch/x",
        "ssh://git@-oProxyCommand=touch/x",
        "ssh://%2doProxyCommand=touch/x",
        "git@-oProxyCommand=touch:x",
        "git@host:-oProxyCommand=touch",
        "git@host:--upload-pack=touch",
        "https://host\n/repo",
        "https://host/repo\0",
        "https://host/repo#fragment",
        "https:///repo",
        "https://host",
    ],
)
def test_T5_every_other_transport_and_every_option_is_refused(remote: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_remote(remote)
    assert (
        "Allowed are" in refused.value.hint
        or "https" in refused.value.hint
        or "%20" in (refused.value.hint)
    )


@given(st.text(max_size=60))
def test_T5_no_text_at_all_gets_an_option_or_an_unknown_transport_through(text: str) -> None:
    for remote in (text, f"ssh://{text}/x", f"git@{text}", f"https://{text}"):
        try:
            check_remote(remote)
        except Invalid:
            continue
        assert remote.startswith(("https://", "ssh://")) or "@" in remote.partition(":")[0]
        assert not any(ord(char) <= 32 for char in remote)
        host = remote.partition("://")[2] or remote
        assert not host.startswith("-")
        assert "@-" not in host.partition("/")[0]


def test_T14_credentials_in_an_address_are_refused_and_not_repeated() -> None:
    for remote in ("https://ada:hunter2@host/r", "https://hunter2@host/r", "ssh://a:hunter2@h/r"):
        with pytest.raises(Invalid) as refused:
            check_remote(remote)
        assert "hunter2" not in f"{refused.value.message} {refused.value.hint}"
        assert "credential helper" in refused.value.hint


def test_plain_http_is_for_hosts_that_an_admin_named() -> None:
    check_remote("http://host:8080/r", insecure_hosts={"host:8080"})
    check_remote("http://host:8080/r", insecure_hosts={"host"})
    with pytest.raises(Invalid, match="plain http"):
        check_remote("http://other:8080/r", insecure_hosts={"host"})
    with pytest.raises(Invalid, match="credentials"):
        check_remote("http://a:b@host/r", insecure_hosts={"a:b@host"})


def test_an_address_is_shown_without_its_credentials() -> None:
    assert without_credentials("https://a:b@host/r") == "https://host/r"
    assert without_credentials("ssh://git:b@host/r") == "ssh://git@host/r"
    assert without_credentials("git@host:r") == "git@host:r"


@pytest.mark.parametrize("path", [".", "/srv/x", "~/x", "./x@y:z", "examples/digits", "x"])
def test_a_path_does_not_look_like_git(path: str) -> None:
    assert not looks_like_git(path)


@pytest.mark.parametrize(
    "ref", ["main", "feature/a-b", "v1.0", "HEAD", "refs/tags/x", "größe", "7"]
)
def test_names_of_branches_and_tags_are_allowed(ref: str) -> None:
    assert check_ref(ref) == ref


@pytest.mark.parametrize(
    "ref",
    ["", "-x", "--upload-pack=x", "a..b", "a@{1}", "@{u}", "a b", "x^{}", "a~1", "x:y", "a.lock",
     "a/.b", "a//b", "a/", "a.", "*", "a\n", "a\\b", "a" * 256],
)  # fmt: skip
def test_T5_refs_that_git_would_read_as_something_else_are_refused(ref: str) -> None:
    with pytest.raises(Invalid, match="git ref"):
        check_ref(ref)


def test_only_a_full_commit_is_a_commit() -> None:
    assert check_commit(COMMIT) == COMMIT
    for commit in (COMMIT[:12], COMMIT.upper(), f"-{COMMIT[1:]}", f"{COMMIT}\n", "main"):
        with pytest.raises(Invalid):
            check_commit(commit)


def test_an_entry_point_stays_within_the_job() -> None:
    assert check_entry_point(["python", "-m", "pkg", "../data"]) == (
        "python",
        "-m",
        "pkg",
        "../data",
    )
    for words in ([], [""], ["../x"], ["python", "../train.py"], ["python", "-u", "a/../../b.py"]):
        with pytest.raises(Invalid):
            check_entry_point(words)
    with pytest.raises(Invalid, match="NUL"):
        check_entry_point(["python", "a\0b"])


def test_a_bare_script_gets_a_warning() -> None:
    assert "'python' train.py" in missing_interpreter(["train.py"])
    assert missing_interpreter(["python", "train.py"]) == missing_interpreter(["./run.sh"]) == ""


def test_a_runtime_is_a_python_without_its_patch_number() -> None:
    assert check_runtime("3.11") == "3.11"
    for runtime, hint in (("3.11.4", "3.11"), ("python-3.12", "3.12"), ("2.7", "3.11")):
        with pytest.raises(Invalid) as refused:
            check_runtime(runtime)
        assert refused.value.hint == f"Try: --runtime {hint}"


def test_a_bad_job_name_comes_with_one_that_would_do() -> None:
    assert check_job_name("train.v2_x-y") == "train.v2_x-y"
    for name, good in (("my job!", "my-job"), ("a/b:c", "a-b-c"), ("..", "job"), ("", "job")):
        with pytest.raises(Invalid) as refused:
            check_job_name(name)
        assert refused.value.hint == f"Try: --name {good}"


def test_names_of_nameless_jobs_say_where_the_code_is() -> None:
    assert default_git_name("https://github.com/o/r.git", "src/train.py") == (
        "job-github.com-o-r_src-train.py"
    )
    assert default_git_name("git@github.com:o/r.git") == "job-github.com-o-r"
    assert default_code_name("digits", "train.py") == "job-digits_train.py"
    assert default_image_name("ghcr.io/o/r:v1") == "job-ghcr.io-o-r"


@given(st.text(max_size=400), st.text(max_size=400))
def test_a_default_name_is_always_allowed_and_keeps_both_ends(remote: str, path: str) -> None:
    for name in (
        default_git_name(remote, path),
        default_code_name(remote),
        default_image_name(path),
    ):
        assert check_job_name(name) == name
    long = default_git_name("https://host/" + "x" * 300, "train.py")
    assert len(long) == 128
    assert long.startswith("job-host-xx")
    assert long.endswith("xx_train.py")


def test_image_references_and_their_alias() -> None:
    assert image_tag_alias(check_image("python:3.11-slim")) == "3.11-slim"
    assert image_tag_alias(check_image("localhost:5000/a/b")) is None
    assert image_tag_alias("a:latest") is image_tag_alias("a:v3") is None
    check_image("ghcr.io/o/r@sha256:" + "0" * 64)
    for image in ("", "-v /:/h", "--privileged", "a b", "a:b:c", "a\n", "a@sha256:12", "a;b"):
        with pytest.raises(Invalid):
            check_image(image)
    with pytest.raises(Invalid) as refused:
        check_image("GHCR.io/Org/App")
    assert "ghcr.io/org/app" in refused.value.hint


def _notebook(*cells: str, language: str = "python") -> str:
    listed = [{"cell_type": "code", "source": cell.splitlines(keepends=True)} for cell in cells]
    listed.insert(0, {"cell_type": "markdown", "source": ["# Title"]})
    return json.dumps({"cells": listed, "metadata": {"kernelspec": {"language": language}}})


def test_a_notebook_becomes_a_script_without_shell_and_magic_lines() -> None:
    script = notebook_to_script(
        _notebook(
            "!pip install \\\n  numpy\nimport os\n%matplotlib inline\nx = '''\n!kept\n%kept\n'''",
            "%%bash\nrm -rf x",
            "%%time\ny = 7\nz = (y\n % 4)\nif y:\n    !ls\nprint(x, z)",
        )
    )
    assert "pip" not in script
    assert "bash" not in script
    assert "rm" not in script
    told: list[object] = []
    exec(compile(script, "notebook", "exec"), {"print": lambda *words: told.extend(words)})
    assert told == ["\n!kept\n%kept\n", 3]


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"cells": 1}', _notebook("x", language="R")])
def test_what_is_no_python_notebook_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        notebook_to_script(text)
