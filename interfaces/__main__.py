"""`python -m interfaces` is `link-identity`."""

from interfaces.cli import main

if __name__ == "__main__":
    main()
