"""The command line. A command is imported when it is called, so ``stoker --help`` is fast."""
