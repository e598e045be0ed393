"""The program of the child processes that run the tasks of `ledger`."""

from stoker.connect import open_transactions
from stoker.worker.child import main
from tests.transactions.ledger import load

if __name__ == "__main__":
    main(load, open_transactions)
