"""What ``--stack`` may be, and which mistakes one line each names."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmbench.errors import UserError
from lstmbench.stacks.request import Request, parse


def one(text: str) -> Request:
    (found,) = parse([text])
    return found


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("jax==0.10.*", "jax==0.10.*"),
        ("jax >= 0.9, < 0.10", "jax>=0.9,<0.10"),
        ("jax===0.10.2", "jax===0.10.2"),
        ("jax~=0.9", "jax~=0.9"),
        ("keras[jax]!=3.1", "keras[jax]!=3.1"),
        ("torch", "torch"),
    ],
)
def test_a_requirement_is_its_own_label(text: str, label: str) -> None:
    assert one(text) == Request(label, "requirement", text)


def test_a_label_goes_before_the_first_sign_of_equality() -> None:
    assert one("old=jax==0.9.*") == Request("old", "requirement", "jax==0.9.*")
    assert one("v1.2+x=git+https://e.org/a=b@main").label == "v1.2+x"


def test_what_there_is_decides_the_form(tmp_path: Path) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(
        "# pinned\n--index-url https://e.org/simple\njax==0.9.0 \\\n  --hash=sha256:abc \\\n"
        "  --hash=sha256:def  # both\nnumpy>=1.26 ; python_version > '3'\n\n"
    )
    requirements.chmod(0o755)  # as file systems without modes have it
    python = tmp_path / "python3"
    python.write_text("")
    python.chmod(0o755)
    assert one(f"a={requirements}").form == "list"
    assert one(f"a={python}").form == "python"
    assert one(f"a={tmp_path}").form == "folder"
    assert one("a=git+https://e.org/x@main").form == "git"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("git+https://e.org/x@main", "give it a label"),
        (".", "give it a label"),
        ("jax @ https://e.org/jax.whl", "give it a label"),
        ("a b=jax", "'a b' is no label"),
        ("../x=jax", "'../x' is no label"),
        ("=jax", "'' is no label"),
        (f"{'x' * 65}=jax", "is no label"),
        ("a=", "no such file or folder"),
        ("a=no/such/python", "no such file or folder"),
        ("a=none.txt", "no such file or folder"),
        ("a=jax==", "is no requirement"),
        ("jax==", "is no requirement"),
        ("lstmbench==0.1", "lstmbench itself cannot be replaced"),
        ("a=LSTMBench", "lstmbench itself cannot be replaced"),
        ("a=jax @ file:///tmp/jax.whl", "may change"),
    ],
)
def test_mistakes(text: str, message: str) -> None:
    with pytest.raises(UserError, match="--stack") as error:
        parse([text])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("-r other.txt", "'-r' leads to other files"),
        ("--editable ./here", "'--editable' leads to other files"),
        ("-c limits.txt", "leads to other files"),
        ("./here", "is no requirement"),
        ("lstmbench==1.0 --hash=sha256:ab", "lstmbench itself cannot be replaced"),
    ],
)
def test_a_file_of_requirements_stands_for_itself(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text(f"jax==0.9.0\n{line}\n")
    with pytest.raises(UserError) as error:
        parse([f"a={file}"])
    assert message in str(error.value)
    assert "line 2" in str(error.value)


def test_two_stacks_have_two_labels() -> None:
    assert len(parse(["jax==0.9.*", "jax==0.10.*"])) == 2
    with pytest.raises(UserError, match="another one is called 'a'"):
        parse(["a=jax", "a=torch"])


def test_a_record_shows_no_path_and_no_password(tmp_path: Path) -> None:
    assert str(tmp_path) not in one(f"a={tmp_path}").recorded
    shown = one("a=git+https://me:secret@e.org/x@main").recorded
    assert "secret" not in shown
    assert "e.org/x@main" in shown


@given(st.text(max_size=40))
def test_whatever_is_typed_is_a_stack_or_one_line(text: str) -> None:
    found: list[Request] = []
    with suppress(UserError):
        found = parse([text])
    assert all(request.label and request.text for request in found)
