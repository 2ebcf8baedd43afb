"""Search: the faces of a gallery that are nearest to what a voice suggests. It ranks likeness; it identifies nobody."""
