"""The line that says why an environment cannot be made."""

from __future__ import annotations

from pathlib import Path

import pytest

from lstmbench.stacks import installer

NEW_UV = """Using Python 3.11.7 environment at: env1
error: No solution found when resolving dependencies
  cause: Because only jax<=0.12 is available and you require
         jax==99.*, your requirements are unsatisfiable.
hint: pre-releases are there
"""
OLD_UV = """  x No solution found when resolving dependencies:
  ╰─▶ Because there is no version of jax==99 and you require jax==99, we can
      conclude that your requirements are unsatisfiable.
"""
PIP = """Looking in indexes: x
ERROR: Could not find a version that satisfies the requirement jax==99 (from versions: 0.1)
ERROR: No matching distribution found for jax==99
"""
CONFLICT = """ERROR: Cannot install a==1 and b==2 because these package versions conflict.
The conflict is caused by: ...
ERROR: ResolutionImpossible: for help visit some page
"""


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (
            NEW_UV,
            "Because only jax<=0.12 is available and you require jax==99.*, your requirements are "
            "unsatisfiable.",
        ),
        (
            OLD_UV,
            "Because there is no version of jax==99 and you require jax==99, we can conclude that "
            "your requirements are unsatisfiable.",
        ),
        (PIP, "No matching distribution found for jax==99"),
        (CONFLICT, "Cannot install a==1 and b==2 because these package versions conflict."),
        ("one\n\nerror: no such command\n", "no such command"),
        ("", ""),
    ],
    ids=["uv", "old uv", "pip", "conflict", "other", "nothing"],
)
def test_the_reason_is_found(output: str, said: str) -> None:
    assert installer.verdict(output) == said


def test_a_long_reason_is_cut_and_control_characters_go() -> None:
    said = installer.verdict("\x1b[31m" + "x" * 1000)
    assert said.isprintable()
    assert len(said) < installer.MAX_SAID + 10


def test_an_installer_that_does_not_start_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uv = tmp_path / "uv"
    uv.write_text("#!/no/such/interpreter\n")
    uv.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(installer.CannotInstall, match="uv: No such file"):
        installer.create(tmp_path / "new")
