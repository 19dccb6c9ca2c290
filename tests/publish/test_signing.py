"""Signed bundles, with a signer that needs no network; Sigstore itself as far as that goes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lstmbench.errors import UserError
from lstmbench.publish import signing
from lstmbench.records import canonical
from lstmbench.records.record import Record

ME, ISSUER = "me@example.org", "https://login.example.org"
OTHERS = "https://login.example.com"


@dataclass
class Signer:
    """Knows who is logged in; what it signs it would know again."""

    identity: str = ME
    broken: Exception | None = None

    def sign(self, content: bytes) -> str:
        if self.broken:
            raise self.broken
        said = {"identity": self.identity, "issuer": ISSUER, "sha256": canonical.digest(content)}
        return json.dumps(said)

    def check(self, content: bytes, signature: str, identity: str, issuer: str | None) -> None:
        if self.broken:
            raise self.broken
        said = json.loads(signature)
        if said["sha256"] != canonical.digest(content):
            raise signing.Refused("it is of other bytes")
        if said["identity"] != identity or issuer not in (None, said["issuer"]):
            raise signing.Refused(f"it is by {said['identity']}")


@pytest.fixture
def signer(monkeypatch: pytest.MonkeyPatch) -> Signer:
    made = Signer()
    monkeypatch.setattr(signing, "service", lambda: made)
    return made


@pytest.fixture
def folder(tmp_path: Path, make_true: Callable[..., Record], runs: Any) -> Path:
    return Path(runs(tmp_path / "run", [make_true()]))


@pytest.fixture
def signed(folder: Path, call: Any, signer: Signer) -> Path:
    bundle = folder.with_name("mine.zip")
    done = call("publish", folder, "--bundle", bundle, "--sign")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{bundle}: 1 records, signed\n"
    return bundle


@pytest.mark.parametrize("more", [(), ("--issuer", ISSUER)])
def test_a_good_signature_is_named(signed: Path, call: Any, more: tuple[str, ...]) -> None:
    done = call("verify", signed, "--identity", ME, *more)
    assert f"note: signed by {ME}, who vouches for it\n" in done.stdout
    assert "is not signed by" not in done.stdout


@pytest.mark.parametrize("who", [(ME, "--issuer", OTHERS), ("you@example.org",)])
def test_another_identity_is_refused(signed: Path, call: Any, who: tuple[str, ...]) -> None:
    done = call("verify", signed, "--identity", *who)
    assert done.returncode == 1
    assert f"{signed}: is not signed by {who[0]} as it is: it is by {ME}\n" in done.stdout
    assert "who vouches" not in done.stdout


def test_a_bundle_that_was_changed_is_refused(
    signed: Path, call: Any, make_true: Any, runs: Any
) -> None:
    other = runs(signed.with_name("other"), [make_true(backend="fast")])
    call("publish", other, "--bundle", signed)  # and the signature stays what it was
    done = call("verify", signed, "--identity", ME)
    assert done.returncode == 1
    assert "as it is: it is of other bytes\n" in done.stdout


def test_a_bundle_without_a_signature_is_refused(
    signed: Path, call: Any, one_line: Callable[..., None]
) -> None:
    signing.signature_of(signed).unlink()
    one_line(call("verify", signed, "--identity", ME), "is not signed", ".sigstore.json is missing")


def test_what_is_no_bundle_is_refused(
    folder: Path, signer: Signer, call: Any, one_line: Callable[..., None]
) -> None:
    one_line(call("verify", folder, "--identity", ME), "--identity", "is a folder")
    missing = folder.with_name("no.zip")
    one_line(call("verify", missing, "--identity", ME), "no.zip is missing")
    one_line(call("verify", folder, "--issuer", ISSUER), "--issuer")
    one_line(call("publish", folder, "--sign"), "--sign", "--bundle")


def test_without_a_network_nothing_is_written(
    folder: Path, signer: Signer, call: Any, one_line: Callable[..., None]
) -> None:
    signer.broken = ConnectionError("no route\nto host")
    bundle = folder.with_name("mine.zip")
    done = call("publish", folder, "--bundle", bundle, "--sign")
    one_line(done, "--sign: not signed", "network", "ConnectionError: no route to host")
    assert not bundle.exists()


def test_a_signature_that_cannot_be_checked_is_one_line(
    signed: Path, signer: Signer, call: Any, one_line: Callable[..., None]
) -> None:
    signer.broken = ConnectionError("no route to host")
    one_line(call("verify", signed, "--identity", ME), "cannot be checked", "no route to host")


@pytest.mark.parametrize("arguments", [("publish", "{}", "--bundle", "{}.zip", "--sign")])
def test_without_the_extra_one_line_says_how_to_get_it(
    folder: Path,
    call: Any,
    one_line: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
) -> None:
    monkeypatch.setattr(signing, "find_spec", lambda name: None)
    one_line(call(*(word.format(folder) for word in arguments)), "pip install 'lstmbench[sign]'")
    call("publish", folder, "--bundle", f"{folder}.zip")
    one_line(call("verify", f"{folder}.zip", "--identity", ME), "pip install 'lstmbench[sign]'")


def test_the_extra_is_declared() -> None:
    import tomllib

    settings = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    (wanted,) = settings["project"]["optional-dependencies"]["sign"]
    assert wanted.startswith("sigstore")


def test_sigstore_s_own_api_is_as_it_is_used(tmp_path: Path) -> None:
    """What is no signature is refused before anything is asked of the network."""
    pytest.importorskip("sigstore")
    bundle = tmp_path / "mine.zip"
    bundle.write_bytes(b"x")
    signing.signature_of(bundle).write_text("{}")
    with pytest.raises(signing.Refused, match="no signature of Sigstore's"):
        signing.check(bundle, ME, None, signing.service())


def test_sigstore_without_a_network_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    models = pytest.importorskip("sigstore.models")

    def offline(**_: Any) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(models.ClientTrustConfig, "production", offline)
    with pytest.raises(UserError, match=r"not signed.*no route to host"):
        signing.sign(b"x", signing.service())
