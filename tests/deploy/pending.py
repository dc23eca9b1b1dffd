"""What the deployment names and the code does not have yet; an entry that it has fails a test."""

SETTINGS = frozenset(
    {
        "EMAIL_CONNECTOR_CODEC_ORIGINS",
        "EMAIL_CONNECTOR_CODEC_TOKEN",
        "EMAIL_CONNECTOR_CONTENT_KEYS",
        "EMAIL_CONNECTOR_HTTP_HOST",
        "EMAIL_CONNECTOR_HTTP_PORT",
    }
)
COMMANDS = frozenset({"serve"})
