"""The command line. Each command is imported when it is called, so that ``stoker --help`` is fast."""
