from runyard.builders.none import explain


def test_the_refusal_says_what_it_is_about_what_works_and_what_to_do() -> None:
    refusal = explain("the job names a Dockerfile (Dockerfile.gpu)")

    assert refusal.message.startswith("the job names a Dockerfile (Dockerfile.gpu), and this agent")
    assert "\n" not in refusal.message
    assert "image jobs run as they are" in refusal.message
    for way in ("type: docker", "push it", "-d IMAGE", "leave the Dockerfile out"):
        assert way in refusal.hint
