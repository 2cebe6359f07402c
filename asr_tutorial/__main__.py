"""``python -m asr_tutorial`` is the program ``asr-tutorial``."""

from asr_tutorial.cli import main

if __name__ == "__main__":
    main()
