"""The parts of an evaluation report: one module each, arrays in, a `Part` out."""
