"""`python -m cluster`, which is `headrace`."""

from cluster.command_line import main

if __name__ == "__main__":
    main()
