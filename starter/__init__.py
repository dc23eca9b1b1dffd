"""The starter: commands, the command line, and everything that runs embedded."""
