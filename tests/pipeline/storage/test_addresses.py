"""No query string of an http(s) address is written down, whatever its parameters are called, and requests have it."""

from __future__ import annotations

import pytest

from interlcm.errors import InterLCMError, without_secrets
from pipeline import storage
from pipeline.index.sources import expand
from pipeline.storage import addresses
from pipeline.storage import client as storage_client
from pipeline.storage.errors import StorageError
from tests.support.archives import tar_bytes
from tests.support.file_server import FileServer, serve

QUERIES = [
    "x-oss-signature=SECRET", "Authorization=SECRET", "tempauth=SECRET", "jwt=SECRET", "%73ig=SECRET", "SECRET",
    "a=1&a=SECRET#SECRET", "sig=SECRET?x=SECRET", "q=SECRET a 'b\"",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "_queries", {})


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("scheme", ["https", "HTTP"])
def test_no_query_string_is_in_a_name(query: str, scheme: str) -> None:
    named = f"{scheme.lower()}://host/a.tar"
    assert storage.canonical(f"{scheme}://host/a.tar?{query}") == named
    assert addresses.private(named) == f"{named}?{query.partition('#')[0]}"
    assert storage.canonical(f"{scheme}://host/a.tar#{query}") == named


def test_a_signed_address_is_read_and_named_without_its_signature() -> None:
    with serve() as server:
        archive = tar_bytes({"a.jpg": b"photo"})
        server.files["/a.tar?jwt=SECRET"] = archive
        (source,) = expand([f"{server.url}/a.tar?jwt=SECRET"], "")
        assert (source.uri, source.name, source.kind) == (f"{server.url}/a.tar", "a.tar", "archive")
        assert storage.read_bytes(source.uri) == archive
        assert {request.split(" ")[1] for request in server.requests} == {"/a.tar?jwt=SECRET"}
        # Another process gets it with the storage settings, and only so.
        settings = storage_client.environment()
        addresses._queries.clear()
        with pytest.raises(StorageError):
            storage.read_bytes(source.uri)
        storage_client.configure(settings)
        assert storage.read_bytes(source.uri) == archive


def test_a_server_that_knows_no_ranges_gives_no_wrong_bytes() -> None:
    with serve() as server:
        server.knows_ranges = False
        server.files["/a.tar"] = bytes(range(256)) * 8
        with pytest.raises(StorageError, match=r"/a.tar: the server sends whole files only, no parts; copy it"):
            storage.read_bytes(f"{server.url}/a.tar", 512, 1024)
        assert storage.read_bytes(f"{server.url}/a.tar") == server.files["/a.tar"]


def test_an_error_of_the_server_says_nothing_of_the_query() -> None:
    with serve() as server, pytest.raises(StorageError) as caught:
        storage.read_bytes(f"{server.url}/gone.tar?tempauth=SECRET")
    error: BaseException | None = caught.value
    assert f"{server.url}/gone.tar" in str(error) and "SECRET" not in str(error)
    assert error is not None and error.__suppress_context__  # no traceback of the client, which has the whole address


def test_two_addresses_that_differ_in_their_query_alone_are_refused(server: FileServer) -> None:
    with pytest.raises(StorageError, match="two query strings.*fetch one of them") as caught:
        expand([f"{server.url}/dl?id=1", f"{server.url}/dl?id=SECRET"], "")
    assert "SECRET" not in str(caught.value)


@pytest.fixture
def server() -> FileServer:
    return FileServer()


@pytest.mark.parametrize("source", ["simplecache::https://me:SECRET@h/a", "me:SECRET@host:/a.tar", "me:SECRET@host/a"])
def test_a_source_that_is_no_address_says_nothing_of_a_password(source: str) -> None:
    with pytest.raises(StorageError) as caught:
        expand([source], "")
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("403, url='https://h/a?sig=SECRET'", "403, url='https://h/a'"),
        ("https://me:SECRET@h:1/a: no", "https://h:1/a: no"),
        ("see s3://key:SECRET@bucket/a", "see s3://bucket/a"),
        ("URL(http://SECRET@h/a#SECRET) and http://h/b?SECRET.", "URL(http://h/a) and http://h/b."),
        ("https://h/a?SECRET:SECRET: gone", "https://h/a: gone"),
        ("s3://bucket/a?b.jpg: gone", "s3://bucket/a?b.jpg: gone"),
        ("is it a.jpg?sig=1", "is it a.jpg?sig=1"),
        ("http://h/a@b.jpg, 10:30 me@example.org", "http://h/a@b.jpg, 10:30 me@example.org"),
    ],
)
def test_no_error_of_this_project_repeats_a_secret(text: str, shown: str) -> None:
    assert without_secrets(text) == str(InterLCMError(text)) == str(StorageError(text)) == shown


@pytest.mark.parametrize(
    ("address", "parameter"),
    [
        ("az://box/a.tar?sv=2024-11-04&se=2027-01-01&sig=SECRET", "sig"),
        ("abfss://box@account.dfs.core.windows.net/a.tar?SIG=SECRET", "sig"),
        ("gs://box/a.tar?X-Goog-Algorithm=GOOG4&X-Goog-Credential=SECRET", "x-goog-credential"),
        ("gs://box/a.tar?generation=1712345678", "generation"),
        ("abfs://box/a.tar?versionid=2024-05-01T00:00:00Z", "versionid"),
    ],
)
def test_an_address_of_azure_or_google_with_a_query_string_is_refused(address: str, parameter: str) -> None:
    """Its client would take it for a part of the name, or of the version, and the index would hold it."""
    with pytest.raises(StorageError) as caught:
        storage.canonical(address)
    named = address.partition("?")[0]
    assert str(caught.value).startswith(
        f"{named}: a query string ({parameter}=) is only taken from an https:// address; name that, or leave it out"
    )
    assert "SECRET" not in str(caught.value)


def test_a_question_mark_in_a_name_is_no_query_string() -> None:
    for name in ("gs://box/what?.jpg", "az://box/who?=when&where.jpg", "s3://box/image.php?sig=1", "/a/b?sig=1"):
        assert addresses.public(name) == name


def test_an_account_of_azure_that_the_environment_does_not_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the container and the path are kept, so another account's container of that name would be read."""
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING", raising=False)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "other")
    address = "abfss://box@archive.dfs.core.windows.net/scans"
    with pytest.raises(StorageError, match="does not name archive; set AZURE_STORAGE_ACCOUNT_NAME=archive$"):
        storage.canonical(address)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "archive")
    assert addresses.public(address) == address
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME")
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", "AccountName=archive;AccountKey=a")
    assert addresses.public(address) == address
