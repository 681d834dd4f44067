"""Authentication of both sides of a broker connection, and why a connection failed.

- TLS is verified: TLS 1.2 or later, the chain against `ca_file` or the system's authorities, and the name against the
  host that was dialled. Only the last can be switched off.
- An encrypted private key without its password is an error, not a prompt on a terminal that nobody watches.
- aiokafka reports any failed connection as "unable to bootstrap". `why_unreachable` tries again by itself and
  names the actual cause, in one line with the remedy.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from aiokafka.abc import AbstractTokenProvider
from aiokafka.conn import AIOKafkaConnection, collect_hosts
from aiokafka.errors import (
    AuthenticationFailedError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest
from pydantic import SecretStr

from impactd.config.cluster import SecuritySection
from impactd.shell.kafka.errors import FatalError

#: What aiokafka raises where a connection does not come about. A peer that does not know our secret itself, and fails
#: to prove that it does, ends a SCRAM exchange with a ValueError.
CONNECT_ERRORS: Final = (KafkaError, OSError, TimeoutError, ValueError)

#: X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH.
_WRONG_NAME: Final = frozenset({62, 64})

#: A peer that was refused may not answer a TLS goodbye.
_CLOSE_S: Final = 1.0

_TEXT_PROTOCOLS: Final = frozenset({"PLAINTEXT", "SASL_PLAINTEXT"})


class TokenError(OSError):
    """No bearer token is available; clients treat it as a failed connection, and retry."""


class _TokenFile(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka ships no types
    """Reads the bearer token again for each connection."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    async def token(self) -> str:
        """Return the token that the file holds now."""
        try:
            text = await asyncio.to_thread(self._path.read_text, "utf-8")
        except OSError as error:
            raise TokenError(f"{self._path} cannot be read: {_reason(error)}") from error
        except UnicodeDecodeError:
            raise TokenError(f"{self._path} is not UTF-8 text") from None
        token = text.strip()
        if not token or any(not 32 < ord(c) < 127 for c in token):
            # The token is put between control characters: one of those in it would be read as a field of its own.
            raise TokenError(f"{self._path} holds no bearer token: write one line of printable ASCII")
        return token


