"""Filtered keys: text that carries its own rights, encrypted with a project's master key.

Whoever holds the master key makes them without asking the server, one for each customer for example; the
server reads the rights back out. They are a JSON object of

* ``filters``: an object in a query's filter grammar, ANDed with every query. Required when ``canQuery`` is
  true; ``null`` is what the .NET SDK writes for none.
* ``canQuery``, ``canPush``: booleans, false when absent.

There are two forms. Reading either is strict (no repeats, no name but the three), and every refusal is the same
InvalidFilteredKeyError.

**Sealed**, the one to use: ``v2-`` and, in base64url without padding, nonce (12 bytes, random), cipher text and
tag (16) of AES-256-GCM over the compact JSON. Nobody without the master key can change a bit of it. The key is
HKDF-SHA-256 of the master key, without salt, with ``connect-logging filtered key v2`` as info: never the one that
the old form uses. The associated data are the same words, a zero byte and the project's id: a key for one project,
or for another purpose, opens nowhere else. A text has one spelling.

**Legacy**, which the SDKs of Connect write: ``HEX(iv)-HEX(cipher)``, AES-256 in CBC mode, PKCS#7 padding, the UTF-8
bytes of the master key as the key. It has no authentication: a holder who guesses the text can cut blocks off its
front and choose all 16 bytes of the block that comes first then. What is done about it, as far as the form allows:

* Reading refuses a text whose only blanks are in its first block (``{"canPush":false,`` becomes
  ``{"canPush": true,``; serializers space evenly or not at all).
* Writing lays the text out so that no such cut gains a right or loses a filter; see :func:`_layout`.
* He can also choose a block further back, which makes 16 random bytes of the one before it: within a name in the
  filters these may happen to be text, and the filter becomes another. Reading refuses what has our layout and is not
  to the byte as we write it, which is ASCII alone: some 10,000,000 guesses instead of some 200,000.
* A refusal comes after the same steps, whatever its cause (a padding oracle reads the text).
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final

from .exceptions import ConfigurationError, InvalidFilteredKeyError, InvalidQueryError

MAX_KEY_LENGTH: Final = 16_384
"""Characters. A key travels in a header, for which servers and proxies have 8 to 64 kB."""
SEALED: Final = "v2-"
"""What a sealed key begins with, and no other."""

_MASTER_KEY_BYTES: Final = 32
_PURPOSE: Final = b"connect-logging filtered key v2"
_NONCE_BYTES: Final = 12
"""Random: after 2**32 keys of one master key a repeat, which GCM does not forgive, has a chance of 2**-33."""
_TAG_BYTES: Final = 16
_BLOCK: Final = 16
_NAMES: Final = ("filters", "canQuery", "canPush")
_KEY: Final = r"([0-9A-Fa-f]{32})-((?:[0-9A-Fa-f]{32})+)"
_NO_KEY: Final = "00" * _BLOCK
"""Decrypted in place of what isn't a key at all, so that this takes its time too."""
_STRING_OR_BLANKS: Final = r'"(?:[^"\\]|\\.)*"|\s+'


def seal_filtered_key(definition: Mapping[str, Any], master_key: str, project_id: str) -> str:
    """A sealed key with the rights in ``definition``, different at each call.

    Raises ConfigurationError when the definition, the master key or the project id cannot work.
    """
    return _seal(definition, master_key, project_id, secrets.token_bytes(_NONCE_BYTES))


def open_filtered_key(key: str, master_key: str, project_id: str) -> dict[str, Any]:
    """The rights in a sealed ``key``: always all three names, with ``{}`` and False for what is absent.

    Raises InvalidFilteredKeyError, whatever the reason.
    """
    definition = None
    try:
        sealed = _unspelled(key)
        cipher = _gcm(_secret(master_key), project_id, sealed[:_NONCE_BYTES])
        text = cipher.decrypt_and_verify(sealed[_NONCE_BYTES:-_TAG_BYTES], sealed[-_TAG_BYTES:])
        definition = _normalised(_parse(text.decode()))
    except Exception:  # noqa: BLE001, S110 - the text is hostile
        pass
    if definition is None:
        raise InvalidFilteredKeyError  # here, where no other exception is its context
    return definition


def encrypt_filtered_key(definition: Mapping[str, Any], master_key: str) -> str:
    """A legacy key with the rights in ``definition``, different at each call. Rather use :func:`seal_filtered_key`.

    Raises ConfigurationError when the definition or the master key cannot work.
    """
    return _encrypt(definition, master_key, secrets.token_bytes(_BLOCK))


