"""The tasks ``encrypt`` and ``decrypt``: AES-256-GCM over files of any size.

A file is sealed in chunks, so that neither side needs memory for more than one (the STREAM
construction: Hoang, Reyhanitabar, Rogaway and Vizár, 2015). What is written, big-endian::

    header   magic "STOKRENC" (8) · version 1 (1) · key id (8) · salt (16) · nonce prefix (7)
    chunk i  AES-GCM(file key, nonce = prefix · i as 4 bytes · 1 if last else 0,
                     plaintext of 65,536 bytes (the last one: 0 to 65,536), the header)

The file key is HKDF-SHA256 of the configured key and the salt, so nonces never meet under one key.
The counter betrays a chunk that was moved, dropped or repeated; the last-chunk mark one that was
cut off or appended; the header is authenticated with each. The key id, a hash of the key that
gives nothing away, tells a wrong key from a damaged file.
"""

import base64
import binascii
import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from stoker.core.errors import InvalidArguments, InvalidConfig
from stoker.settings import TaskSettings
from stoker.tasks.errors import BadInput, extra
from stoker.tasks.stream import Flowed, flow
from stoker.tasks.wiring import DEFAULTS

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SUFFIX = ".enc"
"""What `encrypt` appends to a file's name."""

_MAGIC = b"STOKRENC\x01"
_KEY_ID, _SALT, _PREFIX = 8, 16, 7
_HEADER = len(_MAGIC) + _KEY_ID + _SALT + _PREFIX
_PLAIN = 65_536
_SEALED = _PLAIN + 16
_MAX_CHUNKS = 2**32
_MAKE_KEY = (
    'make one with: python -c "import base64, secrets; '
    'print(base64.b64encode(secrets.token_bytes(32)).decode())" '
    "and set it as STOKER_TASKS__ENCRYPTION_KEY on every worker"
)


class Encrypted(msgspec.Struct, frozen=True):
    """What `encrypt` and `decrypt` return."""

    file: str | None
    """The written file, if the output is one."""
    data: bytes | None
    """The output itself otherwise; base64 in JSON."""
    bytes_in: int
    bytes_out: int
    sha256: str
    """Of the output."""


def encrypt(
    file: str | None = None,
    data: bytes | None = None,
    output: str | None = None,
    *,
    settings: TaskSettings = DEFAULTS,
) -> Encrypted:
    """Encrypt a file or bytes with the key of the settings.

    Args:
        file: The file to encrypt. Give this or ``data``.
        data: The bytes to encrypt; base64 in JSON.
        output: The file to write; by default the input's name with ``.enc``, or no file at all
            for ``data``: the result then holds the bytes.
        settings: The worker's settings; ``encryption_key`` must be set.

    Returns:
        Where the output is, its size and SHA-256.

    Raises:
        InvalidConfig: No key, or not 32 bytes in base64. The message tells how to make one.
        FileNotFoundError: The input does not exist.
        InvalidArguments: A file that is not allowed.
        MissingExtra: cryptography is not installed.
    """
    key = _Key(settings, task="encrypt")
    return _result(
        flow(
            lambda chunks: _seal(key, chunks),
            file=file,
            data=data,
            output=output,
            name_after=lambda name: name + SUFFIX,
            note="encrypt",
            settings=settings,
        )
    )


def decrypt(
    file: str | None = None,
    data: bytes | None = None,
    output: str | None = None,
    *,
    settings: TaskSettings = DEFAULTS,
) -> Encrypted:
    """Decrypt what `encrypt` wrote. Nothing is put out unless every byte is authentic.

    Args:
        file: The file to decrypt. Give this or ``data``.
        data: The bytes to decrypt; base64 in JSON.
        output: The file to write; by default the input's name without ``.enc``, or no file at all
            for ``data``: the result then holds the bytes.
        settings: The worker's settings; ``encryption_key`` must be set.

    Returns:
        Where the output is, its size and SHA-256.

    Raises:
        BadInput: Not written by `encrypt`, written with another key, or changed since: tampered
            with, reordered, cut off. No output is left behind.
        InvalidConfig: No key, or not 32 bytes in base64.
        FileNotFoundError: The input does not exist.
        InvalidArguments: A file that is not allowed, or one without ``.enc`` and no ``output``.
        MissingExtra: cryptography is not installed.
    """
    key = _Key(settings, task="decrypt")
    return _result(
        flow(
            lambda chunks: _unseal(key, chunks),
            file=file,
            data=data,
            output=output,
            name_after=_plain_name,
            note="decrypt",
            settings=settings,
        )
    )


