"""`python -m cluster`, which is `headrace`."""

from cluster.exit_code import main

if __name__ == "__main__":
    main()
