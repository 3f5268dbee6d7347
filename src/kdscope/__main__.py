"""``python -m kdscope`` is the same as ``kdscope``."""

from kdscope.cli import main

if __name__ == "__main__":
    main()