def decrypt_filtered_key(key: str, master_key: str) -> dict[str, Any]:
    """The rights in a legacy ``key``: always all three names, with ``{}`` and False for what is absent.

    Raises InvalidFilteredKeyError, whatever the reason.
    """
    definition = None
    try:
        secret = _secret(master_key)
        match = re.fullmatch(_KEY, key) if len(key) <= MAX_KEY_LENGTH else None
        iv, cipher = map(bytes.fromhex, match.groups() if match else (_NO_KEY, _NO_KEY))
        text, is_padded = _unpad(_cbc(secret, iv).decrypt(cipher))
        parsed = _normalised(_parse_legacy(text.decode()))
        definition = parsed if is_padded else None
    except Exception:  # noqa: BLE001, S110 - the text is hostile, and a reason that got out would be an oracle
        pass
    if definition is None:
        raise InvalidFilteredKeyError  # here, where no other exception is its context
    return definition


def _seal(definition: Mapping[str, Any], master_key: str, project_id: str, nonce: bytes) -> str:
    if not isinstance(project_id, str) or not project_id:
        raise ConfigurationError("the project id must be a str, and not empty")
    secret, text = _prepare(definition, master_key, _compact)
    cipher, tag = _gcm(secret, project_id, nonce).encrypt_and_digest(text)
    return _checked(_spelled(nonce + cipher + tag))


def _cbc(secret: bytes, iv: bytes) -> Any:
    from Crypto.Cipher import AES  # here, as few programs need it, and it takes a third of the time of requests

    return AES.new(secret, AES.MODE_CBC, iv=iv)


def _gcm(secret: bytes, project_id: str, nonce: bytes) -> Any:
    from Crypto.Cipher import AES
    from Crypto.Hash import SHA256
    from Crypto.Protocol.KDF import HKDF

    cipher = AES.new(HKDF(secret, 32, b"", SHA256, context=_PURPOSE), AES.MODE_GCM, nonce=nonce, mac_len=_TAG_BYTES)
    cipher.update(_PURPOSE + b"\0" + project_id.encode())
    return cipher


def _spelled(sealed: bytes) -> str:
    return SEALED + base64.urlsafe_b64encode(sealed).decode().rstrip("=")


def _unspelled(key: str) -> bytes:
    """The bytes of a sealed key. Raises some exception for what is none, or is spelled in another way than ours."""
    if len(key) > MAX_KEY_LENGTH:
        raise ValueError
    text = key.removeprefix(SEALED)
    sealed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if _spelled(sealed) != key:
        raise ValueError
    return sealed


def _encrypt(definition: Mapping[str, Any], master_key: str, iv: bytes) -> str:
    secret, text = _prepare(definition, master_key, _layout)
    cipher = _cbc(secret, iv).encrypt(_padded(text))
    return _checked(f"{iv.hex()}-{cipher.hex()}".upper())


def _prepare(
    definition: Mapping[str, Any], master_key: str, write: Callable[[dict[str, Any]], str]
) -> tuple[bytes, bytes]:
    """The master key and the text to encrypt, as bytes. Raises ConfigurationError."""
    try:
        secret = _secret(master_key)
    except (ValueError, AttributeError):
        raise ConfigurationError(
            f"the master key must be a str of {_MASTER_KEY_BYTES} bytes in UTF-8: copy all of the project's"
        ) from None
    if not isinstance(definition, Mapping):
        raise ConfigurationError(
            f"a filtered key is defined by a dict of {', '.join(_NAMES)}, not {type(definition).__name__}"
        )
    try:
        text = write(_normalised(dict(definition)))
        _parse(text)
    except ConfigurationError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever json finds in the caller's values
        raise ConfigurationError(f"the filters cannot be written as JSON: {error}") from None
    if definition.get("canQuery"):
        _check_filters(definition["filters"])
    return secret, text.encode()


def _check_filters(filters: Any) -> None:
    """Raise ConfigurationError where a server would refuse the key for them."""
    from ._grammar.filters import parse_filters  # here, as few programs make keys

    try:
        parse_filters(filters or {})
    except InvalidQueryError as error:
        raise ConfigurationError(f"the filters are none that a query could have: {error}") from None


