"""Addresses without their secrets: without a password, and without the query string of an http(s) address.

A query string may be a signature, a token or a key under any name, so none is kept: names, tables, files and messages
have the address without it. This process remembers it for its requests, and hands it on as it does storage keys.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from pipeline.storage.errors import StorageError

VARIABLE = "INTERLCM_HTTP_QUERIES"  # the remembered query strings among the storage settings of a process

_HTTP = re.compile(r"https?://", re.IGNORECASE)
# A password before the host. In http(s) any name before it is refused, since tokens take its place.
_PASSWORD = re.compile(r"[a-z][a-z0-9+.-]+://[^/?#]*(:|%3a)[^/?#]*@|https?:/*[^/?#]*@", re.IGNORECASE)
# Signatures and versions in addresses of Azure and Google, whose clients read the versions only. Any other ? is part of
# a name.
_PARAMETER = re.compile(
    r"(abfss?|az|gc?s)://[^?]*[?](?:.*&)?(sig|sv|se|versionid|snapshot|generation|[\w-]*(?:signature|token|credential))=",
    re.IGNORECASE,
)
_ACCOUNT = re.compile(r"(?:abfss?|az)://(?:[^/@]*@)?([^/@.]+)\.(?:dfs|blob)\.core\.windows\.net", re.IGNORECASE)
_CHAIN = re.compile(r"[a-z][a-z0-9+.-]+::.*:/", re.IGNORECASE)  # of fsspec

_queries: dict[str, str] = {}


def public(uri: str) -> str:
    """The address without its query string, which is remembered for requests.

    Raises StorageError, without the secret, for a password in it, and as `check_cloud` does.
    """
    check_no_password(uri)
    if not _HTTP.match(uri):
        check_cloud(uri)
        return uri
    address, query = split(uri)
    if query:
        _queries[address] = query
    return address


def private(address: str) -> str:
    """The address for a request: with its query string, if one was given with it."""
    query = _queries.get(address)
    return f"{address}?{query}" if query else address


def check_distinct(uris: Iterable[str]) -> None:
    """StorageError where two addresses differ only in their query strings: they would have the same name."""
    known: dict[str, str] = {}
    for uri in uris:
        if _HTTP.match(uri):
            address, query = split(uri)
            if known.setdefault(address, query) != query:
                words = "named with two query strings; they are not written down, so both would have one name"
                raise StorageError(f"{address}: {words}; fetch one of them to a disk")


def check_no_password(uri: str) -> None:
    """Raise StorageError, without the secret, for an address with a user's name and password."""
    if _CHAIN.match(uri):
        scheme = uri.partition(":")[0]
        raise StorageError(f"{scheme}::...: addresses in a chain are not read; name the archive itself")
    if not _PASSWORD.match(uri) and not _broken_port(uri):
        return
    scheme, _, rest = uri.partition(":")
    host = re.split(r"[/?#:]", rest.rpartition("@")[2].lstrip("/"))[0]
    words = "the URI holds credentials, which would be written into OUTPUT"
    raise StorageError(f"{scheme}://{host}: {words}; put them into the environment, or name a copy of the file")


def check_cloud(uri: str) -> None:
    """Raise StorageError for an address of Azure or Google that would not be read as it is written.

    One with a query string, which names, tables and messages would hold; its secret is not in the error. And one that
    names an account of Azure other than the environment's, since only the container and the path are kept.
    """
    if found := _PARAMETER.match(uri):
        words = f"a query string ({found[2].lower()}=) is only taken from an https:// address"
        remedy = "name that, or leave it out and set AZURE_STORAGE_SAS_TOKEN or Google's credentials"
        raise StorageError(f"{uri.partition('?')[0]}: {words}; {remedy}")
    if (found := _ACCOUNT.match(uri)) and not _is_the_account(found[1]):
        words = f"the account is taken from the environment, which does not name {found[1]}"
        raise StorageError(f"{uri}: {words}; set AZURE_STORAGE_ACCOUNT_NAME={found[1]}")


def _is_the_account(name: str) -> bool:
    connection = re.search("AccountName=([^;]*)", os.environ.get("AZURE_STORAGE_CONNECTION_STRING", ""))
    return name in (os.environ.get("AZURE_STORAGE_ACCOUNT_NAME"), connection and connection[1])


def _broken_port(uri: str) -> bool:
    """Whether an http(s) address has no number for its port: a password with a slash in it, or one without its host."""
    if not _HTTP.match(uri):
        return False
    try:
        return urlsplit(uri).port == -1
    except ValueError:
        return True


def split(uri: str) -> tuple[str, str]:
    """Address, scheme in small letters, and query string of an http(s) address. A fragment is in neither."""
    address, mark, rest = re.match(r"([^?#]*)([?#]?)(.*)", uri, re.DOTALL).groups()  # type: ignore[union-attr]
    address = _HTTP.sub(lambda scheme: scheme[0].lower(), address, count=1)
    return address, rest.partition("#")[0] if mark == "?" else ""


def settings() -> dict[str, str]:
    """The remembered query strings, as a setting for other processes. A secret: never log it."""
    return {VARIABLE: json.dumps(_queries)} if _queries else {}


def remember(setting: str) -> None:
    """Take the query strings of another process."""
    _queries.update(json.loads(setting))
