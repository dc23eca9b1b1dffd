"""Tools for developers and operators; nothing that the engine itself imports at run time."""
