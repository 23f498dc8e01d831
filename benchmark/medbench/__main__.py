"""``python -m medbench``: the command line."""

from medbench.cli import main

if __name__ == "__main__":
    main()
