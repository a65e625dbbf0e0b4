"""The program `flaskvstore`, as it is started."""

from .program import main


if __name__ == "__main__":
    main()
