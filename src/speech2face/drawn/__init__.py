"""The canonical face as a clean vector drawing: contours, a few flat tones, SVG and PNG."""
