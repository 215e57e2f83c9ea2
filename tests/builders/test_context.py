"""Which Dockerfile, directory and packages are chosen of a job's files, and what is written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runyard.builders import context, packages
from runyard.domain.errors import Rejected
from runyard.domain.images import BaseImage, Install, Method, Plan, Recipe

DIGEST = f"sha256:{'5c' * 32}"
PLAN = Plan("team", "git:abc", BaseImage("python:3.11-slim", DIGEST))


@pytest.fixture
def job(tmp_path: Path) -> Path:
    root = tmp_path / "job"
    put(root, "src/train.py", "print(1)\n")
    return root


def put(root: Path, name: str, text: str = "") -> Path:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_a_named_dockerfile_comes_first_with_the_whole_of_the_context(job: Path) -> None:
    put(job, "docker/Mine", "FROM python:3.11-slim\n")
    put(job, "src/Dockerfile.wandb", "FROM busybox\n")
    chosen = context.choose(job, named="docker/Mine", entry_point=("python", "src/train.py"))
    assert chosen.dockerfile == job / "docker/Mine"
    assert chosen.directory == job
    assert chosen.entry_point == ("python", "src/train.py")
    assert chosen.own == "docker/Mine"
    assert chosen.bases() == ("python:3.11-slim",)


def test_a_named_dockerfile_lies_in_the_build_context(job: Path) -> None:
    put(job, "src/Mine")
    chosen = context.choose(job, build_context="src", named="Mine")
    assert (chosen.directory, chosen.own) == (job / "src", "src/Mine")


@pytest.mark.parametrize("name", ["Dockerfile.wandb", "Dockerfile.runyard"])
@pytest.mark.parametrize("program", ["python", "bash", "python3.11"])
def test_one_beside_the_entry_point_makes_its_directory_the_context(
    job: Path, name: str, program: str
) -> None:
    put(job, f"src/{name}", "FROM busybox\n")
    chosen = context.choose(job, entry_point=(program, "src/train.py", "--fast"))
    assert chosen.dockerfile == job / "src" / name
    assert chosen.directory == job / "src"
    assert chosen.entry_point == (program, "train.py", "--fast")


def test_our_own_name_goes_before_the_peers(job: Path) -> None:
    put(job, "src/Dockerfile.wandb")
    put(job, "src/Dockerfile.runyard")
    assert context.choose(job, entry_point=("python", "src/train.py")).own.endswith(".runyard")


@pytest.mark.parametrize(
    "words", [("torchrun", "src/train.py"), ("python", "-u", "src/train.py"), ("src/train.py",)]
)
def test_an_entry_point_of_another_form_is_left_as_it_is(job: Path, words: tuple[str, ...]) -> None:
    put(job, "src/Dockerfile.wandb")
    chosen = context.choose(job, entry_point=words)
    assert (chosen.directory, chosen.entry_point) == (job / "src", words)


def test_one_elsewhere_is_not_looked_at(job: Path) -> None:
    put(job, "Dockerfile.wandb")
    put(job, "Dockerfile")
    assert context.choose(job, entry_point=("python", "src/train.py")).dockerfile is None


def test_what_is_named_and_missing_is_told_with_its_path(job: Path) -> None:
    with pytest.raises(Rejected, match="'src/docker/Mine' is not in the job's files"):
        context.choose(job, build_context="src", named="docker/Mine")
    with pytest.raises(Rejected, match="'lib' is not a directory"):
        context.choose(job, build_context="lib")
    with pytest.raises(Rejected, match="'src' is not in"):
        context.choose(job, named="src")


def test_words_that_cannot_be_a_files_name_are_none(job: Path) -> None:
    words = ("python", "-c", "pass\n" * 1000, "a\0b", "", "/etc/passwd")
    assert context.choose(job, entry_point=words).entry_point == words
    with pytest.raises(Rejected, match="is not in the job's files"):
        context.choose(job, named="x" * 1000)
    with pytest.raises(Rejected, match="is not a directory"):
        context.choose(job, build_context="x" * 1000)


@pytest.mark.parametrize("name", ["../out", "/etc/passwd", "link", "src/../../out", "a\0b"])
def test_T8_no_path_leaves_the_jobs_files(job: Path, tmp_path: Path, name: str) -> None:
    put(tmp_path, "out", "FROM secret\n")
    (job / "link").symlink_to(tmp_path / "out")
    with pytest.raises(Rejected, match="lies outside"):
        context.choose(job, named=name)
    with pytest.raises(Rejected, match="lies outside"):
        context.choose(job, build_context=name)


def test_T8_a_dockerfile_beside_is_no_link_to_elsewhere(job: Path, tmp_path: Path) -> None:
    put(tmp_path, "out", "FROM secret\n")
    (job / "src/Dockerfile.wandb").symlink_to(tmp_path / "out")
    with pytest.raises(Rejected, match="lies outside"):
        context.choose(job, entry_point=("python", "src/train.py"))


ORDER = {
    "requirements.txt": ("six\n", Method.REQUIREMENTS),
    "pyproject.toml": ('[project]\nname = "x"\ndependencies = ["six"]\n', Method.PROJECT),
    "environment.yml": ("dependencies: [python]\n", Method.CONDA),
    "environment.yaml": ("dependencies: [python]\n", Method.CONDA),
    "requirements.frozen.txt": ("six==1.17.0\n", Method.FROZEN),
}


def test_the_first_file_of_the_order_decides(job: Path) -> None:
    for name, (text, _) in ORDER.items():
        put(job, name, text)
    for name, (_, method) in ORDER.items():
        assert context.choose(job).install == Install(method, (name,))
        (job / name).unlink()
    assert context.choose(job).install == Install()


def test_a_lock_beside_a_project_decides_its_versions(job: Path) -> None:
    put(job, "pyproject.toml", ORDER["pyproject.toml"][0])
    lock = put(job, "uv.lock", '[[package]]\nname = "x"\nsource = { virtual = "." }\n')
    files = ("pyproject.toml", "uv.lock")
    assert packages.detect(job) == Install(Method.UV_LOCK, files)
    lock.write_text('[[package]]\nname = "y"\nsource = { editable = "lib/y" }\n')
    assert packages.detect(job) == Install(Method.UV_LOCK, files, whole=True)
    for odd in ("package = 3", "package = [3]", "not toml"):
        lock.write_text(odd)
        assert packages.detect(job) == Install(Method.UV_LOCK, files)
    workspace = '[tool.uv.workspace]\nmembers = ["lib/*"]\n'
    put(job, "pyproject.toml", ORDER["pyproject.toml"][0] + workspace)
    assert packages.detect(job) == Install(Method.UV_LOCK, files, whole=True)


def test_a_project_whose_packages_come_from_elsewhere_is_for_uv(job: Path) -> None:
    text = ORDER["pyproject.toml"][0]
    index = put(job, "pyproject.toml", text + '[[tool.uv.index]]\nurl = "https://a.example"\n')
    assert packages.detect(job) == Install(Method.UV_PROJECT, ("pyproject.toml",))
    index.write_text(text + '[tool.uv.sources]\nsix = { path = "lib" }\n')
    assert packages.detect(job) == Install(Method.UV_PROJECT, ("pyproject.toml",), whole=True)
    index.write_text(text + "[tool.uv]\ndev-dependencies = []\n")
    assert packages.detect(job) == Install(Method.PROJECT, ("pyproject.toml",))


def test_a_project_without_packages_leaves_the_choice_to_the_next_file(job: Path) -> None:
    put(job, "pyproject.toml", "[tool.ruff]\nline-length = 100\n")
    put(job, "requirements.frozen.txt", "six\n")
    assert packages.detect(job).method is Method.FROZEN


def test_files_that_a_list_includes_decide_too(job: Path) -> None:
    put(job, "requirements.txt", "-r deps/a.txt\n--index-url https://a.example/simple\n")
    put(job, "deps/a.txt", "-c b.txt\nsix\n")
    put(job, "deps/b.txt", "six<2\n")
    files = ("deps/a.txt", "deps/b.txt", "requirements.txt")
    assert packages.detect(job) == Install(Method.REQUIREMENTS, files)


def test_the_list_of_a_context_may_include_what_lies_above_it(job: Path) -> None:
    put(job, "src/requirements.txt", "-r ../base.txt\n")
    put(job, "base.txt", "six\n")
    chosen = context.choose(job, build_context="src")
    assert chosen.install == Install(Method.REQUIREMENTS, ("base.txt", "src/requirements.txt"))
    with pytest.raises(Rejected, match="lies outside"):
        packages.detect(job / "src")


@pytest.mark.parametrize("line", ["-e .", "./lib", "x @ file:lib/x.whl", "--find-links wheels"])
def test_a_list_that_refers_to_the_code_has_all_of_it_copied_first(job: Path, line: str) -> None:
    put(job, "requirements.txt", line + "\n")
    assert packages.detect(job) == Install(Method.REQUIREMENTS, ("requirements.txt",), whole=True)


def test_a_conda_environment_that_includes_files_has_all_copied_first(job: Path) -> None:
    put(job, "environment.yml", "dependencies:\n- pip:\n  - -r requirements/a.txt\n")
    assert packages.detect(job) == Install(Method.CONDA, ("environment.yml",), whole=True)


def test_T8_no_list_of_packages_is_a_link_to_elsewhere(job: Path, tmp_path: Path) -> None:
    for name in (*ORDER, "uv.lock"):
        (job / name).symlink_to(put(tmp_path, f"out/{name}", "six\n"))
        with pytest.raises(Rejected, match="link that leaves"):
            packages.detect(job)
        (job / name).unlink()


def test_a_link_within_the_job_is_copied_with_what_it_leads_to(job: Path) -> None:
    put(job, "deps/all.txt", "six\n")
    (job / "requirements.txt").symlink_to("deps/all.txt")
    assert packages.detect(job).whole


def write(job: Path, into: Path, **chosen: object) -> context.Written:
    found = context.choose(job, **chosen)  # type: ignore[arg-type]
    return context.write(context.recipe(PLAN, found, mounts=False, cache="team"), found, into)


def tree(root: Path) -> set[str]:
    return {p.relative_to(root).as_posix() for p in root.rglob("*") if not p.is_dir()}


def test_what_a_rendered_dockerfile_reads_lies_apart_from_the_job(
    job: Path, tmp_path: Path
) -> None:
    put(job, "requirements.txt", "-r deps/a.txt\n")
    put(job, "deps/a.txt", "six\n")
    put(job, ".dockerignore", "*\n")
    before = tree(job)
    written = write(job, tmp_path / "into", entry_point=("python", "src/train.py"))
    assert tree(job) == before
    assert written == context.Written(tmp_path / "into", tmp_path / "into/Dockerfile")
    src = {f"src/{name}" for name in before}
    own = {"Dockerfile", "runyard/packages.py", "install/requirements.txt", "install/deps/a.txt"}
    assert tree(written.context) == src | own
    assert f"FROM python@{DIGEST}\n" in written.dockerfile.read_text()


def test_where_all_is_copied_first_nothing_is_copied_apart(job: Path, tmp_path: Path) -> None:
    put(job, "requirements.txt", "-e .\n")
    assert not tree(write(job, tmp_path / "into").context / "install")


def test_the_packages_of_a_project_become_a_list(job: Path, tmp_path: Path) -> None:
    text = (
        '[project]\nname="x"\ndependencies = ["six>1", "a;python_version<\'3\'\\n-r /etc/passwd"]\n'
    )
    put(job, "pyproject.toml", text)
    written = write(job, tmp_path / "into")
    lines = (written.context / "runyard/project.txt").read_text().splitlines()
    assert lines == ["six>1", "a;python_version<'3' -r /etc/passwd"]


def test_copies_are_the_same_whatever_mode_the_fetching_left(job: Path, tmp_path: Path) -> None:
    (job / "src/train.py").chmod(0o600)
    put(job, "run.sh").chmod(0o700)
    (job / "src").chmod(0o700)
    copy = write(job, tmp_path / "into").context / "src"
    modes = {
        name: (copy / name).stat().st_mode & 0o777 for name in ("src", "src/train.py", "run.sh")
    }
    assert modes == {"src": 0o775, "src/train.py": 0o664, "run.sh": 0o775}


def test_T8_links_are_copied_as_links_and_pipes_not_at_all(job: Path, tmp_path: Path) -> None:
    put(tmp_path, "secret", "x")
    (job / "out").symlink_to(tmp_path / "secret")
    (job / "all").symlink_to(tmp_path)
    os.mkfifo(job / "pipe")
    copy = write(job, tmp_path / "into").context / "src"
    assert os.readlink(copy / "out") == str(tmp_path / "secret")
    assert (copy / "all").is_symlink()
    assert not (copy / "pipe").exists()


def test_the_jobs_own_dockerfile_is_built_where_it_lies(job: Path, tmp_path: Path) -> None:
    put(job, "Mine", "FROM python:3.11-slim\n")
    found = context.choose(job, named="Mine")
    written = context.write(Recipe(""), found, tmp_path / "into")
    assert written == context.Written(job, job / "Mine")
    assert not (tmp_path / "into").exists()


def test_T21_a_copy_of_it_names_its_base_images_by_digest(job: Path, tmp_path: Path) -> None:
    text = "FROM python:3.11-slim AS a\nRUN echo é\n"
    put(job, "Mine", text)
    put(job, "Mine.dockerignore", "*.tmp\n")
    found = context.choose(job, named="Mine")
    bases = [BaseImage("python:3.11-slim", DIGEST)]
    written = context.write(Recipe(""), found, tmp_path / "into", bases=bases)
    assert written == context.Written(job, tmp_path / "into/Mine")
    assert written.dockerfile.read_text() == text.replace("python:3.11-slim", f"python@{DIGEST}")
    assert (tmp_path / "into/Mine.dockerignore").read_text() == "*.tmp\n"
    assert (job / "Mine").read_text() == text


def test_a_recipe_starts_in_the_build_context(job: Path) -> None:
    found = context.choose(job, build_context="src", entry_point=("python", "train.py"))
    made = context.recipe(PLAN, found, mounts=True, cache="team")
    assert (made.base, made.directory, made.cache) == (f"python@{DIGEST}", "src", "team")
    assert context.recipe(PLAN, context.choose(job), mounts=True, cache="t").directory == ""


def test_T8_no_ignore_file_beside_a_dockerfile_is_read_through_a_link(
    job: Path, tmp_path: Path
) -> None:
    put(job, "Mine", "FROM a\n")
    (job / "Mine.dockerignore").symlink_to(put(tmp_path, "secret"))
    found = context.choose(job, named="Mine")
    context.write(Recipe(""), found, tmp_path / "into", bases=[BaseImage("a", DIGEST)])
    assert tree(tmp_path / "into") == {"Mine"}
