"""The peers' side of ``make bench-send``: small programs that run in an environment of their own.

They share nothing with the product but the letter they send.
"""
