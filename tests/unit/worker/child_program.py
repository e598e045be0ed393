"""The program of child processes in tests: as ``stoker.child``, with the tests' own tasks."""

from stoker.connect import open_transactions
from stoker.worker.child import main
from tests.unit.worker.kit import load

if __name__ == "__main__":
    main(load, open_transactions)
