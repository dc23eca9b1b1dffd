"""What the embedded programs of ours find in their environment."""

from __future__ import annotations

from models.settings import Settings
from starter.embedded.child import without_temporal_profile


def of_child(settings: Settings, *, ours_only: bool) -> dict[str, str | None]:
    """Variables to set for a child; None removes one.

    Args:
        settings: Data folder, public URL and Temporal's address.
        ours_only: Whether all other settings in the user's environment are left out, so that
            nothing but ``settings.data_dir`` is touched.
    """
    environment = without_temporal_profile()
    if ours_only:
        environment |= {f"EMAIL_CONNECTOR_{name.upper()}": None for name in Settings.model_fields}
    return environment | {
        "EMAIL_CONNECTOR_DATA_DIR": str(settings.data_dir),
        "EMAIL_CONNECTOR_PUBLIC_URL": settings.public_url,
        "EMAIL_CONNECTOR_TEMPORAL_ADDRESS": settings.temporal_address,
        "EMAIL_CONNECTOR_TEMPORAL_NAMESPACE": "default",
    }
