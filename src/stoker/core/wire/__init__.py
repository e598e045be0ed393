"""The language between a store behind a server and whoever uses it from elsewhere.

`frames` cuts bytes, `messages` says hello, asks and answers, `records` shows jobs as plain JSON,
`verbs` is the Store protocol as data. All of it is pure: both ends, and the fuzzer, share it.
"""
