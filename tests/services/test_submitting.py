import pytest

from runyard.domain.errors import Conflict, Forbidden, Invalid, NotFound
from runyard.services import jobs, queues, submitting
from runyard.store import tables as t

IMAGE = {"docker": {"docker_image": "busybox"}}
GIT = {
    "kind": "git",
    "remote": "https://example.com/r.git",
    "commit": "a" * 40,
    "entry_point": ["python", "a.py"],
}


def submit(yard, *specs, queue="q", **options):
    return submitting.submit(yard.call(options.pop("actor", None)), "ann", queue, specs, **options)


def rows(yard, table):
    return len(yard.tx.all(table.select()))


def save(yard, entry="a.py", **more):
    source = {**GIT, "entry_point": ["python", entry]}
    return jobs.save(yard.call(), entity="ann", project="p", name="train", source=source, **more)


def test_the_answer_is_what_will_run_everything_resolved(yard):
    queues.edit(yard.call(), "ann", "q", config={"cpus": 1, "env": ["A=1"]}, policy=None)
    (made,) = submit(
        yard,
        {
            **IMAGE,
            "project": "vision",
            "name": "first",
            "resource_args": {"local-container": {"cpus": 2}},
            "overrides": {"args": ["--lr", "1"], "run_config": {"lr": 1}, "entrypoint": ["py"]},
        },
    )

    assert made.spec["resource_args"] == {"local-container": {"cpus": 2, "env": ["A=1"]}}
    assert made.spec["overrides"]["entry_point"] == ["py"]  # both spellings
    assert (made.spec["author"], made.spec["entity"], made.spec["project"]) == (
        "ann", "ann", "vision",
    )  # fmt: skip
    assert made.spec["source"] == {"kind": "image", "image": "busybox"}
    assert len(made.spec["run_id"]) == 10


def test_all_or_none_are_queued(yard):
    with pytest.raises(Invalid) as raised:
        submit(yard, IMAGE, {**IMAGE, "projct": "x"}, {"job": "a", **IMAGE})

    assert [v.path for v in raised.value.violations] == ["items.1.projct", "items.2.job"]
    assert "did you mean project?" in raised.value.violations[0].message
    assert rows(yard, t.items) == rows(yard, t.runs) == 0


def test_a_dry_run_decides_the_same_and_writes_no_item(yard):
    (made,) = submit(yard, IMAGE, dry_run=True)

    assert made.spec["resource"] == "local-container"
    assert rows(yard, t.items) == rows(yard, t.runs) == rows(yard, t.item_events) == 0


def test_an_unknown_queue_is_answered_with_the_nearest_names(yard):
    queues.create(
        yard.call(), entity="ann", name="gpu-large", resource="local-process", config={}, policy={}
    )
    with pytest.raises(NotFound, match="gpu-large") as raised:
        submit(yard, IMAGE, queue="gpu-larg")
    assert "runyard queue list" in raised.value.hint


def test_the_queue_default_is_made_by_whoever_submits_first(yard):
    save(yard)
    submit(yard, {"job": "p/train"}, queue="default")
    assert queues.get(yard.call(), "ann", "default").resource == "local-process"


def test_an_alias_is_pinned_to_a_version_when_submitting(yard):
    save(yard, "a.py")
    (made,) = submit(yard, {"job": "p/train:latest"})
    save(yard, "b.py")
    (later,) = submit(yard, {"job": "p/train"})

    assert made.spec["job"] == "ann/p/train:v0"
    assert made.spec["source"]["entry_point"] == ["python", "a.py"]
    assert later.spec["job"] == "ann/p/train:v1"


def test_the_same_content_makes_no_new_version_and_latest_moves(yard):
    first, created = save(yard, aliases=("best",))
    again, created_again = save(yard)
    other, _ = save(yard, "b.py")

    assert (created, created_again) == (True, False)
    assert first.version == again.version == 0
    assert (other.version, other.aliases) == (1, ("latest",))
    assert jobs.get(yard.call(), _ref("best")).version == 0


def _ref(alias):
    from runyard.domain.jobs import JobRef

    return JobRef("ann", "p", "train", alias)


def test_an_unknown_version_names_the_command_that_lists_them(yard):
    save(yard)
    with pytest.raises(NotFound) as raised:
        submit(yard, {"job": "p/train:v7"})
    assert "runyard job describe" in raised.value.hint


def test_a_job_without_entry_point_is_refused_before_it_is_queued(yard):
    source = {k: v for k, v in GIT.items() if k != "entry_point"}
    jobs.save(yard.call(), entity="ann", project="p", name="bare", source=source)
    with pytest.raises(Invalid, match="entry_point"):
        submit(yard, {"job": "p/bare"})


def test_an_archive_that_was_not_uploaded_is_refused(yard):
    source = {"kind": "code", "archive": "sha256:" + "0" * 64, "entry_point": ["python", "a.py"]}
    with pytest.raises(Conflict, match="not uploaded"):
        jobs.save(yard.call(), entity="ann", project="p", name="code", source=source)


def test_an_image_is_refused_by_a_process_queue(yard):
    queues.create(
        yard.call(), entity="ann", name="proc", resource="local-process", config={}, policy={}
    )
    with pytest.raises(Invalid, match="not images"):
        submit(yard, IMAGE, queue="proc")


@pytest.mark.parametrize(
    "key", ["privileged", "volume", "PID", "cap_add", "cap-add", "security-opt", "v", "ipc"]
)
def test_dangerous_docker_options_are_refused_on_the_server_T8(yard, key):
    given = {"resource_args": {"local-container": {key: ["/:/host"]}}}
    with pytest.raises(Invalid):
        submit(yard, {**IMAGE, **given})
    assert rows(yard, t.items) == 0


