"""How the starter release is made from openly licensed voices and faces, and measured."""
