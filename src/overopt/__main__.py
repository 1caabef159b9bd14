"""``python -m overopt`` is ``overopt``."""

from overopt.cli.main import main

if __name__ == "__main__":
    main()
