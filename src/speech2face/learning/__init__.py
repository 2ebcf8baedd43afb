"""Learning from a few hundred pairs of voices and faces, in closed form, on a laptop."""
