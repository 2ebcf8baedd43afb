"""How the shipped weights and the planted world are made; not part of the installed package."""
