"""What `up` and `demo` run on this machine: Temporal, a mail server, the worker."""
