"""Keys and sealed secrets."""
