"""Bundles signed by an identity, with Sigstore: who vouches for records that no computation can.

A signature stands beside its bundle. It says that a person who could log in as the identity had
these bytes, and when: a public log keeps it (Newman, Meyers, Torres-Arias 2022, "Sigstore: software
signing for everybody"). Needs the extra ``lstmbench[sign]``, and the network.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from lstmbench.errors import UserError
from lstmbench.messages import describe
from lstmbench.records.files import MAX_FILE_BYTES, exists, read_regular

#: What a signature's file is called, after its bundle.
SUFFIX = ".sigstore.json"
INSTALL = "pip install 'lstmbench[sign]'"


class Refused(Exception):
    """A signature is not one of these bytes by that identity; the message says why."""


class Service(Protocol):
    """What signs and checks; tests have another one."""

    def sign(self, content: bytes) -> str:
        """A signature of ``content``, as text, by the person who logs in."""

    def check(self, content: bytes, signature: str, identity: str, issuer: str | None) -> None:
        """Raise :class:`Refused` unless that identity signed ``content``."""


class Sigstore:
    """The public instance. Whatever it raises, but :class:`Refused`, is of the network or the
    login."""

    def sign(self, content: bytes) -> str:
        from sigstore.models import ClientTrustConfig
        from sigstore.oidc import IdentityToken, Issuer, detect_credential
        from sigstore.sign import SigningContext

        config = ClientTrustConfig.production()
        token = detect_credential()  # which continuous integration has
        if token is None and not sys.stdin.isatty():
            raise UserError(
                "--sign asks who you are in a browser: use it in a terminal, or in continuous "
                "integration that gives an identity"
            )
        issuer = Issuer(config.signing_config.get_oidc_url()) if token is None else None
        identity = issuer.identity_token() if issuer else IdentityToken(token)
        with SigningContext.from_trust_config(config).signer(identity) as signer:
            return str(signer.sign_artifact(content).to_json())

    def check(self, content: bytes, signature: str, identity: str, issuer: str | None) -> None:
        from sigstore.errors import VerificationError
        from sigstore.models import Bundle, InvalidBundle
        from sigstore.verify import Verifier
        from sigstore.verify.policy import Identity

        try:
            signed = Bundle.from_json(signature)
        except (InvalidBundle, ValueError) as error:
            raise Refused("what is beside it is no signature of Sigstore's") from error
        try:
            verifier = Verifier.production()
        except Exception:  # without a network, by the keys that were known last
            verifier = Verifier.production(offline=True)
        try:
            verifier.verify_artifact(content, signed, Identity(identity=identity, issuer=issuer))
        except VerificationError as error:
            raise Refused(describe(error)) from error


def service() -> Service:
    """What signs and checks here. Raises :class:`UserError` where the extra is not installed."""
    if find_spec("sigstore") is None:
        raise UserError(f"signatures need Sigstore, which is not installed: {INSTALL}")
    return Sigstore()


def signature_of(bundle: Path) -> Path:
    """Where the signature of a bundle stands."""
    return bundle.parent / f"{bundle.name}{SUFFIX}"


def sign(content: bytes, by: Service) -> str:
    """A signature of a bundle's bytes. Raises :class:`UserError` if there is none."""
    try:
        return by.sign(content)
    except UserError:
        raise
    except Exception as error:  # of the network, the login, the libraries of either
        raise UserError(
            f"--sign: not signed, for which there must be a network: {describe(error)}"
        ) from error


def check(bundle: Path, identity: str, issuer: str | None, by: Service) -> None:
    """Raise :class:`Refused` unless ``identity`` signed the bundle as it is now.

    Raises :class:`UserError` where there is no signature, or no telling.
    """
    place = signature_of(bundle)
    if not exists(place):
        raise UserError(f"{bundle} is not signed: {place} is missing")
    try:
        content, signature = read_regular(bundle, MAX_FILE_BYTES), read_regular(place)
    except OSError as error:
        raise UserError(f"{bundle}: {error.strerror or error}") from error
    try:
        by.check(content, signature.decode(errors="replace"), identity, issuer)
    except (Refused, UserError):
        raise
    except Exception as error:
        raise UserError(
            f"--identity: the signature cannot be checked: {describe(error)}"
        ) from error
