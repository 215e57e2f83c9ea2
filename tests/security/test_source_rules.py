"""What no line of the product may do, read off its syntax trees."""

import ast
from pathlib import Path

import pytest

import runyard

SOURCES = sorted(Path(runyard.__file__).parent.rglob("*.py"))
UNSAFE_MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "jinja2"}
UNSAFE_CALLS = {"eval", "exec", "compile", "__import__"}
UNSAFE_ATTRIBUTES = {
    ("yaml", "load"), ("yaml", "unsafe_load"), ("yaml", "full_load"), ("os", "system"),
    ("os", "popen"), ("subprocess", "getoutput"), ("asyncio", "create_subprocess_shell"),
}  # fmt: skip


def offences(text):
    found = []
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Import(names=names):
                found += [n.name for n in names if n.name.split(".")[0] in UNSAFE_MODULES]
            case ast.ImportFrom(module=str(module)):
                found += [module] if module.split(".")[0] in UNSAFE_MODULES else []
            case ast.Call(func=ast.Name(id=name)) if name in UNSAFE_CALLS:
                found.append(name)
            case ast.Attribute(value=ast.Name(id=left), attr=right):
                found += [f"{left}.{right}"] if (left, right) in UNSAFE_ATTRIBUTES else []
            case ast.keyword(arg="shell", value=ast.Constant(value=True)):
                found.append("shell=True")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.stem)
def test_T7_T10_nothing_is_unpickled_evaluated_or_given_to_a_shell(path):
    assert offences(path.read_text()) == []


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from marshal import loads",
        "yaml.load(x)",
        "eval(x)",
        "run(x, shell=True)",
        "os.system(x)",
    ],
)
def test_the_test_would_see_it(text):
    assert offences(text)


def test_T10_an_agent_file_cannot_make_objects(tmp_path):
    from runyard.agent.loading import load
    from runyard.domain.errors import Invalid

    path = tmp_path / "agent.yaml"
    path.write_text("name: !!python/object/apply:os.system ['touch /tmp/pwned']\n")
    with pytest.raises(Invalid):
        load({}, file=path)
