"""Attacks real servers with generated requests, and judges what comes back.

    python -m tests.fuzz --requests 100000 --seed 7 --adapter asgi --store sqlite

Requests are generated from the seed and the number of their session, so that a session can be repeated alone
(``--first``). `sessions` has what is sent, `oracle` what must hold of every response, `corpus.json` what once found
something. The tests play short campaigns with a fixed seed, on every adapter.
"""
