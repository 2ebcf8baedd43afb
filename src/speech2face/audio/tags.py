"""Tags of recordings in any encoding must not keep PyAV from opening them, in whichever of its versions is there."""

from typing import Any

STRICT_BEFORE = 19  # from this version on PyAV takes tags that are not UTF-8, and no longer knows the setting for it


def any_tags() -> dict[str, Any]:
    """What `av.open` must be told so that title and artist may be in any encoding: Latin-1, Shift-JIS, rubbish."""
    import av  # 50 ms, and not needed to refuse a missing file

    return {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < STRICT_BEFORE else {}
