"""A part of each kind for Speech2Face."""
