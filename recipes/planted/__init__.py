"""A planted world: synthetic voices and faces whose shared part, all that an encoder can learn, is known."""
