"""Handing mails to a server under the ledger's rules: one transaction, and the queue's many."""
