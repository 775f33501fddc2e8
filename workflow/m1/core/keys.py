"""Refuse API keys in the configuration: a key may only stand in an environment variable.

The refused text may be a key itself, so no message repeats it.
"""

import re
from collections.abc import Mapping
from ipaddress import ip_address
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

from m1.core.errors import KEY, UserError

EXAMPLE = "TEACHER_API_KEY"
OPEN = "the key goes there unencrypted, for anyone on the way to read; use https"
_HIDDEN = "What was found is not shown, as it may be a key."
_PLAIN = re.compile(r"[A-Z_][A-Z0-9_]*|[a-z_]+")
# A variable's name has words of up to 16 characters, up to 4 digits and 64 characters in all. Keys that pass as plain
# words exceed one of these limits: they are random, so they have long runs of letters and many digits.
_WORD, _DIGITS, _NAME = 16, 4, 64
_ALONE = {"key", "token", "auth", "authorization", "bearer", "cookie", "credential", "credentials"}
_ANYWHERE = {"apikey", "authorization", "secret", "password", "passwd", "passphrase", "credential", "credentials"}
_OWNERS = {"api", "access", "auth", "bearer", "client", "hf", "id", "private", "secret", "security", "session", "user"}


def check_variable(name: Any, where: str) -> None:
    """Refuse anything but a plain name of an environment variable, because it may be the key itself.

    A plain name has capital letters, digits and ``_``, or small letters and ``_``. It has no long word and few digits.

    Raises:
        UserError: says what is needed, and does not repeat ``name``.
    """
    if name is None:
        return
    plain = isinstance(name, str) and _PLAIN.fullmatch(name) and len(name) <= _NAME and not KEY.search(name)
    if not plain or max(map(len, name.split("_"))) > _WORD or sum(map(str.isdigit, name)) > _DIGITS:
        needed = f"the name of the environment variable that holds the key is needed, such as {EXAMPLE}"
        raise UserError(f"{where}: {needed}. {_HIDDEN}")


def check_address(url: Any, where: str) -> None:
    """Refuse an address that is malformed, or that holds more than host and path, because that may be a key.

    Raises:
        UserError: says what is needed, and does not repeat the address.
    """
    if url is None:
        return
    try:
        parts = urlsplit(url)
        known = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except (ValueError, AttributeError, TypeError):
        known = False
    if not known:
        raise UserError(f"{where}: an address such as https://host/v1 is needed. {_HIDDEN}")
    found = [
        *(["a name or password"] if "@" in parts.netloc else []),
        *(["a query (?…)"] if "?" in url else []),
        *(["a fragment (#…)"] if "#" in url else []),
        *(["a key"] if KEY.search(url) else []),
    ]
    if found:
        needed = "an address such as https://host/v1 is needed, and the key by api_key_env"
        raise UserError(f"{where}: it holds {' and '.join(found)}; {needed}. {_HIDDEN}")


def check_fields(value: Any, where: str) -> None:
    """Refuse fields of a request's body, at any depth, that hold a key by their name or by the form of their text.

    Raises:
        UserError: names the field, and does not repeat its text.
    """
    if isinstance(value, Mapping):
        for name, part in value.items():
            if KEY.search(str(name)):
                raise UserError(f"{where}: a key stands in place of a field's name; give it by api_key_env. {_HIDDEN}")
            if is_key_name(str(name)):
                raise UserError(f"{where}.{name}: a field for a key; give the key by api_key_env. {_HIDDEN}")
            check_fields(part, f"{where}.{name}")
    elif isinstance(value, list | tuple):
        for place, part in enumerate(value):
            check_fields(part, f"{where}[{place}]")
    elif isinstance(value, str):
        check_text(value, where)


def check_text(text: str, where: str) -> None:
    """Refuse a text that has the form of a key.

    Raises:
        UserError: names the place, and does not repeat the text.
    """
    if KEY.search(text):
        remedy = "put it into an environment variable, and its name into api_key_env"
        raise UserError(f"{where}: a key stands here; {remedy}")


def is_key_name(name: str) -> bool:
    """Whether a field of this name holds a key.

    ``api_key``, ``Authorization`` and ``access_token`` do; ``max_tokens`` and ``prompt_cache_key`` do not.
    """
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    if len(words) == 1 and words[0] in _ALONE:
        return True
    if _ANYWHERE & set(words):
        return True
    return any(first in _OWNERS and second in {"key", "token"} for first, second in pairwise(words))


def check_keys(value: Any, where: str) -> None:
    """Refuse keys anywhere in a part of the configuration.

    ``api_key_env``, ``base_url`` and ``extra`` are checked strictly, since people put keys there. At any other place,
    only a text with the form of a key is refused.

    Raises:
        UserError: names the place, and does not repeat what stands there.
    """
    if isinstance(value, Mapping):
        called = not value.keys().isdisjoint({"model", "base_url", "api_key_env"})  # a provider, or options of a server
        checks = {"api_key_env": check_variable, "base_url": check_address, "extra": check_fields} if called else {}
        for name, part in value.items():
            check_text(str(name), where)
            checks.get(name, check_keys)(part, f"{where}.{name}" if where else str(name))
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            check_keys(part, f"{where}[{number}]")
    elif isinstance(value, str):
        check_text(value, where)


def is_open(url: str | None) -> bool:
    """Whether requests to this address travel unencrypted: plain HTTP to any host but this machine."""
    parts = urlsplit(url or "")
    host = parts.hostname or "localhost"
    try:
        own = ip_address(host).is_loopback
    except ValueError:
        own = host == "localhost" or host.endswith(".localhost")
    return parts.scheme == "http" and not own