class _Key:
    """The configured key, and what is derived from it."""

    def __init__(self, settings: TaskSettings, *, task: str) -> None:
        with extra(task, "cryptography"):
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: F401
        self._secret = _read_key(settings)
        self.id = self._derive(b"stoker key id", b"", _KEY_ID)

    def cipher(self, salt: bytes) -> "AESGCM":
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(self._derive(b"stoker file key 1", salt, 32))

    def _derive(self, info: bytes, salt: bytes, length: int) -> bytes:
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        return HKDF(SHA256(), length, salt, info).derive(self._secret)


def _read_key(settings: TaskSettings) -> bytes:
    if settings.encryption_key is None:
        raise InvalidConfig(f"tasks.encryption_key is not set; {_MAKE_KEY}")
    text = settings.encryption_key.reveal().strip().translate(str.maketrans("-_", "+/"))
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidConfig(f"tasks.encryption_key is not base64; {_MAKE_KEY}") from None
    if len(key) != 32:  # noqa: PLR2004 - AES-256
        raise InvalidConfig(
            f"tasks.encryption_key has {len(key)} bytes; expected 32 in base64; {_MAKE_KEY}"
        )
    return key


def _seal(key: _Key, chunks: Iterator[bytes]) -> Iterator[bytes]:
    salt, prefix = secrets.token_bytes(_SALT), secrets.token_bytes(_PREFIX)
    header = _MAGIC + key.id + salt + prefix
    cipher = key.cipher(salt)
    yield header
    for nonce, plain in _numbered(prefix, _regrouped(chunks, _PLAIN)):
        yield cipher.encrypt(nonce, plain, header)


def _unseal(key: _Key, chunks: Iterator[bytes]) -> Iterator[bytes]:
    from cryptography.exceptions import InvalidTag

    header, rest = _split_header(chunks)
    own_id = header[len(_MAGIC) : len(_MAGIC) + _KEY_ID]
    if own_id != key.id:
        raise BadInput(
            f"the input was encrypted with the key of id {own_id.hex()}, and this worker's "
            f"tasks.encryption_key has id {key.id.hex()}; set the key that encrypted it"
        )
    cipher = key.cipher(header[-_PREFIX - _SALT : -_PREFIX])
    for nonce, sealed in _numbered(header[-_PREFIX:], _regrouped(rest, _SEALED)):
        try:
            yield cipher.decrypt(nonce, sealed, header)
        except (InvalidTag, ValueError):
            number = int.from_bytes(nonce[_PREFIX : _PREFIX + 4], "big")
            raise BadInput(
                f"the input is not what encrypt wrote: chunk {number} was changed, moved or cut "
                "off; nothing was decrypted"
            ) from None


def _split_header(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    first = b""
    while len(first) < _HEADER and (more := next(chunks, b"")):
        first += more
    if not first.startswith(_MAGIC[:-1]):
        raise BadInput(f"the input was not written by encrypt: it begins with {first[:8]!r}")
    if len(first) < _HEADER:
        raise BadInput(f"the input ends inside its header, after {len(first)} bytes")
    if not first.startswith(_MAGIC):
        raise BadInput(
            f"the input has version {first[len(_MAGIC) - 1]} of the format, and this Stoker reads "
            f"version {_MAGIC[-1]}; update Stoker"
        )

    def rest() -> Iterator[bytes]:
        yield first[_HEADER:]
        yield from chunks

    return first[:_HEADER], rest()


def _numbered(prefix: bytes, chunks: Iterator[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Pair every chunk with its nonce; the last one is known only when nothing follows."""
    held = next(chunks, b"")
    for number in range(_MAX_CHUNKS):
        follower = next(chunks, None)
        is_last = follower is None
        yield prefix + number.to_bytes(4, "big") + bytes([is_last]), held
        if follower is None:
            return
        held = follower
    raise InvalidArguments(
        f"the input has more than {_MAX_CHUNKS * _PLAIN:,} bytes, the most that the format holds"
    )


def _regrouped(chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Cut a stream into chunks of one size; the last may be shorter, and is never empty."""
    held = b""
    for chunk in chunks:
        held += chunk
        whole = len(held) - len(held) % size
        for start in range(0, whole, size):
            yield held[start : start + size]
        held = held[whole:]
    if held:
        yield held


def _plain_name(name: str) -> str:
    if name.endswith(SUFFIX) and len(name) > len(SUFFIX):
        return name[: -len(SUFFIX)]
    raise InvalidArguments(
        f"the name {name!r} does not end in {SUFFIX}, so it does not tell what the plain file is "
        "called; name it with output="
    )


def _result(done: Flowed) -> Encrypted:
    return Encrypted(
        file=done.file,
        data=done.data,
        bytes_in=done.bytes_in,
        bytes_out=done.bytes_out,
        sha256=done.sha256,
    )
