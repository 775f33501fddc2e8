"""Where the key of a provider or a server may stand: in an environment variable, and nowhere in the configuration.

What is refused here may be a key itself, so no message repeats it.
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
_WORD, _DIGITS, _NAME = 16, 4, 64  # longest word of a variable's name, most digits in it, its most characters
_ALONE = {"key", "token", "auth", "authorization", "bearer", "cookie", "credential", "credentials"}
_ANYWHERE = {"apikey", "authorization", "secret", "password", "passwd", "passphrase", "credential", "credentials"}
_OWNERS = {"api", "access", "auth", "bearer", "client", "hf", "id", "private", "secret", "security", "session", "user"}


def check_variable(name: Any, where: str) -> None:
    """Refuse what is not plainly the name of an environment variable, such as a key in its place.

    A name has capital letters, digits and ``_``, or small letters and ``_``; no word of it is long, and it has few
    digits.

    Raises:
        UserError: says what is needed, and repeats nothing.
    """
    if name is None:
        return
    plain = isinstance(name, str) and _PLAIN.fullmatch(name) and len(name) <= _NAME and not KEY.search(name)
    if not plain or max(map(len, name.split("_"))) > _WORD or sum(map(str.isdigit, name)) > _DIGITS:
        needed = f"the name of the environment variable that holds the key is needed, such as {EXAMPLE}"
        raise UserError(f"{where}: {needed}. {_HIDDEN}")


def check_address(url: Any, where: str) -> None:
    """Refuse an address that is none, or that holds more than host and path: a key would show wherever it does.

    Raises:
        UserError: says what is needed, and repeats nothing.
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
    """Refuse fields of a request's body, at any depth, whose name or text is that of a key.

    Raises:
        UserError: names the field, and repeats no text.
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
        UserError: repeats nothing.
    """
    if KEY.search(text):
        raise UserError(
            f"{where}: a key stands here; put it into an environment variable, and its name into api_key_env"
        )


def is_key_name(name: str) -> bool:
    """Whether a field of this name holds a key, as ``api_key``, ``Authorization`` or ``access_token`` do, and
    ``max_tokens`` or ``prompt_cache_key`` do not."""
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    if len(words) == 1 and words[0] in _ALONE:
        return True
    if _ANYWHERE & set(words):
        return True
    return any(first in _OWNERS and second in {"key", "token"} for first, second in pairwise(words))


def check_keys(value: Any, where: str) -> None:
    """Refuse keys anywhere in a part of the configuration: in ``api_key_env``, ``base_url`` and ``extra`` whatever is
    not plainly something else, at any other place what has the form of a key.

    Raises:
        UserError: names the place, and repeats nothing.
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
    """Whether what is sent to this address can be read on its way: plain HTTP to a host that is not this machine."""
    parts = urlsplit(url or "")
    host = parts.hostname or "localhost"
    try:
        own = ip_address(host).is_loopback
    except ValueError:
        own = host == "localhost" or host.endswith(".localhost")
    return parts.scheme == "http" and not own
