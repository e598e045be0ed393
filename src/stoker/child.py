"""The program of the child processes in which ``run_in="process"`` tasks run."""

from stoker.app.loading import load_registry
from stoker.connect import open_transactions
from stoker.worker.child import main

if __name__ == "__main__":
    main(load_registry, open_transactions)