def _checked(key: str) -> str:
    if len(key) > MAX_KEY_LENGTH:
        raise ConfigurationError(f"the filters make a key of {len(key):,} characters; it may have {MAX_KEY_LENGTH:,}")
    return key


def _secret(master_key: str) -> bytes:
    secret = master_key.encode()
    if len(secret) != _MASTER_KEY_BYTES:  # AES would take 16 and 24 as well, and be weaker
        raise ValueError
    return secret


def _compact(definition: dict[str, Any]) -> str:
    return json.dumps(definition, separators=(",", ":"))


def _layout(definition: dict[str, Any]) -> str:
    """The text to encrypt, laid out against a forged first block (module docstring).

    What a forger can have is 16 bytes of his own, then the text from the start of one of its blocks on:

    * ``canQuery`` comes first, so a right to query is not in what follows a cut, and ``{"canQuery":true``
      leaves no room for filters, without which there is no such right.
    * The second block ends inside of ``"canP|ush"``: what follows this cut can only say again what it said.
    * ``filters`` comes last: what follows a later cut closes two objects at least, and there is no room for
      a right and two openings. Blanks keep the last two braces in one block.
    """
    can_query, can_push = (json.dumps(definition[name]) for name in ("canQuery", "canPush"))
    start = f'{{"canQuery": {can_query},'.ljust(2 * _BLOCK - len('"canP'))
    start += f'"canPush":{can_push},"filters":'
    filters = json.dumps(definition["filters"], separators=(",", ":"))
    if (len(start) + len(filters) + 1) % _BLOCK < 2:
        start += "  "
    return f"{start}{filters}}}"


def _padded(text: bytes) -> bytes:
    size = _BLOCK - len(text) % _BLOCK
    return text + bytes((size,)) * size


def _unpad(padded: bytes) -> tuple[bytes, bool]:
    """``padded`` without its PKCS#7 padding; the whole of it and False when there is none.

    Not pycryptodome's ``unpad``, which raises: bad padding must go the way of all bad text.
    """
    size = padded[-1]
    if 1 <= size <= _BLOCK and padded.endswith(bytes((size,)) * size):
        return padded[:-size], True
    return padded, False


def _parse(text: str) -> dict[str, Any]:
    """The object in ``text``. Raises some exception for anything but strict JSON that can be passed on."""
    parsed = json.loads(text, object_pairs_hook=_without_repeats)
    if type(parsed) is not dict:
        raise ValueError("not an object")
    # NaN, infinities (1e999) and lone surrogates are read by json, but nothing else could take them.
    json.dumps(parsed, ensure_ascii=False, allow_nan=False).encode()
    return parsed


def _parse_legacy(text: str) -> dict[str, Any]:
    """Likewise, unless ``text`` shows that its first block is forged."""
    parsed = _parse(text)
    blanks = [match.start() for match in re.finditer(_STRING_OR_BLANKS, text) if match[0][0] != '"']
    if len(parsed) > 1 and blanks and blanks[-1] < _BLOCK:
        raise ValueError("spaced in the first block only")
    ours, second = _layout(_normalised(parsed)), slice(_BLOCK, 2 * _BLOCK)
    # Nobody can change the second block and keep a right to query: the first would be random.
    if text != ours and text.encode()[second] == ours.encode()[second]:
        raise ValueError("our layout, and not as we write it")
    return parsed


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(pairs)
    if len(read) != len(pairs):
        raise ValueError("a name occurs twice")
    return read


def _normalised(definition: dict[str, Any]) -> dict[str, Any]:
    """All three names of ``definition`` with values of the right types. Raises ConfigurationError."""
    for name in definition:
        if name not in _NAMES:
            raise ConfigurationError(f"a filtered key has {', '.join(_NAMES)}, and no {name!a}")
    for name in ("canQuery", "canPush"):
        if type(definition.get(name, False)) is not bool:
            raise ConfigurationError(f"{name} must be True or False, not {type(definition[name]).__name__}")
    if definition.get("canQuery") and "filters" not in definition:
        raise ConfigurationError("a key that can query needs filters; {} lets it query every event")
    filters = definition.get("filters")
    if not isinstance(filters, dict | None):
        raise ConfigurationError(f"filters must be a dict, not {type(filters).__name__}")
    return {
        "filters": {} if filters is None else filters,
        "canQuery": definition.get("canQuery", False),
        "canPush": definition.get("canPush", False),
    }
