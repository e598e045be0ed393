"""The routes, one module a noun. Each turns a request into one command of the store."""
