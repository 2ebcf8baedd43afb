"""Search: the faces of a gallery that are nearest to what a voice suggests. It ranks likeness; it identifies nobody."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from speech2face.gallery.build import BuildOptions, build_gallery
    from speech2face.gallery.entries import Entry
    from speech2face.gallery.gallery import Gallery, Ranking, draw_search_sheet, search_gallery

__all__ = ["BuildOptions", "Entry", "Gallery", "Ranking", "build_gallery", "draw_search_sheet", "search_gallery"]

_HOMES = {"BuildOptions": "build", "Entry": "entries", "build_gallery": "build"}  # of those that lie elsewhere


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module 'speech2face.gallery' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"speech2face.gallery.{_HOMES.get(name, 'gallery')}"), name)
