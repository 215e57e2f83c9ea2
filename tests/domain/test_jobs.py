import pytest

from runyard.domain.errors import Invalid
from runyard.domain.jobs import Source

CODE = {"kind": "code", "archive": "sha256:" + "0" * 64}


@pytest.mark.parametrize("field", ["build_context", "dockerfile"])
def test_T11_paths_within_the_code_do_not_lead_out_of_it(field: str) -> None:
    assert getattr(Source.from_json({**CODE, field: "sub/..x"}), field) == "sub/..x"
    for path in ("/etc", "..", "../x", "a/../../x"):
        with pytest.raises(Invalid) as refused:
            Source.from_json({**CODE, field: path})
        assert [violation.path for violation in refused.value.violations] == [f"source.{field}"]