def _text(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def security_options(security: SecuritySection) -> dict[str, Any]:
    """Return what every aiokafka client is given about security.

    Raises
    ------
    FatalError
        If a certificate or key cannot be used.
    """
    options: dict[str, Any] = {"security_protocol": security.protocol}
    if security.protocol not in _TEXT_PROTOCOLS:
        options["ssl_context"] = _ssl_context(security)
    if security.protocol.startswith("SASL_"):
        options["sasl_mechanism"] = security.mechanism
        if security.mechanism == "OAUTHBEARER":
            if security.oauth_token_file is None:
                raise FatalError("kafka.security.oauth_token_file: OAUTHBEARER needs the file that holds the token")
            options["sasl_oauth_token_provider"] = _TokenFile(security.oauth_token_file)
        else:
            options["sasl_plain_username"] = security.username
            options["sasl_plain_password"] = _text(security.password)
    return options


def _ssl_context(security: SecuritySection) -> ssl.SSLContext:
    """Return a context that verifies; each file that cannot be used is named by its setting."""
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=security.ca_file)
    except (OSError, ValueError) as error:
        raise FatalError(f"kafka.security.ca_file: {security.ca_file} cannot be used: {_reason(error)}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = security.check_hostname
    if security.cert_file is not None:
        try:
            context.load_cert_chain(security.cert_file, security.key_file, lambda: _text(security.key_password) or "")
        except (OSError, ValueError) as error:
            names = f"{security.cert_file} and {security.key_file}"
            reason = "encrypted, and key_password does not open it" if _is_locked(security) else _reason(error)
            raise FatalError(f"kafka.security.cert_file, key_file: {names} cannot be used: {reason}") from error
    return context


def _is_locked(security: SecuritySection) -> bool:
    """Return whether the private key is encrypted."""
    try:
        return "ENCRYPTED" in Path(security.key_file or "").read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return False


def _reason(error: BaseException) -> str:
    """Return the reason of an error without what Python's wrappers add to it."""
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not PEM, or the two do not belong together").replace("_", " ").lower()
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


async def why_unreachable(bootstrap: str, options: Mapping[str, Any], within_s: float, error: BaseException) -> str:
    """Try the bootstrap brokers one by one and say in one line why none can be used.

    Parameters
    ----------
    bootstrap : str
        Comma-separated ``host:port``.
    options : mapping
        What the clients are given: see `security_options`.
    within_s : float
        For how long to try, in seconds.
    error : BaseException
        What has failed; all there is to tell where the brokers answer now.
    """
    shared = {name: value for name, value in options.items() if name != "bootstrap_servers"}
    reasons: list[tuple[bool, str | None]] = []
    try:
        async with asyncio.timeout(within_s):
            for host, port, _family in collect_hosts(bootstrap, randomize=False):
                reasons.append(await _try(host, port, shared))
    except TimeoutError:
        reasons.append((False, f"no broker answers at {bootstrap} within {within_s:.0f} s"))
    # One broker that speaks and refuses tells more than another that is away.
    reason = next((text for telling, text in reasons if telling), reasons[0][1])
    return reason or f"the brokers at {bootstrap} gave an unexpected answer: {_sentence(error)}; try again"


async def _try(host: str, port: int, options: Mapping[str, Any]) -> tuple[bool, str | None]:
    """Return whether a broker was there, and why the connection failed, None if it did not."""
    at, protocol, mechanism = f"{host}:{port}", options["security_protocol"], options.get("sasl_mechanism")
    bad_token = f"{at} accepts the connection but rejects the token in kafka.security.oauth_token_file; renew it"
    try:
        answer = await _ask(AIOKafkaConnection(host, port, **options))
        if mechanism == "OAUTHBEARER" and not answer.brokers:
            # aiokafka does not look at what follows the token; the broker's refusal then reads as a cluster of none.
            return True, bad_token
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in _WRONG_NAME:
            return True, (
                f"the certificate of {at} is not for this name: {_sentence(error.verify_message)}; "
                "dial a name that the certificate has (kafka.bootstrap), and have the broker advertise it"
            )
        return True, (
            f"the certificate of {at} is not trusted: {_sentence(error.verify_message)}; "
            "name the authority that signed it in kafka.security.ca_file"
        )
    except ssl.SSLError as error:
        return True, (
            f"no TLS with {at}: {_reason(error)}; compare kafka.security.protocol = {protocol} with the listener's, "
            "and the client certificate with what the broker asks for"
        )
    except TokenError as error:
        return True, f"kafka.security.oauth_token_file: {error}"
    except UnsupportedSaslMechanismError as error:
        return True, f"{at} does not support {mechanism}: {_sentence(error)}; correct kafka.security.mechanism"
    except (AuthenticationFailedError, SaslAuthenticationFailed) as error:
        who = f"user {options.get('sasl_plain_username')!r}"
        return True, (
            f"{at} refused {who} with {mechanism}: {_sentence(error)}; check kafka.security.username and the password"
        )
    except ValueError as error:
        return (
            True,
            f"{at} could not prove that it knows the password: {_sentence(error)}; check that it is your broker",
        )
    except (KafkaError, ConnectionResetError) as error:
        if mechanism == "OAUTHBEARER" and isinstance(error, KafkaError):
            return True, bad_token
        return True, (
            f"{at} closes the connection ({type(error).__name__}); is kafka.security.protocol = {protocol} "
            "that of its listener, and is a client certificate asked for?"
        )
    except (OSError, TimeoutError) as error:
        return False, f"no broker answers at {at}: {_reason(error)}; start one, or correct kafka.bootstrap"
    return False, None


async def _ask(connection: AIOKafkaConnection) -> Any:
    """Connect, ask for the cluster's brokers, and leave no transport behind."""
    try:
        await connection.connect()
        return await connection.send(MetadataRequest([]))
    finally:
        closed = connection.close()
        if connection._protocol is not None:  # noqa: SLF001  (there was a connection, or nothing would ever close)
            await asyncio.wait([closed], timeout=_CLOSE_S)


def _sentence(error: object) -> str:
    """Return a text of one line that does not end like a sentence."""
    return " ".join(str(error).split()).rstrip(". ") or type(error).__name__
