"""One server for all tests of galleries in PostgreSQL."""

from collections.abc import Iterator

import pytest

from tests.gallery.server import Server, running_server


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """PostgreSQL with pgvector, with nothing in it."""
    pytest.importorskip("psycopg", reason="install the extra `retrieval`")
    pytest.importorskip("pgvector", reason="install the extra `retrieval`")
    with running_server() as started:
        yield started