def test_a_run_id_is_honoured_once(yard):
    (made,) = submit(yard, {**IMAGE, "run_id": "mine"})
    assert made.spec["run_id"] == "mine"
    with pytest.raises(Invalid):
        submit(yard, {**IMAGE, "run_id": "../x"})


def test_a_priority_needs_a_queue_that_has_them(yard):
    with pytest.raises(Invalid, match="no priorities"):
        submit(yard, {**IMAGE, "priority": "high"})


def test_a_member_submits_a_viewer_looks_and_a_stranger_finds_nothing(yard):
    for name in ("mel", "vic", "sid"):
        yard.new_user(name)
    yard.team("lab", mel="member", vic="viewer")
    queues.create(
        yard.call(), entity="lab", name="gpu", resource="local-container", config={}, policy={}
    )

    def by(name):
        return submitting.submit(yard.call(yard.user(name)), "lab", "gpu", [IMAGE])

    assert by("mel")
    with pytest.raises(Forbidden, match="viewer"):
        by("vic")
    with pytest.raises(NotFound):
        by("sid")


def test_the_author_is_who_asked_whatever_the_spec_says(yard):
    (made,) = submit(yard, {**IMAGE, "author": "somebody-else"})
    assert made.spec["author"] == "ann"


def test_T24_the_server_expands_nothing_in_a_spec(yard):
    words = ["@/etc/passwd", "file:///etc/passwd", "$(id)", "${HOME}", "{{x}}", "~/x", "%2e%2e"]
    (made,) = submit(
        yard,
        {**IMAGE, "name": "@/etc/passwd", "overrides": {"args": words, "run_config": {"a": words}}},
    )

    assert made.spec["overrides"]["args"] == words
    assert made.spec["overrides"]["run_config"] == {"a": words}
    assert made.spec["name"] == "@/etc/passwd"


def test_a_queue_may_say_how_images_are_built(yard):
    config = {"cpus": 1, "builder": {"base_image": "python:3.12-slim"}}
    queues.edit(yard.call(), "ann", "q", config=config, policy=None)
    (made,) = submit(yard, IMAGE)

    assert made.spec["resource_args"]["local-container"] == config


def test_what_a_submission_says_of_building_stands_beside_the_queue_s(yard):
    save(yard)
    queue = {"accelerator": {"base_image": "nvidia/cuda"}}
    queues.edit(yard.call(), "ann", "q", config={"builder": queue}, policy=None)
    beside = {"local-container": {"builder": {"platform": "linux/arm64", "base_image": "a"}}}
    (made,) = submit(
        yard,
        {
            "job": "p/train",
            "resource_args": beside,
            "builder": {"base_image": "b"},
            "rebuild": True,
        },
        dry_run=True,
    )

    assert made.spec["resource_args"]["local-container"] == {"builder": queue}
    assert made.spec["builder"] == {"base_image": "b", "platform": "linux/arm64"}
    assert made.spec["rebuild"] is True
    (plain,) = submit(yard, {"job": "p/train"}, dry_run=True)
    assert not {"builder", "rebuild"} & set(plain.spec)


def test_T14_secrets_and_the_builder_itself_are_not_a_submission_s_to_choose(yard):
    given = {"type": "none", "secrets": {"netrc": "n"}, "destination": "r.example.com/x"}
    with pytest.raises(Invalid) as raised:
        submit(yard, {**IMAGE, "builder": given})
    assert {v.path for v in raised.value.violations} == {f"builder.{key}" for key in given}
    with pytest.raises(Invalid) as raised:
        submit(yard, {**IMAGE, "resource_args": {"local-container": {"builder": given}}})
    assert {v.path for v in raised.value.violations} == {
        f"resource_args.local-container.builder.{key}" for key in given
    }


def test_in_a_queue_with_a_template_only_its_admins_choose_how_to_build(yard):
    yard.new_user("bob")
    yard.team("vision", bob="member")
    queues.create(
        yard.call(), entity="vision", name="q", resource="local-container", policy={},
        config={"cpus": "{{n}}"}, variables={"n": {"type": "integer", "default": 1}},
    )  # fmt: skip
    spec = {**IMAGE, "builder": {"base_image": "a"}}
    with pytest.raises(Invalid) as raised:
        submitting.submit(yard.call(yard.user("bob")), "vision", "q", [spec])
    assert [v.path for v in raised.value.violations] == ["builder"]
    (made,) = submitting.submit(yard.call(), "vision", "q", [spec])
    assert made.spec["builder"] == {"base_image": "a"}
    again = {**IMAGE, "rebuild": True}
    (made,) = submitting.submit(yard.call(yard.user("bob")), "vision", "q", [again])
    assert made.spec["rebuild"] is True


@pytest.mark.parametrize("builder", [{"base_image": "b"}, {"cuda": {"base_image": "b"}}])
def test_an_image_to_build_upon_is_one_that_the_queue_allows(yard, builder):
    save(yard)
    queues.edit(yard.call(), "ann", "q", config=None, policy={"images": ["a*"]})
    with pytest.raises(Invalid, match="'b' is not on the queue's list"):
        submit(yard, {"job": "p/train", "builder": builder})
    submit(yard, {"job": "p/train", "builder": {"base_image": "abc"}})


def test_a_job_names_its_base_image_as_images_are_named(yard):
    with pytest.raises(Invalid, match="'Python 3' is not"):
        jobs.save(
            yard.call(), entity="ann", project="p", name="train",
            source={**GIT, "base_image": "Python 3"},
        )  # fmt: skip
