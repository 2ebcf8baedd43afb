"""`python -m speech2face` is the command line."""

from speech2face.cli import main

if __name__ == "__main__":
    main()
