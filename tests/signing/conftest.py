"""Signing needs an extra."""

import pytest

pytest.importorskip("c2pa", reason="signing needs the extra `c2pa`")
pytest.importorskip("cryptography", reason="signing needs the extra `c2pa`")
