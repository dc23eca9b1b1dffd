"""The product against real servers: Temporal, Dovecot, Postfix, PostgreSQL."""
